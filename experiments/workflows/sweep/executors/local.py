"""Attempts in worker processes of this machine."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from ...threads import one_thread_environment
from ..sweep_ledger import SweepAttempt
from .base import Ended, Executor

VISIBLE = "CUDA_VISIBLE_DEVICES"
WORKER = "rlkit.experiments.workflows.sweep.worker"


class LocalExecutor(Executor):
    """Worker processes of this machine, which are kept for the next attempt and replaced if they die.

    Use it in a ``with`` block, whose end stops the processes.

    Args:
        workers: processes at most.
        gpus: numbers of GPUs that this process sees, one worker for each, which sees no other; the rows of a batch are
            split between them. Empty: every worker sees what this process sees.

    Raises:
        ValueError: fewer than one process, a GPU twice, or one that is hidden from this process.
    """

    def __init__(self, workers: int, gpus: Sequence[int] = ()) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        if len(set(gpus)) < len(gpus):
            raise ValueError(f"gpus must be different, got {' '.join(map(str, gpus))}")
        self.workers = len(gpus) or workers
        self.parts = len(gpus) or 1
        self._free_gpus = _names(gpus)
        self._gpu_of: dict[subprocess.Popen[bytes], str] = {}
        self._idle: list[subprocess.Popen[bytes]] = []
        self._busy: dict[subprocess.Popen[bytes], SweepAttempt] = {}

    def free(self) -> int:
        """How many workers have nothing to do."""
        return self.workers - len(self._busy)

    def submit(self, attempt: SweepAttempt) -> None:
        """Give an attempt to an idle worker, or to a new one."""
        line = json.dumps(str(attempt.folder.absolute())).encode() + b"\n"
        while True:
            worker = self._idle.pop() if self._idle else self._new_worker()
            assert worker.stdin is not None
            try:
                worker.stdin.write(line)
                break
            except BrokenPipeError:  # it was killed while it had nothing to do
                self._end(worker)
        self._busy[worker] = attempt

    def wait(self, seconds: float) -> list[Ended]:
        """Wait at most ``seconds`` for answers of workers; a worker that has died is named."""
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
                ended.append(Ended(attempt, self._cause(worker)))
        return ended

    def stop(self) -> None:
        """Ask every worker to stop: a training saves a checkpoint. Wait until all have ended."""
        workers = [*self._idle, *self._busy]
        for worker in workers:
            worker.terminate()
        for worker in workers:
            self._end(worker)
        self._idle.clear()
        self._busy.clear()

    def _new_worker(self) -> subprocess.Popen[bytes]:
        gpu = self._free_gpus.pop(0) if self._free_gpus else None
        worker = subprocess.Popen(
            [sys.executable, "-m", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=one_thread_environment(**({} if gpu is None else {VISIBLE: gpu})),
            bufsize=0,
            start_new_session=True,  # so that Ctrl-C reaches the driver alone, which then stops its workers
        )
        if gpu is not None:
            self._gpu_of[worker] = gpu
        return worker

    def _cause(self, worker: subprocess.Popen[bytes]) -> str:
        """Why a worker has died."""
        code = self._end(worker)
        if code < 0:
            return f"worker {worker.pid} was killed by {signal.Signals(-code).name}"
        return f"worker {worker.pid} ended with exit code {code}"

    def _end(self, worker: subprocess.Popen[bytes]) -> int:
        """Wait for the end of a worker, and close its pipes; the exit code."""
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.close()
        code = worker.wait()
        worker.stdout.close()
        if worker in self._gpu_of:
            self._free_gpus.append(self._gpu_of.pop(worker))
        return code


def _names(gpus: Sequence[int]) -> list[str]:
    """Return CUDA's names of GPUs by their numbers, which count from 0 the GPUs that this process sees."""
    seen = os.environ.get(VISIBLE)
    if not gpus or seen is None:
        return [str(gpu) for gpu in gpus]
    names = seen.split(",")
    hidden = [gpu for gpu in gpus if not 0 <= gpu < len(names)]
    if hidden:
        raise ValueError(f"GPU {hidden[0]} is not among the {len(names)} of {VISIBLE}={seen}")
    return [names[gpu] for gpu in gpus]
