"""Attempts as tasks of Ray, on as many machines as its cluster has and one file system."""

from __future__ import annotations

import logging
import os
import time
from types import TracebackType
from typing import Any, Self

from rlkit.optional_packages import require

from ..sweep_ledger import SweepAttempt
from .base import Ended, Executor

STOP_SECONDS = 60.0  # that attempts have to stop in order before they are killed


class RayExecutor(Executor):
    """Tasks of a Ray cluster: Ray carries the folder of an attempt there and its name back, and retries nothing.

    A task whose machine seems lost may still run and commit. The link in the ledger then decides whose result counts.
    Use it in a ``with`` block, which connects to the cluster and leaves it.

    Args:
        workers: tasks in flight at most; None for as many as the cluster has room for when this object begins.
        cpus: CPUs of each task.
        gpus: GPUs of each task; a part of one lets tasks share it.
        address: address of the cluster, as ``ray.init`` takes it; None for the one of the environment, else a new one
            on this machine.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        ValueError: fewer than one task, no CPUs, or a negative number of GPUs; at the beginning, a cluster without
            room for a task.
    """

    def __init__(
        self, workers: int | None = None, cpus: float = 1.0, gpus: float = 0.0, address: str | None = None
    ) -> None:
        require("ray", "Ray", "ray")
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        if not cpus > 0.0 or not gpus >= 0.0:
            raise ValueError(f"a task needs CPUs above 0 and GPUs of at least 0, got {cpus} and {gpus}")
        self.workers, self.cpus, self.gpus, self.address = workers, cpus, gpus, address
        self._tasks: dict[Any, SweepAttempt] = {}  # reference of the task -> its attempt
        self._room = 0
        self._connected_here = False
        self._task: Any = None

    def __enter__(self) -> Self:
        ray = _ray()
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if not ray.is_initialized():
            joins = self.address or os.environ.get("RAY_ADDRESS")
            new = {} if joins else {"include_dashboard": False}
            ray.init(address=self.address, log_to_driver=False, logging_level=logging.WARNING, **new)
            self._connected_here = True
        self._task = ray.remote(max_retries=0, num_cpus=self.cpus, num_gpus=self.gpus)(_attempt_in)
        self._room = self.workers or self._places()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ray = _ray()
        super().__exit__(kind, error, trace)
        if self._connected_here:
            ray.shutdown()

    def free(self) -> int:
        """How many tasks can be submitted now."""
        return self._room - len(self._tasks)

    def submit(self, attempt: SweepAttempt) -> None:
        """Give the folder of an attempt to Ray."""
        self._tasks[self._task.remote(str(attempt.folder.absolute()))] = attempt

    def wait(self, seconds: float) -> list[Ended]:
        """Wait at most ``seconds`` until tasks have ended; a task that Ray lost is named with its reason."""
        ray = _ray()
        if not self._tasks:
            time.sleep(seconds)
            return []
        first, _ = ray.wait(list(self._tasks), num_returns=1, timeout=seconds)
        ready, _ = ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=0) if first else ([], [])
        return [self._ended(reference) for reference in ready]

    def stop(self) -> None:
        """Ask every attempt to stop, and wait; what still runs after a minute is killed."""
        ray = _ray()
        for attempt in self._tasks.values():
            attempt.ask_to_stop()
        if self._tasks:
            _, left = ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=STOP_SECONDS)
            for reference in left:
                ray.cancel(reference, force=True)
        self._tasks.clear()

    def _ended(self, reference: Any) -> Ended:
        ray = _ray()
        attempt = self._tasks.pop(reference)
        try:
            ray.get(reference)
        except ray.exceptions.RayError as error:
            reason = " ".join(str(error).split())[:200]
            return Ended(attempt, f"its task was lost by Ray ({type(error).__name__}: {reason})")
        return Ended(attempt)

    def _places(self) -> int:
        """How many tasks the nodes of the cluster have room for."""
        ray = _ray()
        wanted = {"CPU": self.cpus, "GPU": self.gpus}
        needs = {name: number for name, number in wanted.items() if number}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        room = sum(min(int(node.get(name, 0.0) / number) for name, number in needs.items()) for node in nodes)
        if room < 1:
            raise ValueError(f"no node of the Ray cluster has {needs} for a task: take fewer CPUs or GPUs per task")
        return room


def _ray() -> Any:
    """The library, which is imported where it is used."""
    import ray

    return ray


def _attempt_in(folder: str) -> str:
    """The task: run an attempt, and return its name."""
    from ..worker import attempt_in

    return attempt_in(folder)
