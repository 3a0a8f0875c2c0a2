"""Train the seeds of both libraries that have no row, and test equivalence once all are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rlkit.statistics import equivalence_test, holm

from ...report import terminal
from ...report.ledger import Cell, ReportTable
from ...workflows.compare import SB3Process, require_sb3, sb3_job_for, sb3_subject
from ...workflows.policies import RLKIT, SB3
from ...workflows.train import Training
from ..common import rows
from ..common.scores import Score, missing, of_case, scores, train_missing
from ..common.study import Study, StudyOptions
from ..common.unfinished import unfinished
from .settings import ALPHA, CASES, MARGIN, RLKIT_CHUNK, SB3_CHUNK, SEEDS, EquivalenceCase

UNFINISHED = "not finished, undecided"


def run(cases: Sequence[EquivalenceCase], options: StudyOptions) -> Sequence[ReportTable]:
    """Train the seeds without rows, and table the tests of equivalence."""
    file = options.data / "equivalence.csv"
    if SB3 in options.makers:
        require_sb3()
    for case in cases:
        if RLKIT in options.makers:
            for seeds in chunks(missing(case.training.seeds, rows.read(file, Score), case.name, RLKIT), RLKIT_CHUNK):
                train_missing(case.name, replace(case.training, seeds=seeds), file)
        if SB3 in options.makers:
            train_missing_sb3(case, file)
    return (verdict_table(rows.read(file, Score)),)


def train_missing_sb3(case: EquivalenceCase, file: Path) -> None:
    """Train the seeds of stable-baselines3 that have no row in the file, ``SB3_CHUNK`` of them in one process.

    A chunk that was interrupted keeps its finished seeds.

    Raises:
        SB3Failed: a process failed.
    """
    config = replace(case.training, seeds=case.training.seeds[:1]).make_agent().config
    left = missing(case.training.seeds, rows.read(file, Score), case.name, SB3)
    for seeds in chunks(left, SB3_CHUNK):
        training = replace(case.training, seeds=seeds)
        with unfinished(file.parent, f"sb3-{case.name}", training) as folder:
            folder.mkdir(parents=True, exist_ok=True)
            rows.append(file, sb3_scores(case.name, training, config, folder))
        terminal.say(f"{case.name}: {len(left) - left.index(seeds[-1]) - 1} seeds of {SB3} left")


def sb3_scores(name: str, training: Training, config: object, folder: Path) -> list[Score]:
    """Train the seeds of a training with stable-baselines3 in a process of its own, and play the final policies."""
    job = sb3_job_for(training, config, training.seeds)  # type: ignore[arg-type]
    with SB3Process(job, folder, resume=True) as process:
        results = process.results()
    subject = sb3_subject(training, job.algorithm, results)
    return scores(name, subject, results[0].timesteps, [each.cpu_seconds for each in results], stochastic=True)


def chunks(seeds: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
    """Cut seeds into tuples of at most ``size``."""
    for first in range(0, len(seeds), size):
        yield tuple(seeds[first : first + size])


def verdict_table(known: Sequence[Score], planned: int = len(SEEDS)) -> ReportTable:
    """Return a line per case: the test of equivalence of the greedy returns, corrected by Holm over the cases.

    The sample size is fixed: before all seeds of both sides have a row there is no number, so that no test is stopped
    when its outcome is liked.
    """
    sides = {case.name: [of_case(known, case.name, maker) for maker in (RLKIT, SB3)] for case in CASES}
    tests = {
        name: equivalence_test([row.greedy for row in x], [row.greedy for row in y], margin=MARGIN, alpha=ALPHA)
        for name, (x, y) in sides.items()
        if len(x) == len(y) == planned
    }
    corrected = dict(zip(tests, holm([test.p_value for test in tests.values()]), strict=True))
    complete = len(tests) == len(CASES)
    lines: list[tuple[Cell, ...]] = []
    for name, (x, y) in sides.items():
        answer: tuple[Cell, ...] = (None, None, UNFINISHED)
        if complete:
            p = corrected[name]
            answer = (tests[name].difference, p, "equivalent" if p < ALPHA else "undecided")
        lines.append((name, f"{len(x)}, {len(y)} of {planned}", *answer))
    columns = ("case", "seeds of rlkit, stable-baselines3", "difference (90 %)", "p, Holm over both", "verdict")
    title = f"Equivalence of greedy returns within {MARGIN:g}"
    return ReportTable("equivalence", title, columns, tuple(lines))


STUDY = Study(CASES, run, takes=("makers", "device"))
