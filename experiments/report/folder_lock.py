"""The lock of a folder with one writer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = "LOCK"  # the locked file


@contextmanager
def only_writer(folder: str | Path) -> Iterator[None]:
    """Hold the lock of a folder; the operating system releases it when the process ends, however it ends.

    Raises:
        RuntimeError: another process holds it.
    """
    lock = FileLock(Path(folder) / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise RuntimeError(
            f"{folder} is being written by another process: wait for it, or choose another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()
