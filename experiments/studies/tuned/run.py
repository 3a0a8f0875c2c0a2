"""Train missing cases, draw a learning curve per case, and report which targets are met."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rlkit.figure_style import svg
from rlkit.plotting import learning_curves
from rlkit.statistics import median_interval, proportion_interval

from ...report.ledger import Cell, ReportTable, write_bytes
from ...workflows.evaluate import mean_return, possible_returns
from ..common import rows
from ..common.scores import Point, Score, curve, of_case, train_missing
from ..common.study import Study, StudyOptions
from .settings import CASES, Target, TunedCase


def run(cases: Sequence[TunedCase], options: StudyOptions) -> Sequence[ReportTable]:
    """Train the cases without rows, draw their learning curves, and table the verdict on every case."""
    file = options.data / "tuned.csv"
    for case in cases:
        points = options.data / f"curve-{case.name}.csv"
        train_missing(case.name, case.training, file, points)
        write_bytes(points.with_suffix(".svg"), svg(learning_curve(case, rows.read(points, Point))))
    return (verdict(CASES, rows.read(file, Score)),)


def verdict(cases: Sequence[TunedCase], known: Sequence[Score]) -> ReportTable:
    """Returns and targets: one line per target of the cases that have rows."""
    lines: list[tuple[Cell, ...]] = []
    for case in cases:
        seeds = of_case(known, case.name)
        returns = np.array([row.greedy for row in seeds])
        limits = possible_returns(case.training.env, case.training.env_kwargs)
        for target in case.targets if seeds else ():
            lines.append(
                (
                    case.name,
                    f"{case.training.algo} on {case.training.env}",
                    case.training.steps,
                    len(seeds),
                    mean_return(returns, limits),
                    median_interval(returns),
                    proportion_interval(returns >= target.level),
                    ", ".join(f"{row.seed}: {row.greedy:g}" for row in seeds if row.greedy < target.level) or None,
                    str(target),
                    "met" if is_met(target, returns) else "missed",
                )
            )
    columns = ("case", "training", "steps", "seeds", "mean", "median", "at target", "below", "target", "verdict")
    return ReportTable("tuned", "Greedy return of the final policy on seeds never tuned on", columns, tuple(lines))


def is_met(target: Target, returns: NDArray[np.float64]) -> bool:
    """Whether the seeds' returns ``[S]`` reach a target."""
    if target.solved is None:
        return bool(np.median(returns) >= target.level)
    return int((returns >= target.level).sum(axis=0)) >= target.solved


def learning_curve(case: TunedCase, points: Sequence[Point]) -> Figure:
    """Training returns of a case against steps."""
    name = f"{case.training.algo.upper()}, tuned, {case.training.env}"
    return learning_curves({name: curve(points)}, ylabel="return of training episodes")


STUDY = Study(CASES, run, takes=("device",))
