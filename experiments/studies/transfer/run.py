"""Trains missing policies, measures missing rows, and makes the tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from rlkit.adversarial import (
    Budget,
    DecisionTrees,
    Rescaled,
    Universal,
    Victim,
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
from rlkit.figure_style import svg
from rlkit.streams import Stream
from rlkit.types import Env

from ...report import terminal
from ...report.ledger import ReportTable, write_bytes, write_tables
from ..common import rows
from ..common.policy_cache import POLICIES
from ..common.study import Study, StudyOptions
from ..common.tasks import CARTPOLE
from . import analysis, figures, settings
from .analysis import RANDOM, Flipped, Natural, Offset, Spread

FITTING, TREES = EVALUATION_SEED + 1_000, EVALUATION_SEED + 10_000  # first episodes, apart from the evaluation's


class Policies(Mapping[str, Any]):
    """Every policy by its name, read from its folder, or trained and kept there, when it is first asked for.

    All but the tree have scores.

    Args:
        models: the folder of folders.
        device: where missing ones of rlkit are trained.
    """

    def __init__(self, models: Path, device: str = "cpu") -> None:
        self._models, self._device, self._opened = models, device, dict[str, Any]()

    def __iter__(self) -> Iterator[str]:
        yield from (kept.name for kept in settings.KEPT)
        yield settings.TREE

    def __len__(self) -> int:
        return len(settings.KEPT) + 1

    def __getitem__(self, name: str) -> Any:
        if name not in self._opened:
            self._opened[name] = self._tree() if name == settings.TREE else self._kept(name)
        return self._opened[name]

    def _kept(self, name: str) -> Victim:
        kept = {kept.name: kept for kept in settings.KEPT}[name]
        return POLICIES[kept.maker](replace(kept.training, device=self._device), self._models / kept.folder)

    def _tree(self) -> DecisionTrees:
        def episodes_of(i: int) -> Env:
            return episodes(settings.TREE, TREES + i * settings.EPISODES)

        return imitate(self[settings.TREE_OF], episodes_of, settings.DEPTH)


def episodes(name: str, first: int = EVALUATION_SEED) -> Env:
    """The episodes of a policy's task, the same for every seed and every policy."""
    return settings.task_of(name).environments(len(settings.SEEDS), settings.EPISODES, first)


def uniforms(width: int, copies: int) -> Tensor:
    """Random numbers of the attacker, ``[S, copies, width]``."""
    return Stream(settings.SEEDS, "attack", width, copies).next()


def natural(policies: Policies, name: str) -> list[Natural]:
    """Measure the natural return of a policy."""
    earned = rollout(policies[name], episodes(name)).returns.mean(dim=1)
    return [Natural(name, seed, one) for seed, one in zip(settings.SEEDS, earned.tolist(), strict=True)]


def transferred(policies: Policies, unit: tuple[str, int]) -> list[Flipped]:
    """Attacks made on every policy of a task with scores, shown to every policy, at states that each of them visits."""
    name, roll = unit
    own = {each: policies[each] for each in policies if settings.task_of(each).name == name}
    task = settings.task_of(next(iter(own)))
    obs = torch.cat([visited(policy, episodes(each), settings.STATES) for each, policy in own.items()], dim=1)
    matrix = transfer_matrix(
        settings.ATTACK,
        {each: policy for each, policy in own.items() if hasattr(policy, "scores")},
        own,
        obs,
        task.budget(settings.EPSILONS[name]),
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
    held_out = {target: visited(policies[target], episodes(target), settings.HELD_OUT) for target in settings.SHOWN_TO}
    rolls = (0,) if source == RANDOM else settings.ROLLS
    return [
        Offset(source, target, epsilon, roll, count, seed, round(share, 4))
        for epsilon in settings.OFFSET_EPSILONS
        for count, offsets in offsets_of(policies, source, CARTPOLE.budget(epsilon)).items()
        for target, obs in held_out.items()
        for roll in rolls
        for seed, share in zip(
            settings.SEEDS,
            flipped(policies[target], obs, [each.roll(roll, dims=0) for each in offsets], epsilon).tolist(),
            strict=True,
        )
    ]


def offsets_of(policies: Policies, source: str, budget: Budget) -> dict[int, list[Tensor]]:
    """By the number of states that they were fitted on, offsets ``[S, D]``: one each, or for 0 states random ones."""
    if source == RANDOM:
        width, draws = len(CARTPOLE.scale), settings.RANDOM_OFFSETS
        signs = budget.sample_signs(torch.zeros(len(settings.SEEDS), draws, width), uniforms(width, draws))
        return {0: list(signs.unbind(dim=1))}
    obs = visited(policies[source], episodes(source, FITTING), max(settings.COUNTS))
    evenly = {count: torch.linspace(0, obs.shape[1] - 1, count + 2)[1:-1].round().long() for count in settings.COUNTS}
    return {count: [universal_offset(policies[source], obs[:, some], budget)] for count, some in evenly.items()}


def flipped(policy: Any, obs: Tensor, offsets: Sequence[Tensor], epsilon: float) -> Tensor:
    """The share of states at which an offset changes the policy's action, the mean over offsets, ``[S]``."""
    budget = CARTPOLE.budget(epsilon)
    changed = [execute(Universal(offset), policy, obs, budget).success.double().mean(dim=1) for offset in offsets]
    return torch.stack(changed).mean(dim=0)


def dimension(policies: Policies, name: str) -> list[Spread]:
    """The epsilon that flips a policy whose observations are padded or rotated into codes of more features."""
    scale = torch.tensor(CARTPOLE.scale)
    obs = visited(policies[name], episodes(name), settings.CODED_STATES) / scale
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


class TransferPart(NamedTuple):
    """A part of the study, measured unit by unit."""

    name: str
    row: type[Any]
    units: Callable[[], Sequence[Any]]
    unit_of: Callable[[Any], Any]  # row -> its unit
    measure: Callable[[Policies, Any], Sequence[Any]]
    tables: Callable[[Sequence[Any]], Sequence[ReportTable]]
    figure: Callable[[Sequence[Any]], Figure] | None


PARTS = (
    TransferPart(
        "natural",
        Natural,
        lambda: [*(kept.name for kept in settings.KEPT), settings.TREE],
        lambda row: row.policy,
        natural,
        analysis.natural_tables,
        None,
    ),
    TransferPart(
        "transfer",
        Flipped,
        lambda: list(product(settings.EPSILONS, settings.ROLLS)),
        lambda row: (settings.task_of(row.source).name, row.roll),
        transferred,
        analysis.transfer_tables,
        figures.transfer_figure,
    ),
    TransferPart(
        "universal",
        Offset,
        lambda: [*settings.FITTED_ON, RANDOM],
        lambda row: row.source,
        universal,
        analysis.universal_tables,
        figures.universal_figure,
    ),
    TransferPart(
        "dimension",
        Spread,
        lambda: settings.SPREAD,
        lambda row: row.policy,
        dimension,
        analysis.dimension_tables,
        figures.dimension_figure,
    ),
)


def run(parts: Sequence[TransferPart], options: StudyOptions) -> Sequence[ReportTable]:
    """Measure what has no row yet, draw the figure of each part, and return their tables."""
    policies = Policies(options.models, options.device)
    tables: list[ReportTable] = []
    for part in parts:
        file = options.data / f"{part.name}-rows.csv"
        measure_missing(part, policies, file)
        known = rows.read(file, part.row)
        tables += part.tables(known)
        if part.figure is not None:
            write_bytes(options.data / f"{part.name}.svg", svg(part.figure(known)))
    write_tables(tables, options.data)
    return tables


def measure_missing(part: TransferPart, policies: Policies, file: Path) -> None:
    """Measure the units of a part that have no row in the file; each is added when it is known."""
    done = {part.unit_of(row) for row in rows.read(file, part.row)}
    for unit in part.units():
        if unit not in done:
            rows.append(file, part.measure(policies, unit))
            terminal.say(f"{part.name}: {unit}")


STUDY = Study(PARTS, run, takes=("models", "device"))
