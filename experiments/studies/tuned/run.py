"""Training what has no row yet, the verdict, and a learning curve per case."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rlkit.plotting import SMALL_DPI, learning_curves, png
from rlkit.statistics import mean_interval, median_interval, proportion_interval

from ...report import terminal
from ...report.ledger import Cell, ReportTable, write_bytes
from ...workflows.train import train
from ..common import rows
from ..common.case_selection import parsed
from ..common.scores import Point, Score, curve, missing, of_case, our_scores, points
from .settings import CASES, Target, TunedCase

MAKER = "rlkit"


def run_case(case: TunedCase, data: Path) -> None:
    """Train the seeds that have no row in the folder, as one computation, and add their rows and curves."""
    seeds = missing(case.training.seeds, rows.read(scores_file(data), Score), case.name, MAKER)
    if not seeds:
        return
    training = replace(case.training, seeds=seeds)
    trained = train(training, training.make_agent())
    rows.append(curve_file(data, case), points(trained))
    rows.append(scores_file(data), our_scores(case.name, training, trained))
    terminal.say(f"{case.name}: {len(seeds)} seeds, {trained.cpu_seconds / len(seeds):.1f} CPU seconds each")


def scores_file(data: Path) -> Path:
    """Where the final returns of all cases are."""
    return data / "tuned.csv"


def curve_file(data: Path, case: TunedCase) -> Path:
    """Where the training curves of a case are."""
    return data / f"curve-{case.name}.csv"


def verdict(cases: Sequence[TunedCase], known: Sequence[Score]) -> ReportTable:
    """What was reached and what had to be: one line per target of the cases that have rows."""
    lines: list[tuple[Cell, ...]] = []
    for case in cases:
        seeds = of_case(known, case.name)
        returns = np.array([row.greedy for row in seeds])
        for target in case.targets if seeds else ():
            lines.append(
                (
                    case.name,
                    f"{case.training.algo} on {case.training.env}",
                    case.training.steps,
                    len(seeds),
                    mean_interval(returns),
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


def draw(case: TunedCase, data: Path, figures: Path) -> None:
    """The learning curve of a case."""
    measured = curve(rows.read(curve_file(data, case), Point))
    name = f"{case.training.algo.upper()}, tuned, {case.training.env}"
    figure = learning_curves({name: measured}, ylabel="return of training episodes")
    write_bytes(figures / f"curve-{case.name}.png", png(figure, SMALL_DPI))


def main(args: Sequence[str] | None = None) -> int:
    """Run what is named and has no row yet, draw its learning curves and show the verdict; the exit code."""
    parser = argparse.ArgumentParser(prog="rlkit.experiments.studies.tuned", description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join(case.name for case in CASES))
    parser.add_argument("--data", type=Path, default=Path("results/tuned"), help="folder of the rows, continued")
    parser.add_argument("--figures", type=Path, default=Path("results/tuned"), help="folder of the learning curves")
    options, cases = parsed(parser, args, CASES)
    for case in cases:
        run_case(case, options.data)
        draw(case, options.data, options.figures)
    terminal.show_table(verdict(CASES, rows.read(scores_file(options.data), Score)))
    return 0
