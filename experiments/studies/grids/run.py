"""Train missing cases, and table exact returns and exact optima."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from rlkit.envs import GridWorld
from rlkit.figure_style import svg
from rlkit.plotting import Reference, learning_curves
from rlkit.statistics import median_interval

from ...report import terminal
from ...report.ledger import Cell, ReportTable, write_bytes
from ...workflows.exact import exact_answer, exact_returns
from ...workflows.train import ExactCurve
from ..common import rows
from ..common.scores import Point, curve
from ..common.study import Study, StudyOptions
from ..common.unfinished import trained, unfinished
from .settings import CASES, SHARE, GridCase

DRAWN = "tabularq-frozenlake-4x4"  # the case whose learning curve is kept


@dataclass(frozen=True)
class GridRow:
    """The exact return of the greedy final policy of one seed."""

    map: str
    agent: str
    seed: int
    limit: int  # steps of an episode
    steps: int  # of training
    exact_return: float  # expected, in an episode of at most ``limit`` steps
    optimum: float  # of all policies under that limit, also of those that see the number of steps left


def run(cases: Sequence[GridCase], options: StudyOptions) -> Sequence[ReportTable]:
    """Train the cases without rows, draw the tabular curve, and table exact returns and exact optima."""
    file, points = options.data / "grids.csv", options.data / f"curve-{DRAWN}.csv"
    for case in cases:
        run_case(case, file, points)
    known = rows.read(file, GridRow)
    if points.is_file():
        optimum = next(row.optimum for row in known if f"{row.agent}-{row.map}" == DRAWN)
        figure = exact_curve(rows.read(points, Point), optimum)
        write_bytes(points.with_suffix(".svg"), svg(figure))
    return (outcome_table(known),)


def run_case(case: GridCase, file: Path, points: Path) -> None:
    """Train the seeds that have no row in ``file``, as one computation, and add their rows.

    The curve of the case that is ``DRAWN`` goes to ``points``.
    """
    done = {row.seed for row in rows.read(file, GridRow) if (row.agent, row.map) == (case.agent, case.map)}
    seeds = tuple(seed for seed in case.training.seeds if seed not in done)
    if not seeds:
        return
    training = replace(case.training, seeds=seeds)
    exact = exact_answer(GridWorld(**training.env_kwargs), gamma=None)
    assert exact is not None
    assert exact.limited is not None
    recorded = ExactCurve(exact) if case.name == DRAWN else None
    with unfinished(file.parent, case.name, training) as folder:
        agent = trained(training, folder, case.name, recorded).agent
        if recorded is not None:
            known = {point.seed for point in rows.read(points, Point)}  # of a process that was killed here
            rows.append(points, [point for point in points_of(seeds, recorded) if point.seed not in known])
        returns = exact_returns(agent, exact.problem, exact.limited.horizon)
        limit, steps, optimum = exact.limited.horizon, agent.num_timesteps, exact.optimum
        rows.append(
            file,
            [
                GridRow(case.map, case.agent, seed, limit, steps, float(earned), optimum)
                for seed, earned in zip(seeds, returns, strict=True)
            ],
        )
    terminal.say(f"{case.name}: median {np.median(returns):.4f} of {optimum:.4f}")


def points_of(seeds: Sequence[int], recorded: ExactCurve) -> list[Point]:
    """The exact return of every seed at every step that was recorded."""
    return [
        Point(seed, step, float(earned))
        for step, returns in zip(recorded.timesteps, recorded.returns, strict=True)
        for seed, earned in zip(seeds, returns, strict=True)
    ]


def outcome_table(known: Sequence[GridRow]) -> ReportTable:
    """One line per map and agent."""
    lines: list[tuple[Cell, ...]] = []
    for map, agent in dict.fromkeys((row.map, row.agent) for row in known):
        seeds = [row for row in known if (row.map, row.agent) == (map, agent)]
        first, median = seeds[0], median_interval([row.exact_return for row in seeds])
        within = [is_near(row.exact_return, row.optimum) for row in seeds]
        verdict = "yes" if is_near(median.value, first.optimum) else "no"
        lines.append((map, agent, first.limit, first.steps, len(seeds), first.optimum, median, sum(within), verdict))
    columns = (
        "map",
        "agent",
        "step limit",
        "steps trained",
        "seeds",
        "optimum",
        "median return",
        "seeds within 5 %",
        "median within 5 %",
    )
    return ReportTable("grids", "Exact return of the greedy final policy beside the optimum", columns, tuple(lines))


def is_near(earned: float, optimum: float) -> bool:
    """Whether a return loses at most 5 % of the optimum's size."""
    return optimum - earned <= SHARE * abs(optimum)


def exact_curve(points: Sequence[Point], optimum: float) -> Figure:
    """The exact return of the case that is ``DRAWN`` during training, beside the optimum."""
    return learning_curves(
        {"Q-learning, frozenlake-4x4": curve(points)},
        ylabel="exact return of the greedy policy",
        references=[Reference("exact optimum under the step limit", optimum)],
    )


STUDY = Study(CASES, run, takes=("device",))
