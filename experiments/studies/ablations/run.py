"""Train the base settings and every change of one factor, and table exact returns beside the exact optimum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from rlkit.figure_style import INK, in_style, panels, svg
from rlkit.statistics import median_interval, wilson_interval

from ...report.ledger import Cell, ReportTable, write_bytes
from ...report.text import cell_text, in_words, slug_in_words
from ...workflows.sweep.experiment import Experiment, PlannedRun
from ..common import rows
from ..common.outcomes import OutcomeRow, optimum_of, train_and_score
from ..common.study import Study, StudyOptions
from ..common.sweeps import Part, parts, train_missing_runs, with_rows
from ..grids.run import is_near

CASES = parts(__file__, "lakes", "cliff")


def run(cases: Sequence[Part], options: StudyOptions) -> Sequence[ReportTable]:
    """Train the runs without rows, draw every seed, and table exact returns."""
    file = options.data / "ablations.csv"
    for part in cases:
        train_missing_runs(part.experiment, file, OutcomeRow, train_and_score, options.device)
    known = rows.read(file, OutcomeRow)
    for part in CASES:
        if found := with_rows(part.experiment, known):
            write_bytes(options.data / f"{part.name}.svg", svg(picture(found)))
    return tuple(outcome_table(part.name, part.experiment, known) for part in CASES)


def outcome_table(name: str, experiment: Experiment, known: Sequence[OutcomeRow]) -> ReportTable:
    """Return the exact returns of every variant, and how many seeds come within 5 % of the optimum."""
    lines: list[tuple[Cell, ...]] = []
    found, optimum = with_rows(experiment, known), optimum_of(experiment.runs[0])
    for label in dict.fromkeys(label_of(run) for run, _ in found):
        earned = np.array([row.greedy for run, row in found if label_of(run) == label])
        near = np.array([is_near(each, optimum) for each in earned])
        least = float(earned.min(axis=0))
        lines.append((label, len(earned), median_interval(earned), least, int(near.sum(axis=0)), wilson_interval(near)))
    columns = ("variant", "seeds", "median return", "least", "seeds within 5 %", "share within 5 %")
    title = f"{name}: exact return of the greedy final policy, optimum {optimum:.4g}"
    return ReportTable(name, title, columns, tuple(lines))


def label_of(run: PlannedRun) -> str:
    """Return the name of a variant: the agent and what its settings change."""
    return " ".join((run.agent, *(f"{name}={value:g}" for name, value in run.settings.items())))


def label_in_words(run: PlannedRun) -> str:
    """Return the name of a variant as people say it."""
    return ", ".join(
        (slug_in_words(run.agent), *(f"{in_words(name)} {cell_text(value)}" for name, value in run.settings.items()))
    )


@in_style
def picture(found: Sequence[tuple[PlannedRun, OutcomeRow]]) -> Figure:
    """Draw the exact return of every seed, a line per variant."""
    labels = {label_of(run): label_in_words(run) for run, _ in found}
    figure, (axes,) = panels(1, size=(7.2, 0.35 * len(labels) + 1.0))
    for place, label in enumerate(labels):
        earned = [row.greedy for run, row in found if label_of(run) == label]
        axes.plot(earned, np.full(len(earned), place), "o", markersize=4, alpha=0.5, clip_on=False)
        axes.plot(np.median(earned), place, "|", color=INK, markersize=12)
    axes.set_yticks(np.arange(len(labels)), list(labels.values()))
    axes.set_ylim(len(labels) - 0.5, -0.5)
    if min(row.greedy for _, row in found) < -100:
        axes.set_xscale("symlog", linthresh=10)
    axes.set_xlabel("exact return of the greedy policy; bars are medians")
    return figure


STUDY = Study(CASES, run, takes=("device",))
