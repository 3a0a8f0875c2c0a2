"""Both trainings, their learning curves in one figure, and the difference of their final returns."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rlkit.plotting import SMALL_DPI, learning_curves, png
from rlkit.statistics import Estimate, difference_interval, mean_interval

from ...report import terminal
from ...report.ledger import ReportTable, write_bytes
from ...workflows.train import train
from ..common import rows
from ..common.scores import Point, Score, curve, missing, of_case, our_scores, points
from .settings import TRAININGS, WITH, WITHOUT

LABELS = {WITH: "minibatches from the memory", WITHOUT: "the latest transitions, in their order"}


def run(name: str, data: Path) -> None:
    """Train the seeds that have no row in the folder, and add their rows and curves."""
    training = TRAININGS[name]
    seeds = missing(training.seeds, rows.read(data / "replay.csv", Score), name, "rlkit")
    if seeds:
        training = replace(training, seeds=seeds)
        trained = train(training, training.make_agent())
        rows.append(data / f"curve-{name}.csv", points(trained))
        rows.append(data / "replay.csv", our_scores(name, training, trained))


def gain(known: Sequence[Score]) -> Estimate[float]:
    """What replay adds to the mean final return.

    The two trainings of a seed share their initial network and first episodes and nothing more: they are not paired.
    """
    with_replay, without = ([row.greedy for row in of_case(known, name)] for name in (WITH, WITHOUT))
    return difference_interval(with_replay, without)


def outcome_table(known: Sequence[Score]) -> ReportTable:
    """Mean final return of both and the difference."""
    lines = [(LABELS[name], mean_interval([row.greedy for row in of_case(known, name)])) for name in (WITH, WITHOUT)]
    title = f"Greedy return of the final policy, {len(of_case(known, WITH))} seeds each"
    return ReportTable("replay", title, ("DQN trains on", "return"), (*lines, ("difference", gain(known))))


def main(args: Sequence[str] | None = None) -> int:
    """Run what has no row yet, draw the figure and show the difference; the exit code."""
    parser = argparse.ArgumentParser(prog="rlkit.experiments.studies.replay", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("results/replay"), help="folder of the rows, continued")
    parser.add_argument("--figure", type=Path, default=Path("results/replay/replay.png"), help="written")
    options = parser.parse_args(args)
    for name in TRAININGS:
        run(name, options.data)
    curves = {LABELS[name]: curve(rows.read(options.data / f"curve-{name}.csv", Point)) for name in TRAININGS}
    write_bytes(options.figure, png(learning_curves(curves, ylabel="return of training episodes"), SMALL_DPI))
    terminal.show_table(outcome_table(rows.read(options.data / "replay.csv", Score)))
    return 0
