"""SIGINT and SIGTERM: a command saves what it has and leaves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
Handler = Callable[[int, FrameType | None], None]


class Stopped(KeyboardInterrupt):
    """A signal stopped a command.

    Args:
        number: of the signal.
        message: how far the command was.
    """

    def __init__(self, number: int, message: str = "interrupted") -> None:
        super().__init__(message)
        self.number, self.message = number, message
        self.kept = False  # whether the command can go on where it was stopped

    @property
    def code(self) -> int:
        """The exit code: 130 of SIGINT, 143 of SIGTERM."""
        return 128 + self.number


class StopRequest:
    """Whether a signal has asked to stop, and which."""

    def __init__(self) -> None:
        self.number: int | None = None

    def __call__(self) -> bool:
        """Whether one has."""
        return self.number is not None

    def stopped(self, message: str) -> Stopped:
        """The exception of the signal that asked."""
        return Stopped(signal.SIGINT if self.number is None else self.number, message)


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """Raise ``Stopped`` at the first SIGINT or SIGTERM, as soon as Python runs.

    Outside the main thread, where Python delivers no signals, nothing is changed.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    with _handled(leave):
        yield


@contextmanager
def interruptible() -> Iterator[StopRequest]:
    """Yield a function that returns True after the first SIGINT or SIGTERM; the second one raises ``Stopped``.

    Outside the main thread, where Python delivers no signals, the function always returns False.
    """
    asked = StopRequest()

    def ask(number: int, frame: FrameType | None) -> None:
        if asked():
            raise Stopped(number)
        asked.number = number

    with _handled(ask):
        yield asked


@contextmanager
def _handled(handler: Handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handled in before.items():
            signal.signal(number, signal.SIG_DFL if handled is None else handled)  # None: not set from Python
