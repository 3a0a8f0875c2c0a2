"""``rlkit transfer``: attacks computed on one policy and executed on another, in flips and in returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.adversarial import Attack, Noise, RobustnessCurve, Threat, Transfer, robustness_curve
from rlkit.evaluation import EVALUATION_SEED
from rlkit.statistics import share_interval
from rlkit.types import Env

from ..report.ledger import Cell, ReportTable, RunRecord
from .evaluate import mean_return, return_difference, return_range
from .policies import Subject, backend_of
from .threat import described, refuse_episode_budget

NOISE = "sign noise"
NOTE = (
    "An attack is computed on the source and shown to the target; row s of the target plays under the attack on row s "
    "of the source. On the diagonal, source and target are the same policy. The return is that of the target with "
    "every step attacked. The change is its difference to the natural return, paired by seed. Sign noise of the same "
    "size needs no source. More changed actions need not do more harm."
)


Limits = tuple[float, float] | None  # least and greatest return that is possible


class Transferred(NamedTuple):
    """Returns of I sources' attacks on J targets; the first source is noise."""

    sources: tuple[str, ...]  # 1 + I
    targets: tuple[str, ...]  # J
    epsilons: tuple[float, ...]  # L
    returns: NDArray[np.float64]  # [1 + I, J, L, S], means over episodes
    natural: NDArray[np.float64]  # [J, S]
    flips: NDArray[np.float64]  # [1 + I, J, L, S], share of steps whose action changes


def transferred(subjects: Sequence[Subject], threat: Threat, attack: Attack, episodes: int) -> Transferred:
    """Play every policy under the attack computed on every policy, and under noise.

    Args:
        subjects: subjects with one environment, equal numbers of seeds and different names.
        threat: limits of the attack.
        attack: computed on the sources.
        episodes: per training seed.

    Raises:
        ValueError: fewer than two policies, different numbers of seeds, or a threat of a whole episode.
    """
    refuse_episode_budget(threat, "transfer is")
    counts = [len(subject.seeds) for subject in subjects]
    if len(subjects) < 2 or len(set(counts)) > 1:
        raise ValueError(f"transfer needs at least two policies with equal numbers of seeds, got {counts} seeds")
    attacks: dict[str, Attack] = {NOISE: Noise("sign")}
    attacks |= {subject.name: Transfer(attack, subject.policy) for subject in subjects}
    curves = [[_played(target, each, threat, episodes) for target in subjects] for each in attacks.values()]
    return Transferred(
        tuple(attacks),
        tuple(subject.name for subject in subjects),
        threat.epsilons,
        np.array([[one.returns[0].mean(axis=-1) for one in row] for row in curves]),
        np.array([one.natural.mean(axis=-1) for one in curves[0]]),
        np.array([[one.flips[0].sum(axis=-1) / one.lengths[0].sum(axis=-1) for one in row] for row in curves]),
    )


def _played(target: Subject, attack: Attack, threat: Threat, episodes: int) -> RobustnessCurve:
    """Play one policy under one attack."""

    def make_env(copies: int) -> Env:
        return target.make_env(copies, threat.first_seed)

    return robustness_curve(
        target.policy, make_env, attack, threat.epsilons, threat.budget(), episodes,
        deterministic=threat.victim == "greedy", max_steps=threat.horizon, seeds=target.seeds,
        attacks_per_episode=threat.attacks_per_episode,
    )  # fmt: skip


def transfer(subjects: Sequence[Subject], threat: Threat, attack: Attack, episodes: int) -> RunRecord:
    """The record of a transfer between policies: a matrix of returns for every epsilon, and all numbers."""
    found = transferred(subjects, threat, attack, episodes)
    first = subjects[0]
    limits = return_range(first, threat.horizon)
    return RunRecord(
        kind="transfer",
        title=f"Transfer of {attack.name} between {len(subjects)} policies on {first.env}",
        settings={
            "environment": first.env,
            "env_kwargs": first.env_kwargs,
            "backend": backend_of(first.make_env(1, EVALUATION_SEED)),
            "policies": list(found.targets),
            "training_seeds": {subject.name: list(subject.seeds) for subject in subjects},
            "attack": attack.name,
            "episodes": episodes,
            "threat": threat.digest,
            **{name: value for name, value in threat.as_dict().items() if name not in ("env", "env_kwargs")},
        },
        results=_results(found),
        tables=(
            *(_matrix(found, i, threat, limits) for i in range(len(found.epsilons))),
            _all_rows(found, threat, limits),
        ),
        notes=(NOTE,),
    )


def _results(found: Transferred) -> Mapping[str, object]:
    """All numbers, for scripts."""
    return {
        "sources": list(found.sources),
        "targets": list(found.targets),
        "epsilons": list(found.epsilons),
        "returns": found.returns.tolist(),
        "natural": found.natural.tolist(),
        "flips": found.flips.tolist(),
    }


def _matrix(found: Transferred, i: int, threat: Threat, limits: Limits) -> ReportTable:
    """Returns at one epsilon, a line for each source and a column for each target; natural play first."""

    def cells(returns: NDArray[np.float64]) -> tuple[Cell, ...]:
        return tuple(mean_return(each, limits) for each in returns)

    rows: list[tuple[Cell, ...]] = [("none", *cells(found.natural))]
    rows += [(source, *cells(found.returns[number, :, i])) for number, source in enumerate(found.sources)]
    title = f"Return at epsilon {found.epsilons[i]:g} of each target under attacks on each source, {described(threat)}"
    return ReportTable(f"returns-{found.epsilons[i]:g}", title, ("attack on", *found.targets), tuple(rows))


def _all_rows(found: Transferred, threat: Threat, limits: Limits) -> ReportTable:
    """One line for every source, target and epsilon."""
    rows: list[tuple[Cell, ...]] = []
    for number, source in enumerate(found.sources):
        for j, target in enumerate(found.targets):
            for i, epsilon in enumerate(found.epsilons):
                returns = found.returns[number, j, i]
                change = return_difference(returns, found.natural[j], limits, paired=True)
                flips = share_interval(found.flips[number, j, i])
                mean = mean_return(returns, limits)
                rows.append((source, target, epsilon, mean, change, flips))
    columns = ("attack on", "target", "epsilon", "return", "change", "share of actions flipped")
    return ReportTable("transfer", f"Transfer, {described(threat)}", columns, tuple(rows))
