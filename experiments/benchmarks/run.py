"""Measuring rlkit and another library in turn, and the table of ratios."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..report.ledger import ReportTable, to_json, versions, write_text
from ..report.terminal import say, show_table
from ..report.text import as_text
from ..workflows.threads import one_thread_environment
from .cases import CASES, LONG, BenchmarkCase, missing

JAX_ON_ONE_THREAD = {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}


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
    starts: tuple[float, float]  # CPU seconds until the processes of rlkit and of the other library were ready

    @property
    def rates(self) -> tuple[float, float]:
        """The median rates of rlkit and of the other library."""
        rlkit, other = (statistics.median(repetition.rate for repetition in side) for side in (self.rlkit, self.other))
        return rlkit, other

    @property
    def whole(self) -> float | None:
        """The ratio for ``LONG`` steps a seed when a process is started for them; None where there are no seeds."""
        if "seeds" not in self.case.arguments:
            return None
        steps = LONG * self.case.arguments["seeds"]
        rlkit, other = (start + steps / rate for start, rate in zip(self.starts, self.rates, strict=True))
        return other / rlkit

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
        starts = float(answer(rlkit)), float(answer(other))  # on two cores at once
        pairs = [(ask(rlkit), ask(other)) for _ in range(repetitions)]
    return Timings(case, tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs), starts)


@contextmanager
def worker(side: str, arguments: dict[str, int]) -> Iterator[subprocess.Popen[str]]:
    """A process that works for one side, on one thread; its first answer says that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rlkit.experiments.benchmarks.worker", side, json.dumps(arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=one_thread_environment(**JAX_ON_ONE_THREAD),
    )
    with process:
        try:
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
        target = one.case.target
        verdict = None if target is None else f"{'met' if middle >= target else 'missed'}: at least {target:g}"
        spread = least, middle, greatest
        rows.append((one.case.title, one.case.other, *one.rates, *spread, verdict, *one.starts, one.whole))
    columns = (
        *("work", "other", "rlkit, steps/s", "other, steps/s", "ratio, least", "median", "greatest", "target"),
        *("start of rlkit, s", "of the other, s", "ratio with start"),
    )
    return ReportTable("benchmarks", "Environment steps per CPU second on one thread", columns, tuple(rows), digits=3)


def markdown(table: ReportTable) -> str:
    """A table for a page."""
    _, rows = as_text(table)
    lines = [table.columns, ["---"] * len(table.columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def record(measured: Sequence[Timings]) -> str:
    """Everything measured, as JSON."""
    cases = [
        {
            **one.case._asdict(),
            "rlkit_repetitions": [repetition._asdict() for repetition in one.rlkit],
            "other_repetitions": [repetition._asdict() for repetition in one.other],
            "ratios": one.ratios,
            "median_ratio": statistics.median(one.ratios),
            "start_seconds": one.starts,
            "ratio_with_start": one.whole,
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
    measured: list[Timings] = []
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for case in cases:
        if module := missing(case):
            say(f"{case.name}: {module} is not installed, left out")
            continue
        say(f"{case.name}: {options.repetitions} repetitions")
        measured.append(measure(case, options.repetitions))
        ratios = measured[-1].ratios
        say(f"  ratio {statistics.median(ratios):.3g} ({min(ratios):.3g} to {max(ratios):.3g})")
        write_text(options.out, record(measured))  # also of a run that is cut
    table = ratio_table(measured)
    show_table(table)
    say(markdown(table))
    say(f"written to {options.out}")
    return 0
