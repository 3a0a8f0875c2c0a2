"""Attempts in worker processes of this machine."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time

from ...threads import one_thread_environment
from ..sweep_ledger import SweepAttempt
from .base import Ended, Executor

WORKER = "rlkit.experiments.workflows.sweep.worker"


class LocalExecutor(Executor):
    """Worker processes of this machine, which are kept for the next attempt and replaced if they die.

    Use it in a ``with`` block, whose end stops the processes.

    Args:
        workers: processes at most.

    Raises:
        ValueError: fewer than one process.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self.workers = workers
        self._idle: list[subprocess.Popen[bytes]] = []
        self._busy: dict[subprocess.Popen[bytes], SweepAttempt] = {}

    def free(self) -> int:
        """How many workers have nothing to do."""
        return self.workers - len(self._busy)

    def submit(self, attempt: SweepAttempt) -> None:
        """Give an attempt to an idle worker, or to a new one."""
        line = json.dumps(str(attempt.folder.absolute())).encode() + b"\n"
        while True:
            worker = self._idle.pop() if self._idle else _new_worker()
            assert worker.stdin is not None
            try:
                worker.stdin.write(line)
                break
            except BrokenPipeError:  # it was killed while it had nothing to do
                _end(worker)
        self._busy[worker] = attempt

    def wait(self, seconds: float) -> list[Ended]:
        """Wait for answers of workers, for at most so many seconds; a worker that has died is named."""
        if not self._busy:
            time.sleep(seconds)
            return []
        with selectors.DefaultSelector() as selector:
            for worker in self._busy:
                assert worker.stdout is not None
                selector.register(worker.stdout, selectors.EVENT_READ, worker)
            ready = [key.data for key, _ in selector.select(seconds)]
        ended = []
        for worker in ready:
            attempt = self._busy.pop(worker)
            if os.read(worker.stdout.fileno(), 4096):
                self._idle.append(worker)
                ended.append(Ended(attempt))
            else:
                ended.append(Ended(attempt, _cause(worker)))
        return ended

    def stop(self) -> None:
        """Ask every worker to stop: a training saves a checkpoint. Wait until all have ended."""
        workers = [*self._idle, *self._busy]
        for worker in workers:
            worker.terminate()
        for worker in workers:
            _end(worker)
        self._idle.clear()
        self._busy.clear()


def _new_worker() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=one_thread_environment(),
        bufsize=0,
        start_new_session=True,  # so that Ctrl-C reaches the driver alone, which then stops its workers
    )


def _cause(worker: subprocess.Popen[bytes]) -> str:
    """Why a worker has died."""
    code = _end(worker)
    if code < 0:
        return f"worker {worker.pid} was killed by {signal.Signals(-code).name}"
    return f"worker {worker.pid} ended with exit code {code}"


def _end(worker: subprocess.Popen[bytes]) -> int:
    """Wait for the end of a worker, and close its pipes; the exit code."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.close()
    code = worker.wait()
    worker.stdout.close()
    return code
