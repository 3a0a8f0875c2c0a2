"""The interface between the driver of a sweep and its executor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import NamedTuple, Self

from ..sweep_ledger import SweepAttempt


class Ended(NamedTuple):
    """An attempt that an executor does not run any more."""

    attempt: SweepAttempt
    lost: str = ""  # why its process ended before it; empty if the attempt itself ended


class Executor(ABC):
    """Runs attempts at the same time, each in a separate process.

    Use it in a ``with`` block, whose end stops what still runs.
    """

    parts = 1  # into which the driver cuts the rows of a batch

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    @abstractmethod
    def free(self) -> int:
        """How many attempts can be submitted now: the driver submits no more."""

    @abstractmethod
    def submit(self, attempt: SweepAttempt) -> None:
        """Begin an attempt."""

    @abstractmethod
    def wait(self, seconds: float) -> list[Ended]:
        """Wait at most ``seconds`` until an attempt has ended; return those that have ended, each once."""

    @abstractmethod
    def stop(self) -> None:
        """Ask every attempt to stop in order, and wait until all have ended."""
