"""Train REINFORCE with every baseline and every gamma, measure the variance of its gradient, and table both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlkit.figure_style import svg
from rlkit.statistics import mean_interval, median_interval

from ...report import terminal
from ...report.ledger import Cell, ReportTable, write_bytes
from ...workflows.sweep.experiment import Experiment, batch_training
from ..common import rows
from ..common.outcomes import OutcomeRow, train_and_score
from ..common.study import Study, StudyOptions
from ..common.sweeps import Part, by_cell, parts, train_missing_runs
from .figure import variance_figure
from .variance import SEEDS, VarianceRow, variance_rows

BASELINES, GAMMA = CASES = parts(__file__, "baselines", "gamma")


def run(cases: Sequence[Part], options: StudyOptions) -> Sequence[ReportTable]:
    """Train the runs without rows, measure variances, and table what each baseline and each gamma does."""
    file, variances = options.data / "baselines.csv", options.data / "variance.csv"
    for part in cases:
        train_missing_runs(part.experiment, file, OutcomeRow, train_and_score, options.device)
    if BASELINES in cases and not variances.is_file():
        rows.append(variances, measured_variances(BASELINES.experiment))
        terminal.say("variances of the gradient at equal policies")
    known, estimates = rows.read(file, OutcomeRow), rows.read(variances, VarianceRow)
    if estimates:
        write_bytes(options.data / "variance.svg", svg(variance_figure(estimates)))
    return (
        variance_table(estimates),
        outcome_table("baselines", "REINFORCE by baseline", BASELINES.experiment, known),
        outcome_table("gamma", "REINFORCE by gamma", GAMMA.experiment, known),
    )


def measured_variances(experiment: Experiment) -> list[VarianceRow]:
    """Measure all baselines of the experiment at the policies that its runs with baseline "value" go through."""
    names = list(dict.fromkeys(run.settings["baseline"] for run in experiment.runs if "baseline" in run.settings))
    value = [run.configuration for run in experiment.runs if run.settings.get("baseline") == "value"]
    return variance_rows(batch_training(value[:SEEDS]), names)


def variance_table(known: Sequence[VarianceRow]) -> ReportTable:
    """The variance of every baseline divided by that without one, seed by seed: the median over seeds."""
    lines: list[tuple[Cell, ...]] = []
    for stage in dict.fromkeys(row.stage for row in known):
        none = {row.seed: row for row in known if (row.stage, row.cell) == (stage, "none")}
        for baseline in dict.fromkeys(row.cell for row in known):
            found = [row for row in known if (row.stage, row.cell) == (stage, baseline)]
            ratio = median_interval([row.variance / none[row.seed].variance for row in found])
            noise = float(np.median([row.variance / row.squared_norm for row in found]))
            lines.append((stage, baseline, len(found), ratio, noise))
    columns = ("after steps", "baseline", "seeds", "variance / without baseline", "variance / squared norm of the mean")
    return ReportTable("variance", "Variance of the gradient of a batch at equal policies", columns, tuple(lines))


def outcome_table(name: str, title: str, experiment: Experiment, known: Sequence[OutcomeRow]) -> ReportTable:
    """One line per cell: how many seeds reach 475 in training, after how many steps, and the final returns.

    A seed that does not reach it counts with all its steps.
    """
    lines: list[tuple[Cell, ...]] = []
    for cell, found in by_cell(experiment, known).items():
        fast = [row.steps if row.steps_to_400 is None else row.steps_to_400 for row in found]
        reached = [row.steps if row.steps_to_475 is None else row.steps_to_475 for row in found]
        sampled = [row.sampled for row in found if row.sampled is not None]
        lines.append(
            (
                cell,
                len(found),
                sum(row.steps_to_475 is not None for row in found),
                median_interval(fast),
                median_interval(reached),
                mean_interval([row.greedy for row in found]),
                mean_interval(sampled),
            )
        )
    columns = (
        "run",
        "seeds",
        "reach 475",
        "median steps to 400",
        "median steps to 475",
        "greedy return",
        "sampled return",
    )
    return ReportTable(name, title, columns, tuple(lines))


STUDY = Study(CASES, run, takes=("device",))
