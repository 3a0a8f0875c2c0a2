"""The progress bar of ``learn``: environment steps per second, recent return, time left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np


class Watched(Protocol):
    """What the bar reads of an agent."""

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


def progress(agent: Watched, steps: Iterator[int], total_timesteps: int) -> Iterator[int]:
    """Pass ``steps`` (timesteps done) through while drawing a bar on the terminal."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
        TextColumn("{task.fields[speed]}"),
        TextColumn("{task.fields[score]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as bar:
        before = agent.num_timesteps
        name = f"{type(agent).__name__}, {agent.num_seeds} seed{'s' if agent.num_seeds > 1 else ''}"
        task = bar.add_task(name, total=total_timesteps, speed="", score="")
        for done in steps:
            elapsed = max(bar.tasks[0].elapsed or 0.0, 1e-9)
            speed = (done - before) * agent.num_seeds / elapsed
            returns = agent.history["episode_return"][-1]  # [S]
            if not np.isnan(returns).all():  # else no episode finished since, and the last known return stays
                bar.update(task, score=f"return {np.nanmean(returns, axis=0):.1f}")
            bar.update(task, completed=done - before, speed=f"{speed:,.0f} env steps/s")
            yield done
