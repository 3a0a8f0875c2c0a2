"""Attempts as jobs of SLURM, which submitit puts into its queue."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlkit.optional_packages import require

from ..sweep_ledger import SweepAttempt
from .base import Ended, Executor

LOOK_SECONDS = 1.0  # between two looks at the ledger
STOP_SECONDS = 120.0  # that attempts have to stop in order before their jobs are canceled


class SlurmExecutor(Executor):
    """Jobs of SLURM: submitit carries the folder of an attempt there and its name back.

    Use it in a ``with`` block, whose end stops the jobs.

    Args:
        folder: for the scripts and the output of the jobs; all machines see it.
        workers: jobs in the queue at most.
        options: options of the jobs as submitit names them, such as ``slurm_partition``, ``timeout_min``,
            ``cpus_per_task`` and ``gpus_per_node``.
        cluster: ``"slurm"``, or ``"local"`` for processes of this machine.

    Raises:
        ModuleNotFoundError: submitit is not installed.
        ValueError: fewer than one job, no SLURM here, or an option that submitit does not know.
    """

    def __init__(
        self, folder: Path, workers: int, options: Mapping[str, Any] | None = None, cluster: str = "slurm"
    ) -> None:
        require("submitit", "submitit", "slurm")
        import submitit

        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self.workers = workers
        self._jobs: dict[SweepAttempt, Any] = {}
        try:
            self._executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
            self._executor.update_parameters(**{"name": "rlkit", "timeout_min": 24 * 60, **dict(options or {})})
        except (RuntimeError, NameError, TypeError) as error:
            raise ValueError(f"no job of {cluster} can be made: {' '.join(str(error).split())}") from error

    def free(self) -> int:
        """How many jobs can be submitted now."""
        return self.workers - len(self._jobs)

    def submit(self, attempt: SweepAttempt) -> None:
        """Put a job for an attempt into the queue."""
        from ..worker import attempt_in

        self._jobs[attempt] = self._executor.submit(attempt_in, str(attempt.folder.absolute()))

    def wait(self, seconds: float) -> list[Ended]:
        """Wait at most ``seconds`` until a job has ended; the ledger reports it sooner than SLURM."""
        until = time.monotonic() + seconds
        while not (ended := self._ended()) and time.monotonic() < until:
            time.sleep(min(LOOK_SECONDS, seconds))
        return ended

    def stop(self) -> None:
        """Ask every attempt to stop, and wait; jobs that wait in the queue or do not stop are canceled."""
        for attempt in self._jobs:
            attempt.ask_to_stop()
        until = time.monotonic() + STOP_SECONDS
        begun = [attempt for attempt in self._jobs if attempt.begun()]
        while any(attempt.progress() is not None for attempt in begun) and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
        for job in self._jobs.values():
            job.cancel(check=False)
        self._jobs.clear()

    def _ended(self) -> list[Ended]:
        ended = []
        for attempt, job in list(self._jobs.items()):
            done = job.done()  # asked before the ledger: a job that ends in between has written its end
            if attempt.end() is not None:
                ended.append(Ended(attempt))
            elif done:
                ended.append(Ended(attempt, f"its job {job.job_id} ended in the state {job.state}"))
            else:
                continue
            del self._jobs[attempt]
        return ended
