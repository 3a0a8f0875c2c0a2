"""Training what is not there, measuring what has no row yet, and the tables and figures."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from rlkit.adversarial import (
    Budget,
    Rescaled,
    Universal,
    dimension_sweep,
    execute,
    imitate,
    padded,
    rotated,
    transfer_matrix,
    universal_offset,
    visited,
)
from rlkit.evaluation import EVALUATION_SEED, rollout
from rlkit.plotting import png
from rlkit.streams import Stream
from rlkit.types import Env

from .. import rows, terminal
from ..choose import parsed
from ..kept import POLICIES
from ..ledger import Table, flattened, write_bytes, write_csv
from . import analysis, figures, settings
from .analysis import RANDOM, Flipped, Natural, Offset, Spread

Policies = Mapping[str, Any]  # by name; victims, but for the tree, which has no scores
FITTING, TREES = EVALUATION_SEED + 1_000, EVALUATION_SEED + 10_000  # first episodes, apart from the evaluation's


def opened(models: Path) -> Policies:
    """Every policy, read from its folder, or trained and kept there; and the tree that imitates one of them."""
    policies: dict[str, Any] = {}
    for kept in settings.KEPT:
        policies[kept.name] = POLICIES[kept.maker](kept.training, models / kept.folder)
        terminal.say(f"{kept.name}: ready")
    policies[settings.TREE] = imitate(
        policies[settings.TREE_OF], lambda i: episodes(TREES + i * settings.EPISODES), settings.DEPTH
    )
    return policies


def episodes(first: int = EVALUATION_SEED) -> Env:
    """The same ones for every seed and policy."""
    return settings.TASK.environments(len(settings.SEEDS), settings.EPISODES, first)


def uniforms(width: int, copies: int) -> Tensor:
    """Random numbers of the attacker, ``[S, copies, width]``."""
    return Stream(settings.SEEDS, "attack", width, copies).next()


def natural(policies: Policies, name: str) -> list[Natural]:
    """What a policy earns when nobody interferes."""
    earned = rollout(policies[name], episodes()).returns.mean(dim=1)
    return [Natural(name, seed, one) for seed, one in zip(settings.SEEDS, earned.tolist(), strict=True)]


def transferred(policies: Policies, roll: int) -> list[Flipped]:
    """Attacks made on every policy with scores, shown to every policy, at states that each of them visits."""
    obs = torch.cat([visited(policy, episodes(), settings.STATES) for policy in policies.values()], dim=1)
    matrix = transfer_matrix(
        settings.ATTACK,
        {name: policy for name, policy in policies.items() if hasattr(policy, "scores")},
        policies,
        obs,
        settings.TASK.budget(settings.EPSILON),
        uniforms(obs.shape[-1], obs.shape[1]),
        roll,
    )
    return [
        Flipped(
            source,
            target,
            roll,
            seed,
            matrix.queries[i],
            round(float(matrix.flips[i, j, s]), 4),
            round(float(matrix.noise[j, s]), 4),
            round(float(matrix.alike[i, j, s]), 4),
            None if np.isnan(matrix.agreement[i, j, s]) else round(float(matrix.agreement[i, j, s]), 4),
        )
        for i, source in enumerate(matrix.sources)
        for j, target in enumerate(matrix.targets)
        for s, seed in enumerate(settings.SEEDS)
    ]


def universal(policies: Policies, source: str) -> list[Offset]:
    """Offsets fitted on a policy's own states, or random ones, shown to policies at states of other episodes."""
    budget = settings.TASK.budget(settings.EPSILON)
    fitted: list[tuple[int, Tensor]] = []  # count, offsets [S, D]
    rolls = (0,) if source == RANDOM else settings.ROLLS
    if source == RANDOM:
        width = len(settings.TASK.scale)
        signs = budget.sample_signs(
            torch.zeros(len(settings.SEEDS), settings.RANDOM_OFFSETS, width), uniforms(width, settings.RANDOM_OFFSETS)
        )
        fitted += [(0, offset) for offset in signs.unbind(dim=1)]
    else:
        obs = visited(policies[source], episodes(FITTING), max(settings.COUNTS))
        for count in settings.COUNTS:
            evenly = torch.linspace(0, obs.shape[1] - 1, count + 2)[1:-1].round().long()
            fitted.append((count, universal_offset(policies[source], obs[:, evenly], budget)))
    found = []
    for target in settings.SHOWN_TO:
        held_out = visited(policies[target], episodes(), settings.HELD_OUT)
        for roll in rolls:
            flips: dict[int, list[Tensor]] = {}
            for count, offset in fitted:
                shown = Universal(offset.roll(roll, dims=0))
                success = execute(shown, policies[target], held_out, budget).success
                flips.setdefault(count, []).append(success.double().mean(dim=1))
            found += [
                Offset(source, target, roll, count, seed, round(share, 4))
                for count, shares in flips.items()
                for seed, share in zip(settings.SEEDS, torch.stack(shares).mean(dim=0).tolist(), strict=True)
            ]
    return found


def dimension(policies: Policies, name: str) -> list[Spread]:
    """The epsilon that flips a policy whose observations are padded or rotated into codes of more features."""
    scale = torch.tensor(settings.TASK.scale)
    obs = visited(policies[name], episodes(), settings.CODED_STATES) / scale
    codes = [("padded", n, padded(len(scale), n)) for n in settings.LENGTHS]
    for n in settings.LENGTHS:
        draws = np.random.default_rng(n).normal(size=(settings.ROTATIONS, n, len(scale)))
        codes += [("rotated", n, rotated(len(scale), n, torch.from_numpy(draw))) for draw in draws]
    points = dimension_sweep(
        settings.FLIP,
        Rescaled(policies[name], scale),
        obs,
        [encoding for _, _, encoding in codes],
        Budget(settings.LARGEST),
        [uniforms(n, settings.CODED_STATES) for _, n, _ in codes],
    )
    found = []
    for encoding, n in dict.fromkeys((kind, n) for kind, n, _ in codes):
        same = [point for code, point in zip(codes, points, strict=True) if code[:2] == (encoding, n)]
        measured, predicted, noise = (
            torch.stack([getattr(point, field) for point in same]).double().mean(dim=0).tolist()
            for field in ("measured", "predicted", "noise")
        )
        found += [
            Spread(name, encoding, n, seed, *(float(f"{value[s]:.5g}") for value in (measured, predicted, noise)))
            for s, seed in enumerate(settings.SEEDS)
        ]
    return found


class Part(NamedTuple):
    """A question, which is answered unit by unit."""

    name: str
    row: type[Any]
    units: Callable[[], Sequence[Any]]
    unit_of: Callable[[Any], Any]  # row -> its unit
    measure: Callable[[Policies, Any], Sequence[Any]]
    tables: Callable[[Sequence[Any]], Sequence[Table]]
    figure: Callable[[Sequence[Any]], Figure] | None


PARTS = (
    Part(
        "natural",
        Natural,
        lambda: [*(kept.name for kept in settings.KEPT), settings.TREE],
        lambda row: row.policy,
        natural,
        analysis.natural_tables,
        None,
    ),
    Part(
        "transfer",
        Flipped,
        lambda: settings.ROLLS,
        lambda row: row.roll,
        transferred,
        analysis.transfer_tables,
        figures.transfer_figure,
    ),
    Part(
        "universal",
        Offset,
        lambda: [*settings.FITTED_ON, RANDOM],
        lambda row: row.source,
        universal,
        analysis.universal_tables,
        figures.universal_figure,
    ),
    Part(
        "dimension",
        Spread,
        lambda: settings.SPREAD,
        lambda row: row.policy,
        dimension,
        analysis.dimension_tables,
        figures.dimension_figure,
    ),
)


def main(args: Sequence[str] | None = None) -> int:
    """Measure what is named and has no row yet, show the tables and draw the figures; the exit code."""
    parser = argparse.ArgumentParser(prog="rlkit.experiments.transfer", description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join(part.name for part in PARTS))
    parser.add_argument("--models", type=Path, default=Path("runs/robustness"), help="policies, read and added to")
    parser.add_argument("--data", type=Path, default=Path("docs/adversarial/transfer"), help="rows, tables, figures")
    options, parts = parsed(parser, args, PARTS)
    files = {part.name: options.data / f"{part.name}-rows.csv" for part in PARTS}
    policies: Policies = {}
    for part in parts:
        done = {part.unit_of(row) for row in rows.read(files[part.name], part.row)}
        for unit in part.units():
            if unit not in done:
                policies = policies or opened(options.models)
                rows.append(files[part.name], part.measure(policies, unit))
                terminal.say(f"{part.name}: {unit}")
    for part in parts:
        known = rows.read(files[part.name], part.row)
        for table in part.tables(known):
            terminal.show_table(table)
            write_csv(options.data / f"{table.name}.csv", *flattened(table))
        if part.figure is not None:
            write_bytes(options.data / f"{part.name}.png", png(part.figure(known)))
    return 0
