"""What training reports, kept on the device and read once per logging interval."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Means:
    """Running means of named per-seed numbers ``[S]``."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, **values: Tensor) -> None:
        """Add one value ``[S]`` under each name."""
        for name, value in values.items():
            if name in self._sums:
                self._sums[name] = self._sums[name] + value
                self._counts[name] += 1
            else:
                self._sums[name], self._counts[name] = value, 1

    def read(self) -> dict[str, np.ndarray]:
        """The mean of each name since the last reading, ``[S]``, and start afresh."""
        means = {name: (total / self._counts[name]).cpu().numpy() for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means


class EpisodeReturns:
    """Mean undiscounted return of the episodes that finished since the last reading, per seed."""

    def __init__(self, num_seeds: int, num_envs: int, device: torch.device) -> None:
        self._running = torch.zeros(num_seeds, num_envs, device=device)
        self._sum = torch.zeros(num_seeds, device=device)
        self._count = torch.zeros(num_seeds, dtype=torch.int64, device=device)

    def add(self, reward: Tensor, done: Tensor) -> None:
        """One step of every copy: reward and done ``[S, B]``."""
        self._running += reward
        self._sum += torch.where(done, self._running, 0.0).sum(dim=1)
        self._count += done.sum(dim=1)
        self._running.masked_fill_(done, 0.0)

    def read(self) -> dict[str, np.ndarray]:
        """``episode_return [S]`` (NaN where none finished) and ``episodes [S]``; start afresh."""
        count = self._count.cpu().numpy().copy()  # zeroed below
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = self._sum.cpu().numpy() / count
        self._sum.zero_()
        self._count.zero_()
        return {"episode_return": mean, "episodes": count}

    def state_dict(self) -> dict[str, Tensor]:
        """Running and finished returns, for a checkpoint."""
        return {"running": self._running, "sum": self._sum, "count": self._count}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from saved returns."""
        self._running.copy_(state["running"])
        self._sum.copy_(state["sum"])
        self._count.copy_(state["count"])
