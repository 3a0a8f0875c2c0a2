"""Run a sweep: give batches to an executor until every run has a result or has failed."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np

from ...report.ledger import Cell, ReportTable, RunRecord
from ...report.text import in_words
from ..evaluate import mean_return, possible_returns
from .executors import Ended, Executor
from .experiment import Batch, PlannedRun, batch_id
from .progress import ProgressLog, progress_log, sweep_progress
from .sweep_ledger import RunState, SweepAttempt, SweepLedger, checkpoints_of, last_line, pending

MOST_LOSSES = 3  # processes that die in a batch, without a later checkpoint, before its runs train alone or have failed
POLL_SECONDS = 0.5  # between two looks at what others do, and at the request to stop
LINE_SECONDS = 15.0  # between two lines of progress


class SweepDriver:
    """Trains what is missing in a ledger; several drivers, on several machines, may work at the same one.

    A batch of several runs that fails is trained again run by run, so that only the runs at fault fail.

    Args:
        sweep: the ledger.
        executor: where attempts run.
        tell: takes each line of progress.
        log: takes the same as numbers; None for nobody.
    """

    def __init__(
        self, sweep: SweepLedger, executor: Executor, tell: Callable[[str], None], log: ProgressLog | None = None
    ) -> None:
        self.sweep, self.executor, self.tell, self.log = sweep, executor, tell, log
        batches = (split_rows(batch, executor.parts) for batch in sweep.experiment.batches)
        self._queue: deque[Batch] = deque(chain.from_iterable(batches))
        self._running: dict[SweepAttempt, Batch] = {}
        self._losses: Counter[str] = Counter()
        self._reached: dict[str, int] = {}  # batch -> steps of its newest checkpoint at the last loss
        self._began = self._told = time.monotonic()

    def run(self, stop: Callable[[], bool]) -> bool:
        """Train until nothing is left to do; whether that is so, or ``stop()`` was true before."""
        while self._queue or self._running:
            if stop():
                self.executor.stop()
                return False
            self._submit()
            for ended in self.executor.wait(POLL_SECONDS):
                self._take(ended)
            if time.monotonic() - self._told >= LINE_SECONDS and (self._queue or self._running):
                self._beat_for_waiting()
                self._say()
        self._say()
        return True

    def _submit(self) -> None:
        """Begin batches that nobody runs; those of other drivers wait at the end of the queue."""
        for _ in range(len(self._queue)):
            if not self.executor.free():
                return
            planned = self._queue.popleft()
            batch = pending(self.sweep, planned)
            if not batch:
                continue
            if any(attempt.heartbeat() is not None for attempt in self.sweep.attempts(batch)):
                self._queue.append(planned)
                continue
            attempt = self.sweep.new_attempt(batch)
            self.executor.submit(attempt)
            self._running[attempt] = batch

    def _take(self, ended: Ended) -> None:
        """Decide what follows the end of an attempt."""
        batch, end = self._running.pop(ended.attempt), ended.attempt.end()
        name = f"batch {batch_id(run.id for run in batch)[:8]} ({described(batch)})"
        if end is not None and end["state"] == "done":
            return
        if end is not None and end["state"] == "failed":
            self.tell(f"{name} failed: {last_line(end['reason'])}")
            self._split(batch)
        else:
            cause = ended.lost or "its worker was asked to stop"
            if self._count_loss(batch) < MOST_LOSSES:
                ended.attempt.finish("stopped", cause)
                self.tell(f"{name}: {cause}; it is tried again")
                self._queue.appendleft(batch)
            else:
                reason = f"{cause}; {MOST_LOSSES} processes died in this batch"
                ended.attempt.finish("failed", reason)
                self.tell(f"{name} failed: {reason}")
                self._split(batch)

    def _count_loss(self, batch: Batch) -> int:
        """How many processes died in a batch since it last came to a later checkpoint."""
        identity = batch_id(run.id for run in batch)
        reached = max((steps for steps, _ in checkpoints_of(self.sweep.batch_folder(batch))), default=0)
        if reached > self._reached.get(identity, 0):
            self._reached[identity], self._losses[identity] = reached, 0
        self._losses[identity] += 1
        return self._losses[identity]

    def _split(self, batch: Batch) -> None:
        if len(batch) > 1:
            self.tell("its runs are trained one by one")
            self._queue.extend((run,) for run in batch)

    def _beat_for_waiting(self) -> None:
        """Keep the heartbeats of attempts that wait for a place, so that no other driver begins their batches."""
        for attempt in self._running:
            if not attempt.begun():
                attempt.beat()

    def _say(self) -> None:
        """One line, and an entry of the log: how far the sweep is."""
        self._told = time.monotonic()
        elapsed, progress = self._told - self._began, sweep_progress(self.sweep)
        self.tell(f"{elapsed:4.0f} s  {progress}")
        if self.log is not None:
            self.log.add(progress, elapsed)


def split_rows(batch: Batch, parts: int) -> Iterator[Batch]:
    """Cut a batch into at most this number of parts, whose numbers of rows differ by one at most."""
    parts = min(parts, len(batch))
    cuts = [len(batch) * part // parts for part in range(parts + 1)]
    return (batch[first:end] for first, end in pairwise(cuts))


def drive(
    sweep: SweepLedger,
    executor: Executor,
    tell: Callable[[str], None],
    stop: Callable[[], bool],
    tensorboard: bool = False,
) -> bool:
    """Run what is missing in a ledger with the progress in its folder; whether nothing is left, see ``SweepDriver``."""
    with progress_log(sweep.folder, tensorboard) as log:
        return SweepDriver(sweep, executor, tell, log).run(stop)


def described(batch: Sequence[PlannedRun]) -> str:
    """A batch in words: its first run, and how many others."""
    first = f"{batch[0].cell}, seed {batch[0].seed}"
    return first if len(batch) == 1 else f"{first} and {len(batch) - 1} more"


def cells_of(sweep: SweepLedger) -> dict[str, list[PlannedRun]]:
    """The runs of every cell of the grid."""
    cells: dict[str, list[PlannedRun]] = {}
    for run in sweep.experiment.runs:
        cells.setdefault(run.cell, []).append(run)
    return cells


def sweep_record(sweep: SweepLedger, states: dict[str, RunState]) -> RunRecord:
    """The record of a sweep: the returns of every cell with their interval over seeds, and what has no result."""
    experiment = sweep.experiment
    varied = tuple(dict.fromkeys(name for run in experiment.runs for name in run.settings))
    rows: list[tuple[Cell, ...]] = []
    results: list[dict[str, Any]] = []
    for cell, runs in cells_of(sweep).items():
        records = [sweep.result(run.id) if states[run.id].state == "done" else None for run in runs]
        found = [record for record in records if record is not None]
        returns = np.array([record["results"]["mean_return"] for record in found], dtype=np.float64)
        first = runs[0]
        mean = None
        if len(found):
            limits = possible_returns(first.configuration["environment"], first.configuration["env_kwargs"])
            mean = mean_return(returns, limits)
        settings = tuple(_cell_of(first.settings.get(name)) for name in varied)
        cpu = float(sum(record["cost"]["cpu_seconds"] for record in found))
        rows.append(
            (in_words(first.agent), first.environment, *settings, len(found), len(runs) - len(found), mean, cpu)
        )
        results.append(
            {
                "cell": cell,
                "seeds": [run.seed for run in runs],
                "seed_returns": [None if record is None else record["results"]["mean_return"] for record in records],
                "return": mean,
                "diverged_seeds": [
                    record["configuration"]["seed"] for record in found if record["results"]["diverged"] is not None
                ],
            }
        )
    columns = ("agent", "environment", *varied, "runs", "without a result", "mean return", "CPU seconds")
    return RunRecord(
        kind="sweep",
        title=f"{experiment.name}: {experiment.question}",
        settings={"question": experiment.question, "hypothesis": experiment.hypothesis, "experiment": experiment.text},
        results={"runs": len(experiment.runs), **counts(states), "cells": results},
        tables=(ReportTable("cells", "Mean return over seeds", columns, tuple(rows)), *problem_tables(sweep, states)),
        notes=(f"Hypothesis, written before the runs: {experiment.hypothesis}",),
    )


def counts(states: dict[str, RunState]) -> dict[str, int]:
    """How many runs are in each state."""
    return {
        state: sum(each.state == state for each in states.values())
        for state in ("done", "running", "failed", "damaged", "missing")
    }


def problem_tables(sweep: SweepLedger, states: dict[str, RunState]) -> Iterator[ReportTable]:
    """A table of the runs that failed or are damaged, with the reason; none if there are none."""
    rows = tuple(
        (run.id, run.cell, run.seed, states[run.id].state, last_line(states[run.id].reason))
        for run in sweep.experiment.runs
        if states[run.id].state in ("failed", "damaged")
    )
    if rows:
        yield ReportTable("problems", "Runs without a result", ("run", "cell", "seed", "state", "reason"), rows)


def _cell_of(value: Any) -> Cell:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
