"""Measuring rlkit and another library in turn, and the table of ratios."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..report.ledger import ReportTable, to_json, versions, write_text
from ..report.terminal import say, show_table
from ..workflows.compare.sb3_process import THREAD_VARIABLES
from .cases import CASES, BenchmarkCase


class Repetition(NamedTuple):
    """One repetition of one side."""

    steps: int
    cpu_seconds: float
    wall_seconds: float

    @property
    def rate(self) -> float:
        """Environment steps per CPU second."""
        return self.steps / self.cpu_seconds


class Timings(NamedTuple):
    """The measurements of a case; repetition i of both libraries ran one after the other."""

    case: BenchmarkCase
    rlkit: tuple[Repetition, ...]
    other: tuple[Repetition, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """The rate of rlkit divided by that of the other library, by repetition."""
        return tuple(rlkit.rate / other.rate for rlkit, other in zip(self.rlkit, self.other, strict=True))


class WorkerFailed(RuntimeError):
    """A worker process ended without an answer; its message is on the standard error."""


def measure(case: BenchmarkCase, repetitions: int) -> Timings:
    """Measure both libraries in turn.

    Raises:
        WorkerFailed: a side could not do its work.
    """
    with worker(case.rlkit, case.arguments) as rlkit, worker(case.other, case.arguments) as other:
        pairs = [(ask(rlkit), ask(other)) for _ in range(repetitions)]
    return Timings(case, tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))


@contextmanager
def worker(side: str, arguments: dict[str, int]) -> Iterator[subprocess.Popen[str]]:
    """A process that is ready to work for one side, on one thread."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rlkit.experiments.benchmarks.worker", side, json.dumps(arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")},
    )
    with process:
        try:
            answer(process)  # ready
            yield process
        except BaseException:
            process.kill()
            raise


def ask(process: subprocess.Popen[str]) -> Repetition:
    """One repetition."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    steps, cpu, wall = answer(process).split()
    return Repetition(int(steps), float(cpu), float(wall))


def answer(process: subprocess.Popen[str]) -> str:
    """The next line of a worker's output."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise WorkerFailed(f"the benchmark process {process.args!r} ended with {process.wait()}")
    return line


def ratio_table(measured: Sequence[Timings]) -> ReportTable:
    """Rates and ratios, one row per case."""
    rows = []
    for one in measured:
        least, middle, greatest = min(one.ratios), statistics.median(one.ratios), max(one.ratios)
        rates = (statistics.median(repetition.rate for repetition in side) for side in (one.rlkit, one.other))
        target = one.case.target
        verdict = None if target is None else f"{'met' if middle >= target else 'missed'}: at least {target:g}"
        rows.append((one.case.title, one.case.other, *rates, least, middle, greatest, verdict))
    columns = ("work", "other", "rlkit, steps/s", "other, steps/s", "ratio, least", "median", "greatest", "target")
    return ReportTable("benchmarks", "Environment steps per CPU second on one thread", columns, tuple(rows), digits=3)


def record(measured: Sequence[Timings]) -> str:
    """Everything measured, as JSON."""
    cases = [
        {
            **one.case._asdict(),
            "rlkit_repetitions": [repetition._asdict() for repetition in one.rlkit],
            "other_repetitions": [repetition._asdict() for repetition in one.other],
            "ratios": one.ratios,
            "median_ratio": statistics.median(one.ratios),
        }
        for one in measured
    ]
    return to_json({"versions": versions(), "cases": cases})


def chosen(names: Sequence[str]) -> tuple[BenchmarkCase, ...]:
    """The cases whose names begin with one of ``names``; all without any.

    Raises:
        ValueError: a name that no case begins with.
    """
    for name in names:
        if not any(case.name.startswith(name) for case in CASES):
            raise ValueError(f"unknown benchmark {name!r}: known are {', '.join(case.name for case in CASES)}")
    return tuple(case for case in CASES if not names or any(case.name.startswith(name) for name in names))


def main(args: Sequence[str] | None = None) -> int:
    """Run the benchmarks that are named, show the table and write the record; the exit code."""
    parser = argparse.ArgumentParser(
        prog="rlkit.experiments.benchmarks", description="Speed of rlkit and other libraries."
    )
    parser.add_argument("names", nargs="*", help="beginnings of " + ", ".join(case.name for case in CASES))
    parser.add_argument("--repetitions", type=int, default=5, help="repetitions of both libraries, in turn")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks.json"), help="where the record is written")
    options = parser.parse_args(args)
    if options.repetitions < 1:
        parser.error(f"--repetitions must be at least 1, got {options.repetitions}")
    try:
        cases = chosen(options.names)
    except ValueError as error:
        parser.error(str(error))
    measured = []
    for case in cases:
        say(f"{case.name}: {options.repetitions} repetitions")
        measured.append(measure(case, options.repetitions))
    show_table(ratio_table(measured))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(options.out, record(measured))
    say(f"written to {options.out}")
    return 0
