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
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LATER = 0.05  # seconds until a signal that met the import of torch is handled again
ENDED_BY_SIGNAL = 128  # exit code of a process that a signal ended, less the signal's number


class FinishedRun(Exception):
    """A run that is asked to continue and is finished already, with the settings that it is asked for.

    Args:
        folder: folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} holds the finished run: nothing is left to do")
        self.folder = folder


class Stopped(KeyboardInterrupt):
    """A signal stopped a command.

    Args:
        number: number of the signal.
        message: progress of the command.
    """

    def __init__(self, number: int, message: str = "interrupted") -> None:
        super().__init__(message)
        self.number, self.message = number, message
        self.kept = False  # whether the command can go on where it was stopped

    @property
    def code(self) -> int:
        """The exit code: 130 for SIGINT, 143 for SIGTERM."""
        return ENDED_BY_SIGNAL + self.number


class StopRequest:
    """Whether a signal has asked to stop, and which.

    The first signal raises ``Stopped`` in the main thread, the second ends the process without any cleaning up.
    """

    def __init__(self) -> None:
        self.number: int | None = None  # of the signal that came
        self._held = False
        self._postponed = False  # whether the signal that comes next is the first one again

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self.number is not None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal.

        One that meets the import of torch is handled after it: an exception that crosses the initialization of its
        extension module aborts the process.
        """
        if self.number is not None and not self._postponed:
            os._exit(ENDED_BY_SIGNAL + number)
        self.number, self._postponed = number, False
        if self._held:
            return
        if hasattr(signal, "pthread_kill") and _imports_torch(frame):
            later = threading.Timer(LATER, self._send_again)
            later.daemon = True
            later.start()
            return
        raise Stopped(number)

    def _send_again(self) -> None:
        assert self.number is not None
        self._postponed = True
        signal.pthread_kill(threading.main_thread().ident or 0, self.number)  # ends a call that sleeps, too

    def stopped(self, message: str = "interrupted") -> Stopped:
        """The exception of the signal that came."""
        return Stopped(signal.SIGINT if self.number is None else self.number, message)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within the context the first signal raises nothing: the code asks this object itself."""
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before


@contextmanager
def interruptible() -> Iterator[StopRequest]:
    """Yield a function that returns True after the first SIGINT or SIGTERM, which raises nothing within the context."""
    with stop_signals() as request, request.held():
        yield request


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Handle both signals within the context; nested contexts share one request.

    Signals that the process was started to ignore, as by ``nohup``, stay ignored. Outside the main thread, where Python
    delivers none, nothing is ever asked.
    """
    request = _installed()
    if request is not None or threading.current_thread() is not threading.main_thread():
        yield request or StopRequest()
        return
    request = StopRequest()
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, request.handle)
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _imports_torch(frame: FrameType | None) -> bool:
    """Whether torch is being imported in this frame or one that called it."""
    while frame is not None:
        if frame.f_code.co_name == "<module>" and str(frame.f_globals.get("__name__")).split(".")[0] == "torch":
            return True
        frame = frame.f_back
    return False


def _installed() -> StopRequest | None:
    """The request of an outer context."""
    owners = [getattr(signal.getsignal(number), "__self__", None) for number in SIGNALS]
    return next((owner for owner in owners if isinstance(owner, StopRequest)), None)
