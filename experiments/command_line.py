"""The arguments of the command that runs in this process, as its record keeps them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

WITH_PLACE = ("--out",)  # options with one value that say where results go
WITHOUT_VALUE = ("--overwrite", "--resume", "--json", "--quiet", "--plain")  # options that change no number

_running: list[tuple[str, ...]] = []


def arguments() -> tuple[str, ...]:
    """Return the arguments of the running command without those that say where its results go; empty outside one."""
    return _running[-1] if _running else ()


@contextmanager
def running(given: Sequence[str]) -> Iterator[None]:
    """Within the context these are the arguments of the running command."""
    _running.append(kept(given))
    try:
        yield
    finally:
        _running.pop()


def kept(given: Sequence[str]) -> tuple[str, ...]:
    """Return arguments without those that say where results go, and without those that change no number."""
    words: list[str] = []
    left = iter(given)
    for word in left:
        if word in WITH_PLACE:
            next(left, None)
        elif word not in WITHOUT_VALUE and word.partition("=")[0] not in WITH_PLACE:
            words.append(word)
    return tuple(words)
