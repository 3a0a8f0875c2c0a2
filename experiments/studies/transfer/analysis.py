"""From rows to tables and figures, with intervals over training seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlkit.statistics import Estimate, mean_interval, share_interval

from ...report.ledger import Cell, ReportTable
from ...workflows.policies import RLKIT
from . import settings

Interval = Callable[[Sequence[float]], Estimate[float]]

RANDOM = "random"  # the source of random offsets
PAIRED = ("same seed", "another seed")  # by roll


@dataclass(frozen=True)
class Natural:
    """The natural mean return of one seed's policy."""

    policy: str
    seed: int
    mean_return: float


@dataclass(frozen=True)
class Flipped:
    """The effect of attacks made on one policy on another policy, as shares of states."""

    source: str
    target: str
    roll: int  # the target's seed is the source's plus this
    seed: int  # the target's
    queries: int  # of the source about every state
    flips: float  # where the target's action changes
    noise: float  # where it changes under random signs of the same size
    alike: float  # where both choose the same action at the truth
    agreement: float | None  # share of the same action where both change; None where neither does


@dataclass(frozen=True)
class Offset:
    """The effect of one offset for all states on a policy, at states that the offset was not fitted on."""

    source: str  # on whose states it was fitted; "random" for random signs, of which flips are the mean
    target: str
    epsilon: float
    roll: int
    states: int  # that it was fitted on
    seed: int  # the target's
    flips: float


@dataclass(frozen=True)
class Spread:
    """The epsilon that flips a policy whose observations are codes of n features."""

    policy: str
    encoding: str  # "padded" or "rotated"
    n: int
    seed: int
    measured: float  # median over states of the epsilon that flips
    predicted: float  # the same of the linearized policy
    noise: float  # mean squared cosine of random signs with the gradient


def by_seed(known: Sequence[Any], value: Callable[[Any], float | None]) -> list[float]:
    """Every seed's mean of a value over its rows; rows without one are left out, and so are seeds without rows."""
    means = []
    for seed in sorted({row.seed for row in known}):
        values = [value(row) for row in known if row.seed == seed]
        there = [one for one in values if one is not None]
        means += [float(np.mean(there))] if there else []
    return means


def interval(
    known: Sequence[Any], value: Callable[[Any], float | None], of_seeds: Interval = mean_interval
) -> Estimate[float] | None:
    """Of the mean over training seeds; None where no row has a value."""
    means = by_seed(known, value)
    return of_seeds(means) if means else None


def rank(policy: str) -> int:
    """Of its task: policies of one task stand together."""
    return list(settings.EPSILONS).index(settings.task_of(policy).name)


def natural_tables(known: Sequence[Natural]) -> list[ReportTable]:
    """The natural return and the settings of every policy."""
    trained = {kept.name: kept for kept in settings.KEPT}
    lines: list[tuple[Cell, ...]] = []
    for name in sorted({row.policy: None for row in known}, key=rank):
        earned = [row.mean_return for row in known if row.policy == name]
        kept = trained.get(name)
        kind = (kept.maker, kept.network, kept.training.steps) if kept else (RLKIT, settings.TREE, None)
        lines.append((settings.task_of(name).name, name, *kind, mean_interval(earned), min(earned)))
    columns = ("task", "policy", "maker", "network", "steps", "return", "of the worst seed")
    return [ReportTable("natural", "Return when nobody interferes", columns, tuple(lines))]


def relation(source: str, target: str) -> str:
    """In what a target differs from a source first: maker, algorithm, network or settings."""
    if target == settings.TREE:
        return "a decision tree"
    kept = {each.name: each for each in settings.KEPT}
    one, other = kept[source], kept[target]
    if one is other:
        return "the same"
    if one.maker != other.maker:
        return "another maker"
    if one.algorithm != other.algorithm:
        return "another algorithm"
    return "another network" if one.network != other.network else "other settings"


RELATIONS = ("the same", "other settings", "another network", "another algorithm", "another maker", "a decision tree")


def transfer_tables(known: Sequence[Flipped]) -> list[ReportTable]:
    """By what target and source have in common, by source, by target, and every pair."""
    others = [row for row in known if row.source != row.target]
    related = sorted(known, key=lambda row: (rank(row.source), RELATIONS.index(relation(row.source, row.target))))
    return [
        transfer_table(
            "transfer-relations",
            "Attacks made on one policy and shown to another, by what is different",
            related,
            {
                "task": lambda row: settings.task_of(row.source).name,
                "target is": lambda row: relation(row.source, row.target),
            },
        ),
        transfer_table(
            "transfer-sources",
            "By whom they were made on, shown to all others",
            others,
            {"source": lambda row: row.source, "queries a state": lambda row: row.queries},
        ),
        transfer_table(
            "transfer-targets", "By whom they were shown to, of all others", others, {"target": lambda row: row.target}
        ),
        transfer_table(
            "transfer", "Every pair", known, {"source": lambda row: row.source, "target": lambda row: row.target}
        ),
    ]


def transfer_table(
    name: str, title: str, known: Sequence[Flipped], keys: Mapping[str, Callable[[Flipped], Cell]]
) -> ReportTable:
    """Means over the rows that agree in the keys and in whose seed it is."""
    groups: dict[tuple[Cell, ...], list[Flipped]] = {}
    for row in sorted(known, key=lambda row: row.roll):
        groups.setdefault((PAIRED[row.roll], *(key(row) for key in keys.values())), []).append(row)
    lines = [
        (
            *group,
            interval(own, lambda row: row.flips, share_interval),
            interval(own, lambda row: row.flips - row.noise),
            interval(own, lambda row: row.alike, share_interval),
            interval(own, lambda row: row.agreement, share_interval),
        )
        for group, own in groups.items()
    ]
    columns = ("shown to", *keys, "flipped", "beyond noise", "alike at the truth", "to the same action")
    return ReportTable(name, title, columns, tuple(lines))


def universal_tables(known: Sequence[Offset]) -> list[ReportTable]:
    """Flips by offsets that were fitted and by random ones: by what is different, and every pair."""
    fitted = sorted(
        (row for row in known if row.source != RANDOM),
        key=lambda row: RELATIONS.index(relation(row.source, row.target)),
    )
    related = universal_table(
        "universal-relations",
        "One offset for all states, at states of other episodes, by what is different",
        known,
        fitted,
        {"target is": lambda row: relation(row.source, row.target)},
    )
    pairs: dict[str, Callable[[Offset], Cell]] = {"fitted on": lambda row: row.source, "target": lambda row: row.target}
    return [related, universal_table("universal", "Every pair", known, known, pairs)]


def universal_table(
    name: str,
    title: str,
    known: Sequence[Offset],
    shown: Sequence[Offset],
    keys: Mapping[str, Callable[[Offset], Cell]],
) -> ReportTable:
    """Means over the rows that agree in the keys, the epsilon, whose seed it is and how many were fitted on."""
    chance = {(row.epsilon, row.target, row.seed): row.flips for row in known if row.source == RANDOM}
    groups: dict[tuple[Cell, ...], list[Offset]] = {}
    for row in sorted(shown, key=lambda row: (row.epsilon, row.roll)):
        key = (row.epsilon, PAIRED[row.roll], *(key(row) for key in keys.values()), row.states)
        groups.setdefault(key, []).append(row)
    lines = [
        (
            *group,
            interval(own, lambda row: row.flips, share_interval),
            interval(own, lambda row: row.flips - chance[row.epsilon, row.target, row.seed]),
        )
        for group, own in groups.items()
    ]
    columns = ("epsilon", "shown to", *keys, "states", "flipped", "beyond random offsets")
    return ReportTable(name, title, columns, tuple(lines))


def dimension_tables(known: Sequence[Spread]) -> list[ReportTable]:
    """The epsilon that flips, beside its prediction, and the alignment of noise times n."""
    groups: dict[tuple[Cell, ...], list[Spread]] = {}
    for row in known:
        groups.setdefault((row.policy, row.encoding, row.n), []).append(row)
    fewest = {(row.policy, row.encoding, row.seed): row.measured for row in known if row.n == min(r.n for r in known)}
    lines = [
        (
            *group,
            interval(own, lambda row: row.measured),
            interval(own, lambda row: row.predicted),
            interval(own, lambda row: row.measured / row.predicted),
            interval(own, lambda row: row.measured / fewest[row.policy, row.encoding, row.seed]),
            interval(own, lambda row: row.noise * row.n),
        )
        for group, own in groups.items()
    ]
    columns = ("policy", "codes", "n", "measured", "predicted", "measured / predicted", "of that at fewest", "n cos²")
    return [ReportTable("dimension", "Median epsilon that flips, of codes of n features", columns, tuple(lines))]
