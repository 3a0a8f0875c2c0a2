"""Training what has no row yet, and the table of exact returns beside exact optima."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rlkit.envs import GridWorld
from rlkit.plotting import SMALL_DPI, Reference, learning_curves, png
from rlkit.statistics import median_interval

from ...report import terminal
from ...report.ledger import Cell, ReportTable, write_bytes
from ...workflows.exact import exact_answer, exact_returns
from ...workflows.train import ExactCurve, train
from ..common import rows
from ..common.case_selection import parsed
from ..common.scores import Point, curve
from .settings import CASES, SHARE, GridCase

DRAWN = "tabularq-frozenlake-4x4"  # the case whose learning curve is kept


@dataclass(frozen=True)
class GridRow:
    """What the greedy final policy of one seed is worth."""

    map: str
    agent: str
    seed: int
    limit: int  # steps of an episode
    steps: int  # of training
    exact_return: float  # expected, in an episode of at most ``limit`` steps
    optimum: float  # of all policies under that limit, those that see the steps left included


def run_case(case: GridCase, data: Path) -> None:
    """Train the seeds that have no row in the folder, as one computation, and add their rows."""
    done = {
        row.seed for row in rows.read(data / "grids.csv", GridRow) if (row.agent, row.map) == (case.agent, case.map)
    }
    seeds = tuple(seed for seed in case.training.seeds if seed not in done)
    if not seeds:
        return
    training = replace(case.training, seeds=seeds)
    exact = exact_answer(GridWorld(**training.env_kwargs), gamma=None)
    assert exact is not None
    assert exact.limited is not None
    recorded = ExactCurve(exact) if case.name == DRAWN else None
    agent = train(training, training.make_agent(), recorded).agent
    if recorded is not None:
        rows.append(data / f"curve-{case.name}.csv", points_of(seeds, recorded))
    returns = exact_returns(agent, exact.problem, exact.limited.horizon)
    limit, steps, optimum = exact.limited.horizon, agent.num_timesteps, exact.optimum
    rows.append(
        data / "grids.csv",
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


def main(args: Sequence[str] | None = None) -> int:
    """Run what is named and has no row yet, show the table and draw the tabular curve; the exit code."""
    parser = argparse.ArgumentParser(prog="rlkit.experiments.studies.grids", description=__doc__)
    parser.add_argument("names", nargs="*", help="AGENT-MAP, for example ppo-cliff; all without any")
    parser.add_argument("--data", type=Path, default=Path("results/grids"), help="folder of the rows, continued")
    parser.add_argument("--figure", type=Path, default=Path(f"results/grids/curve-{DRAWN}.png"), help="written")
    options, cases = parsed(parser, args, CASES)
    for case in cases:
        run_case(case, options.data)
    known = rows.read(options.data / "grids.csv", GridRow)
    terminal.show_table(outcome_table(known))
    points = rows.read(options.data / f"curve-{DRAWN}.csv", Point)
    if points:
        optimum = next(row.optimum for row in known if f"{row.agent}-{row.map}" == DRAWN)
        reference = Reference("exact optimum under the step limit", optimum)
        ylabel = "exact return of the greedy policy"
        figure = learning_curves({"Q-learning, frozenlake-4x4": curve(points)}, ylabel=ylabel, references=[reference])
        write_bytes(options.figure, png(figure, SMALL_DPI))
    return 0
