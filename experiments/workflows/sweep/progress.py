"""How far a sweep is, as its ledger tells everyone: runs done, steps per second, return so far, time left."""

from __future__ import annotations

import json
import math
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..train import write_events
from .sweep_ledger import AttemptProgress, RunState, SweepLedger

FOLDER = "progress"  # of the lines, a file for each driver
TENSORBOARD = "tensorboard"
WINDOW_SECONDS = 60.0  # in which runs were finished that tell the speed where no running batch does


class SweepProgress(NamedTuple):
    """How far a sweep is at one moment."""

    runs: int
    done: int  # runs with a result
    batches: int  # that run
    steps_per_second: float  # environment steps of all runs together; 0 if unknown
    mean_return: float | None  # latest training return, mean over the runs that train; None before an episode ended
    seconds_left: float | None  # at this speed; None if unknown

    def __str__(self) -> str:
        words = [f"{self.done} of {self.runs} runs done"]
        if self.batches:
            words.append(f"{self.batches} {'batch' if self.batches == 1 else 'batches'} running")
        if self.steps_per_second:
            words.append(f"{self.steps_per_second:,.0f} steps/s")
        if self.mean_return is not None:
            words.append(f"mean training return {self.mean_return:.4g}")
        if self.seconds_left is not None and self.done < self.runs:
            words.append(f"about {self.seconds_left:,.0f} s left")
        return "; ".join(words)


def sweep_progress(sweep: SweepLedger) -> SweepProgress:
    """Look at the ledger of a sweep that runs anywhere.

    The speed is that of the batches that run, else that of the runs that were finished in the last minute, or since a
    younger sweep began.
    """
    now = time.time()
    done, lately, left = 0, 0, 0  # runs, steps, steps
    running: list[AttemptProgress] = []
    reached: dict[str, int] = {}  # run -> steps done in a batch that runs
    for attempt, job in sweep.running():
        running.append(progress := attempt.progress() or AttemptProgress())
        for run in job["runs"]:
            reached[run] = max(reached.get(run, 0), progress.steps)
    for run in sweep.experiment.runs:
        finished, steps = sweep.done_at(run.id), int(run.configuration["steps"])
        if finished is None:
            left += max(steps - reached.get(run.id, 0), 0)
            continue
        done += 1
        if now - finished < WINDOW_SECONDS:
            lately += steps
    window = min(max(now - sweep.begun_at(), 1.0), WINDOW_SECONDS)
    rate = math.fsum(each.rate for each in running) or lately / window
    known = [(each.mean_return, each.rows) for each in running if each.mean_return is not None]
    score = math.fsum(value * rows for value, rows in known) / sum(rows for _, rows in known) if known else None
    return SweepProgress(len(sweep.experiment.runs), done, len(running), rate, score, left / rate if rate else None)


class _Scalars(Protocol):
    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None: ...


class ProgressLog:
    """The progress of one driver: a JSON object a line in a separate file, and scalars for TensorBoard.

    Args:
        file: takes a line for each entry.
        scalars: a writer of TensorBoard; None for none.
    """

    def __init__(self, file: Path, scalars: _Scalars | None = None) -> None:
        self.file, self.scalars = file, scalars

    def add(self, progress: SweepProgress, elapsed: float) -> None:
        """Add an entry: the progress, and the seconds since the driver began."""
        entry: dict[str, Any] = {"time": time.time(), "elapsed": elapsed, **progress._asdict()}
        with self.file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(entry) + "\n")
        if self.scalars is not None:
            for name, value in progress._asdict().items():
                if value is not None:
                    self.scalars.add_scalar(f"progress/{name}", float(value), int(elapsed))


@contextmanager
def progress_log(folder: Path, tensorboard: bool = False) -> Iterator[ProgressLog]:
    """The log of a new driver in the folder of a sweep."""
    name = f"driver-{uuid.uuid4().hex[:12]}"
    (folder / FOLDER).mkdir(exist_ok=True)
    file = folder / FOLDER / f"{name}.jsonl"
    if not tensorboard:
        yield ProgressLog(file)
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / TENSORBOARD / name)) as writer:
        yield ProgressLog(file, writer)


def write_run_events(sweep: SweepLedger, states: dict[str, RunState]) -> None:
    """Write the training log of every run that is done for TensorBoard, in a folder for each cell and seed."""
    numbers = {cell: number for number, cell in enumerate(dict.fromkeys(run.cell for run in sweep.experiment.runs))}
    for run in sweep.experiment.runs:
        result = sweep.result(run.id) if states[run.id].state == "done" else None
        if result is not None:
            name = f"{numbers[run.cell]:03}-{re.sub(r'[^A-Za-z0-9._=+-]+', '-', run.cell)[:120]}"
            log = result["results"]["log"].items()
            history = {key: np.array(values, dtype=np.float64)[:, None] for key, values in log}
            write_events(sweep.folder / TENSORBOARD / name, [run.seed], history)
