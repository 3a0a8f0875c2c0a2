"""Trains DQN with and without replay, draws both learning curves, and tables the difference of the final returns."""

from __future__ import annotations

from collections.abc import Sequence

from rlkit.figure_style import svg
from rlkit.plotting import learning_curves
from rlkit.statistics import Estimate, difference_interval, mean_interval

from ...report.ledger import Cell, ReportTable, write_bytes
from ..common import rows
from ..common.scores import Point, Score, curve, of_case, train_missing
from ..common.study import Study, StudyOptions
from .settings import CASES, WITH, WITHOUT, ReplayCase

LABELS = {WITH: "minibatches from the memory", WITHOUT: "the latest transitions, in order"}


def run(cases: Sequence[ReplayCase], options: StudyOptions) -> Sequence[ReportTable]:
    """Train what has no row yet, draw the learning curves of both, and table the difference."""
    file = options.data / "replay.csv"
    files = {case.name: options.data / f"curve-{case.name}.csv" for case in CASES}
    for case in cases:
        train_missing(case.name, case.training, file, files[case.name])
    points = {name: rows.read(path, Point) for name, path in files.items()}
    curves = {LABELS[name]: curve(known) for name, known in points.items() if known}
    write_bytes(options.data / "replay.svg", svg(learning_curves(curves, ylabel="return of training episodes")))
    return (outcome_table(rows.read(file, Score)),)


def gain(known: Sequence[Score]) -> Estimate[float]:
    """The gain in mean final return by replay.

    The two trainings of a seed share their initial network and first episodes and nothing more: they are not paired.
    """
    with_replay, without = ([row.greedy for row in of_case(known, name)] for name in (WITH, WITHOUT))
    return difference_interval(with_replay, without)


def outcome_table(known: Sequence[Score]) -> ReportTable:
    """Mean final return of each that has rows, and the difference of both."""
    returns = {name: [row.greedy for row in of_case(known, name)] for name in LABELS}
    lines: list[tuple[Cell, ...]] = [
        (LABELS[name], len(earned), mean_interval(earned)) for name, earned in returns.items() if earned
    ]
    if all(returns.values()):
        lines.append(("difference", None, gain(known)))
    title = "Greedy return of the final policy"
    return ReportTable("replay", title, ("DQN trains on", "seeds", "return"), tuple(lines))


STUDY = Study(CASES, run)
