"""Stable-baselines3's trainings of the demo, one after another in a process beside rlkit's."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from ..report.terminal import Bars
from ..workflows.compare import SB3Job, SB3Process, SB3Result


class SB3Queue:
    """Jobs of stable-baselines3, of which one runs at a time: two cores, one for each library.

    ``advance`` begins the next job where none runs, so call it between pieces of other work. Leaving the ``with`` block
    ends the job that runs.

    Args:
        bars: where progress is shown.
        resume: whether finished seeds are kept.
    """

    def __init__(self, bars: Bars, resume: bool) -> None:
        self._bars, self._resume, self._stack = bars, resume, ExitStack()
        self._waiting: list[tuple[str, SB3Job, Path]] = []
        self._begun: dict[str, SB3Process] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, name: str, job: SB3Job, folder: Path) -> None:
        """Put a job at the end; its models are written to ``folder``."""
        self._waiting.append((name, job, folder))
        self.advance()

    def advance(self) -> None:
        """Begin the next job, if there is one and none runs, and show how far all are."""
        if not any(process.running for process in self._begun.values()):
            self._begin()
        self._bars.refresh()

    def _begin(self) -> None:
        """Begin the next job, if there is one."""
        if self._waiting:
            name, job, folder = self._waiting.pop(0)
            process = self._stack.enter_context(SB3Process(job, folder, self._resume))
            total = job.steps * len(job.seeds)
            self._bars.follow(f"stable-baselines3 {job.algorithm}, {job.env}", lambda: process.timesteps, total)
            self._begun[name] = process

    def results(self) -> dict[str, tuple[SB3Result, ...]]:
        """Wait for the end of every job, and read what its seeds left, by name.

        The caller's core is free meanwhile, so another job begins on it.

        Raises:
            SB3Failed: a job failed.
        """
        self._begin()
        while self._waiting or any(process.running for process in self._begun.values()):
            self.advance()
            for process in self._begun.values():
                process.wait(0.5)
        return {name: process.results() for name, process in self._begun.items()}
