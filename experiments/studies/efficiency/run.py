"""Train every agent with evaluations, and table efficiency, stability, cost and ensembles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rlkit.plotting import SMALL_DPI, Curve, learning_curves, png
from rlkit.statistics import mean_interval, median_interval

from ...report.ledger import Cell, ReportTable, write_bytes
from ...workflows.sweep.experiment import Batch
from ...workflows.train import Training
from ..common import rows
from ..common.outcomes import Outcome
from ..common.study import Study, StudyOptions
from ..common.sweeps import Part, by_cell, parts, train_missing_runs
from .evaluations import EnsembleEvaluation, Evaluation, first_at, share_lost, train_and_evaluate
from .flops import training_flops

CASES = parts(__file__, "short", "long")
FAST, SOLVED = 400.0, 475.0


def run(cases: Sequence[Part], options: StudyOptions) -> Sequence[ReportTable]:
    """Train the runs without rows, draw the curves, and table what the rows say."""
    file = options.data / "efficiency.csv"
    curves, ensembles = options.data / "evaluations.csv", options.data / "ensembles.csv"

    def measure(batch: Batch, training: Training) -> list[Outcome]:
        found, watch = train_and_evaluate(batch, training)
        for path, new in ((curves, watch.evaluations), (ensembles, watch.ensembles)):
            known = {(row.cell, row.seed) for row in rows.read(path, type(new[0]))}  # of a process that was killed here
            rows.append(path, [row for row in new if (row.cell, row.seed) not in known])
        return found

    for part in cases:
        train_missing_runs(part.experiment, file, Outcome, measure)
    known, points = rows.read(file, Outcome), by_seed(rows.read(curves, Evaluation))
    cells = {cell: found for part in CASES for cell, found in by_cell(part.experiment, known).items()}
    drawn = {cell.split()[0].upper(): evaluation_curve([points[cell, row.seed] for row in found])
             for cell, found in cells.items()}  # fmt: skip
    if drawn:
        figure = learning_curves(drawn, ylabel="greedy return of 20 episodes")
        write_bytes(options.data / "efficiency.png", png(figure, SMALL_DPI))
    return (
        efficiency_table(cells, points),
        stability_table(cells, points),
        cost_table(cells, points, configurations()),
        ensemble_table(rows.read(ensembles, EnsembleEvaluation)),
    )


def configurations() -> dict[str, Mapping[str, Any]]:
    """Return the configuration of one run of every cell."""
    return {run.cell: run.configuration for part in CASES for run in part.experiment.runs}


Points = Mapping[tuple[str, int], Sequence[Evaluation]]  # by cell and seed, in the order of steps


def by_seed(known: Sequence[Evaluation]) -> dict[tuple[str, int], list[Evaluation]]:
    """Return evaluations by cell and seed."""
    found: dict[tuple[str, int], list[Evaluation]] = {}
    for row in known:
        found.setdefault((row.cell, row.seed), []).append(row)
    return found


def evaluation_curve(seeds: Sequence[Sequence[Evaluation]]) -> Curve:
    """Return evaluations of seeds at equal steps as a curve ``[T, S]``."""
    return Curve([each.timesteps for each in seeds[0]], np.array([[e.greedy for e in seed] for seed in seeds]).T)


def steps_until(found: Sequence[Outcome], points: Points, level: float) -> list[int]:
    """Return the steps to the first evaluation of at least ``level`` by seed; all steps where there is none."""
    return [first_at(points[row.cell, row.seed], level) or row.steps for row in found]


def efficiency_table(cells: Mapping[str, Sequence[Outcome]], points: Points) -> ReportTable:
    """Return how many environment steps every agent needs, with greedy actions and in training."""
    lines: list[tuple[Cell, ...]] = []
    for cell, found in cells.items():
        training = [row.steps if row.steps_to_475 is None else row.steps_to_475 for row in found]
        greedy = [median_interval(steps_until(found, points, level)) for level in (FAST, SOLVED)]
        reached = sum(first_at(points[row.cell, row.seed], SOLVED) is not None for row in found)
        lines.append((cell, found[0].steps, len(found), reached, *greedy, median_interval(training)))
    columns = ("agent", "steps", "seeds", "reach 475", "greedy 400", "greedy 475", "training return 475")
    title = "Median environment steps to a return; a seed that does not reach it counts with all its steps"
    return ReportTable("efficiency", title, columns, tuple(lines))


def stability_table(cells: Mapping[str, Sequence[Outcome]], points: Points) -> ReportTable:
    """Return how much of what was reached is lost again, and how far seeds differ at the end."""
    lines: list[tuple[Cell, ...]] = []
    for cell, found in cells.items():
        lost = [share for row in found if (share := share_lost(points[row.cell, row.seed], SOLVED)) is not None]
        final = np.array([row.greedy for row in found])
        least, spread = float(final.min(axis=0)), float(final.std(axis=0, ddof=1)) if len(final) > 1 else None
        diverged = sum(row.diverged for row in found)
        lines.append((cell, len(lost), mean_interval(lost), mean_interval(final), spread, least, diverged))
    columns = ("agent", "seeds at 475", "share of later evaluations below 475", "final greedy return",
               "standard deviation of seeds", "least", "diverged")  # fmt: skip
    return ReportTable("stability", "Stability", columns, tuple(lines))


def cost_table(
    cells: Mapping[str, Sequence[Outcome]], points: Points, configured: Mapping[str, Mapping[str, Any]]
) -> ReportTable:
    """Return the cost to the median seed's greedy 475."""
    lines: list[tuple[Cell, ...]] = []
    for cell, found in cells.items():
        steps = int(np.median(steps_until(found, points, SOLVED)))
        seconds = float(np.mean([row.cpu_seconds / row.steps for row in found]))
        of = configured[cell]
        flops = training_flops(of["algorithm"], of["hyperparameters"], of["num_envs"], steps, inputs=4, actions=2)
        lines.append((cell, steps, steps * seconds, 1e5 * seconds, flops / 1e9, flops / steps, "not measured"))
    columns = (
        "agent",
        "steps to 475",
        "CPU s to 475",
        "CPU s / 100,000 steps",
        "GFLOP to 475",
        "FLOP / step",
        "joules",
    )
    return ReportTable("cost", "Cost of one seed until the median seed's greedy return is 475", columns, tuple(lines))


def ensemble_table(known: Sequence[EnsembleEvaluation]) -> ReportTable:
    """Return the gain of an ensemble of five seeds over its members' mean, by agent and third of training."""
    lines: list[tuple[Cell, ...]] = []
    for cell in dict.fromkeys(row.cell for row in known):
        found = [row for row in known if row.cell == cell]
        end = max(row.timesteps for row in found)
        for third, name in enumerate(("first", "second", "last")):
            part = [row for row in found if third * end < 3 * row.timesteps <= (third + 1) * end]
            groups = list(dict.fromkeys(row.seed for row in part))
            gain = [float(np.mean([r.ensemble - r.members for r in part if r.seed == g])) for g in groups]
            members = float(np.mean([row.members for row in part]))
            lines.append((cell, name, len(groups), members, mean_interval(gain)))
    columns = ("agent", "third of training", "ensembles", "members' mean return", "gain of the ensemble")
    return ReportTable("ensembles", "Greedy return of ensembles of five seeds", columns, tuple(lines))


STUDY = Study(CASES, run)
