"""SIGINT and SIGTERM: the first asks a command to stop in order, the second ends the process at once.

Python runs a handler between two operations of its interpreter: never inside a compiled call.
``rlkit.planning.kernels.work`` bounds how long such a call takes.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SIGNALLED = 128  # exit code of a process that a signal ended, less the signal's number


class Stopped(KeyboardInterrupt):
    """A signal asked the process to stop; ``number`` says which."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class StopRequest:
    """The handler of both signals, and what it has been asked.

    The first signal raises ``Stopped`` in the main thread, the second ends the process without any cleaning up.
    """

    def __init__(self) -> None:
        self.number: int | None = None  # of the signal that came
        self._held = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.number is not None:
            os._exit(SIGNALLED + number)
        self.number = number
        if not self._held:
            raise Stopped(number)

    def asked(self) -> bool:
        """Whether a signal has come."""
        return self.number is not None

    @property
    def code(self) -> int:
        """The exit code of a command that was stopped: 130 for SIGINT, 143 for SIGTERM."""
        return SIGNALLED + (signal.SIGINT if self.number is None else self.number)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within the context the first signal raises nothing: the code looks at ``asked()`` itself."""
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Handle both signals within the context; nested contexts share one request.

    Signals that the process was started to ignore, as by ``nohup``, stay ignored. Outside the main thread, where Python
    delivers none, nothing is ever asked.
    """
    installed = signal.getsignal(signal.SIGINT)
    request = installed if isinstance(installed, StopRequest) else StopRequest()
    if request is installed or threading.current_thread() is not threading.main_thread():
        yield request
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, request)
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
