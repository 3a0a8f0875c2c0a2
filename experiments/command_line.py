"""The command that runs in this process: its arguments, as its record keeps them, and what runs another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

WITH_PLACE = ("--out",)  # options with one value that say where results go
WITHOUT_VALUE = ("--overwrite", "--resume", "--json", "--quiet", "--plain")  # options that change no number

Run = Callable[[Sequence[str]], int]  # runs the command with these arguments; its exit code


class RunningCommand(NamedTuple):
    """A command that runs, and the command line that runs it."""

    arguments: tuple[str, ...]
    run: Run


_running: list[RunningCommand] = []


def arguments() -> tuple[str, ...]:
    """Return the arguments of the running command without those that say where its results go; empty outside one."""
    return _running[-1].arguments if _running else ()


def run(given: Sequence[str]) -> int:
    """Run another command on the command line of the running one; its exit code.

    Raises:
        RuntimeError: no command runs in this process.
    """
    if not _running:
        raise RuntimeError(f"no command runs that could run {given[0]!r}: call main of rlkit.experiments.cli")
    return _running[-1].run(given)


@contextmanager
def running(given: Sequence[str], run: Run) -> Iterator[None]:
    """Within the context a command with these arguments runs.

    Args:
        given: all arguments, the command's name first.
        run: the command line, which runs other commands.
    """
    _running.append(RunningCommand(kept(given), run))
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
