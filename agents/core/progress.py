"""Progress of a training: a bar on a terminal, a plain line every 15 seconds in a pipe or a file."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from time import monotonic
from typing import NamedTuple, Protocol

import numpy as np

SECONDS_BETWEEN_LINES = 15.0


class Watched(Protocol):
    """The attributes of an agent that the progress display reads."""

    @property
    def num_timesteps(self) -> int:
        """Environment steps per seed so far."""
        ...

    @property
    def num_seeds(self) -> int:
        """S."""
        ...

    @property
    def history(self) -> dict[str, np.ndarray]:
        """The log so far, ``[rows, S]`` each."""
        ...


def progress(
    agent: Watched, steps: Iterator[int], total_timesteps: int, clock: Callable[[], float] = monotonic
) -> Iterator[int]:
    """Yield what ``steps`` yields, and show the progress of the training.

    On a terminal and in a notebook a bar is drawn. Elsewhere a line is printed at the first yield after every 15
    seconds, and at the end. Both show the steps done, the environment steps per second over all seeds, the mean
    training return, and the elapsed and remaining time.

    Args:
        agent: the agent that is trained.
        steps: ``agent.training(total_timesteps)``.
        total_timesteps: the steps per seed that ``steps`` takes.
        clock: returns seconds since an arbitrary origin.

    Yields:
        the timesteps of ``agent`` per seed so far.
    """
    name = f"{type(agent).__name__}, {agent.num_seeds} seed{'s' if agent.num_seeds > 1 else ''}"
    show = _bar if sys.stdout.isatty() or "ipykernel" in sys.modules else _lines
    return show(name, _measure(agent, steps, clock), total_timesteps, clock)


class TrainingProgress(NamedTuple):
    """Progress at one yield of a training."""

    timesteps: int  # of the agent, including earlier calls of ``learn``
    done: int  # of this call
    elapsed: float  # seconds
    speed: str
    mean_return: str  # over seeds, of the latest log row in which an episode ended; empty before the first


def _measure(agent: Watched, steps: Iterator[int], clock: Callable[[], float]) -> Iterator[TrainingProgress]:
    before, began, mean_return = agent.num_timesteps, clock(), ""
    for timesteps in steps:
        done, elapsed = timesteps - before, clock() - began
        returns = agent.history["episode_return"][-1]  # [S]
        if not np.isnan(returns).all():
            mean_return = f"return {np.nanmean(returns, axis=0):.1f}"
        speed = f"{done * agent.num_seeds / max(elapsed, 1e-9):,.0f} steps/s"
        yield TrainingProgress(timesteps, done, elapsed, speed, mean_return)


def _lines(name: str, measured: Iterator[TrainingProgress], total: int, clock: Callable[[], float]) -> Iterator[int]:
    """Print a line every ``SECONDS_BETWEEN_LINES``, and a last one at the end."""
    printed = 0.0  # seconds after the start
    for now in measured:
        if now.done >= total or now.elapsed - printed >= SECONDS_BETWEEN_LINES:
            printed = now.elapsed
            remaining = now.elapsed * max(total / now.done - 1.0, 0.0)
            times = f"elapsed {_duration(now.elapsed)}", f"remaining {_duration(remaining)}"
            parts = f"{now.done:,}/{total:,} steps ({100 * now.done // total}%)", now.speed, now.mean_return, *times
            print(f"{name}: {', '.join(filter(None, parts))}", flush=True)  # noqa: T201
        yield now.timesteps


def _duration(seconds: float) -> str:
    """Format seconds, rounded up, as hours, minutes and seconds: ``0:01:05``."""
    return str(timedelta(seconds=math.ceil(seconds)))


def _bar(name: str, measured: Iterator[TrainingProgress], total: int, clock: Callable[[], float]) -> Iterator[int]:
    """Draw a progress bar, updated in place."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.table import Column

    def whole() -> Column:
        """Return a column that keeps its width on a narrow terminal; the bar shrinks instead."""
        return Column(no_wrap=True, min_width=7)

    columns = (
        TextColumn("{task.description}", table_column=whole()),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps", table_column=whole()),
        TextColumn("{task.fields[speed]}"),
        TextColumn("{task.fields[mean_return]}"),
        TextColumn("elapsed", table_column=whole()),
        TimeElapsedColumn(table_column=whole()),
        TextColumn("remaining", table_column=whole()),
        TimeRemainingColumn(table_column=whole()),
    )
    with Progress(*columns, get_time=clock) as bar:
        task = bar.add_task(name, total=total, speed="", mean_return="")
        for now in measured:
            bar.update(task, completed=now.done, speed=now.speed, mean_return=now.mean_return)
            yield now.timesteps
