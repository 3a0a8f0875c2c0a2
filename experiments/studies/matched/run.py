"""Final returns of rlkit and stable-baselines3, and their difference."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from rlkit.figure_style import in_style, panels, svg
from rlkit.plotting import strips
from rlkit.statistics import difference_interval, equivalence_test

from ...report import terminal
from ...report.ledger import Cell, ReportTable, write_bytes
from ...report.text import slug_in_words
from ...workflows.compare import SB3Job, SB3Process, hyperparameter_table, require_sb3, sb3_job_for, sb3_subject
from ...workflows.evaluate import mean_return, possible_returns
from ...workflows.policies import RLKIT, SB3
from ...workflows.train import Training
from ..common import rows
from ..common.scores import Score, missing, of_case, scores, train_missing
from ..common.study import MAKERS, Study, StudyOptions
from .settings import CASES, MatchedCase

LABELS = {RLKIT: RLKIT, SB3: "stable-\nbaselines3"}
PANELS = 4  # side by side


def run(cases: Sequence[MatchedCase], options: StudyOptions) -> Sequence[ReportTable]:
    """Train the seeds without rows, draw the figure, and table the differences."""
    file = options.data / "matched.csv"
    if SB3 in options.makers:
        require_sb3()
    for case in cases:
        run_case(case, file, options.makers)
    known = rows.read(file, Score)
    write_bytes(options.data / "matched.svg", svg(picture(known)))
    return (difference_table(known),)


def run_case(case: MatchedCase, file: Path, makers: Sequence[str] = MAKERS) -> None:
    """Train the seeds of a case that have no row in the file, and add their rows one by one."""
    config = replace(case.training, seeds=case.training.seeds[:1]).make_agent().config
    job = sb3_job_for(case.training, config, case.sb3_seeds)
    terminal.show_table(hyperparameter_table(config, job))
    if RLKIT in makers:
        train_missing(case.name, case.training, file)
    known = rows.read(file, Score)
    for seed in missing(case.sb3_seeds, known, case.name, SB3) if SB3 in makers else ():
        score = sb3_score(case.name, case.training, replace(job, seeds=(seed,)))
        rows.append(file, [score])
        terminal.say(f"{case.name}: seed {seed} of {SB3}, {score.greedy:g}")


def sb3_score(name: str, training: Training, job: SB3Job) -> Score:
    """Train the only seed of a job in a process of its own, and play its final policy.

    Raises:
        SB3Failed: that process failed.
    """
    with tempfile.TemporaryDirectory() as folder, SB3Process(job, Path(folder)) as process:
        (result,) = process.results()
        subject = sb3_subject(training, job.algorithm, [result])
    stochastic = job.algorithm != "DQN"
    (score,) = scores(name, subject, result.timesteps, [result.cpu_seconds], stochastic)
    return score


def difference_table(known: Sequence[Score]) -> ReportTable:
    """Mean returns of both libraries and their difference (rlkit minus stable-baselines3) by case and policy."""
    lines: list[tuple[Cell, ...]] = []
    possible, margins = limits(), {case.name: case.margin for case in CASES}
    for case in dict.fromkeys(row.case for row in known):
        for kind in ("greedy", "sampled"):
            x, y = (earned(known, case, maker, kind) for maker in (RLKIT, SB3))
            if x and y:
                means = (mean_return(np.array(each), possible.get(case)) for each in (x, y))
                margin = margins.get(case)
                answer = None if margin is None else answer_of(x, y, margin)
                lines.append((case, kind, f"{len(x)}, {len(y)}", *means, difference_interval(x, y), margin, answer))
    columns = ("case", "actions", "seeds", RLKIT, SB3, "difference", "margin", "within the margin")
    return ReportTable("matched", "Mean final return over seeds, with 95 % intervals", columns, tuple(lines))


def answer_of(x: Sequence[float], y: Sequence[float], margin: float) -> str:
    """Return "equivalent", "different" or "undecided" by two one-sided tests; without any spread nothing is decided."""
    if np.ptp(x) == np.ptp(y) == 0.0:
        return "undecided"
    return equivalence_test(x, y, margin=margin).answer


def earned(known: Sequence[Score], case: str, maker: str, kind: str) -> list[float]:
    """The final returns of one library in a case, greedy or sampled; none for policies that cannot be sampled."""
    values = [getattr(row, kind) for row in of_case(known, case, maker)]
    return [value for value in values if value is not None]


def limits() -> dict[str, tuple[float, float] | None]:
    """Return the least and the largest return that is possible, by case."""
    return {case.name: possible_returns(case.training.env, case.training.env_kwargs) for case in CASES}


@in_style
def picture(known: Sequence[Score]) -> Figure:
    """Every seed of both libraries, a panel per case."""
    cases = list(dict.fromkeys(row.case for row in known))
    possible = limits()
    figure, places = panels(len(cases), PANELS, (3.4, 3.2))
    for panel, case in zip(places, cases, strict=True):
        groups = {
            f"{LABELS[maker]}\n{kind}": values
            for kind in ("greedy", "sampled")
            for maker in (RLKIT, SB3)
            if (values := earned(known, case, maker, kind))
        }
        label = "final return" if panel in places[::PANELS] else ""
        strips(panel, groups, label, slug_in_words(case), possible.get(case))
    return figure


STUDY = Study(CASES, run, takes=("makers", "device"))
