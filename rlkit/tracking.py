"""Training statistics, kept on the device and read once per logging interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rlkit.checkpoint import part
from rlkit.types import Transition

FOLD = 256  # values or steps kept before they are summed: one operation for many is cheaper than one for each


class Means:
    """Running means of named per-seed numbers ``[S]``."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = {}
        self._counts: dict[str, int] = {}

    def add(self, **values: Tensor) -> None:
        """Add one value ``[S]`` under each name."""
        for name, value in values.items():
            self._add(name, [value], 1)

    def extend(self, **values: Tensor) -> None:
        """Add n values ``[S, n]`` under each name."""
        for name, several in values.items():
            self._add(name, [several.sum(dim=1)], several.shape[1])

    def extend_repeatedly(self, **values: Tensor) -> None:
        """Add n values K times, ``[K, S, n]`` under each name: as K calls of ``extend``."""
        for name, several in values.items():
            self._add(name, several.sum(dim=2).unbind(), several.shape[2])

    def _add(self, name: str, totals: Sequence[Tensor], count: int) -> None:
        """Add sums ``[S]`` of ``count`` values each."""
        kept = self._values.setdefault(name, [])
        self._counts[name] = self._counts.get(name, 0) + count * len(totals)
        for total in totals:
            kept.append(total)
            if len(kept) == FOLD:
                kept[:] = [torch.stack(kept, dim=1).sum(dim=1)]

    def fold(self) -> None:
        """Keep the sum of each name alone, so that what is kept does not grow."""
        for name, kept in self._values.items():
            if len(kept) > 1:
                self._values[name] = [torch.stack(kept, dim=1).sum(dim=1)]

    def read(self) -> dict[str, np.ndarray]:
        """Return the mean of each name since the last reading, ``[S]``, and reset."""
        self.fold()
        means = {name: (kept[0] / self._counts[name]).cpu().numpy() for name, kept in self._values.items() if kept}
        self._values, self._counts = {name: [] for name in self._values}, dict.fromkeys(self._counts, 0)
        return means

    def state_dict(self) -> dict[str, Tensor]:
        """The values of each name ``[S, n]`` that are not read yet, and their counts, for a checkpoint."""
        values = {f"values/{name}": torch.stack(kept, dim=1) for name, kept in self._values.items() if kept}
        return values | {f"counts/{name}": torch.tensor(count) for name, count in self._counts.items() if count}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from saved values: they are summed later in the order in which they would have been."""
        self._values = {name: list(kept.unbind(dim=1)) for name, kept in part(state, "values/").items()}
        self._counts = {name: int(count) for name, count in part(state, "counts/").items()}


class Unsummed(NamedTuple):
    """Steps of every copy, ``[S, T, B, ...]`` each field, whose returns are not summed yet."""

    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    next_obs: Tensor | None  # None: looked at


class EpisodeReturns:
    """Mean undiscounted return of the episodes that finished since the last reading, per seed.

    ``unsound`` holds the rows with a reward, an observation or a loss that was not finite, ``[S]`` bool each. The agent
    sets that of the loss.
    """

    def __init__(self, num_seeds: int, num_envs: int, device: torch.device) -> None:
        self._running = torch.zeros(num_seeds, num_envs, dtype=torch.float32, device=device)
        self._sum = torch.zeros(num_seeds, dtype=torch.float32, device=device)
        self._count = torch.zeros(num_seeds, dtype=torch.int64, device=device)
        self._segments: list[Unsummed] = []
        self._kept = 0  # steps in them
        kinds = ("reward", "observation", "loss")
        self.unsound = {kind: torch.zeros(num_seeds, dtype=torch.bool, device=device) for kind in kinds}

    def add(self, segment: Transition) -> None:
        """Add steps of every copy, ``[S, T, B, ...]`` each field.

        Every ``FOLD`` steps are summed, so that the sums do not depend on how steps are cut into segments.
        """
        begin, steps = 0, segment.reward.shape[1]
        fields = (segment.reward, segment.terminated, segment.truncated, segment.next_obs)
        while begin < steps:
            end = min(begin + FOLD - self._kept, steps)
            self._segments.append(Unsummed(*(field[:, begin:end] for field in fields)))
            self._kept += end - begin
            if self._kept == FOLD:
                self.fold()
            begin = end

    def fold(self) -> None:
        """Sum the steps kept.

        What a copy earned until its last finished episode ended is the sum of its finished episodes' returns.
        """
        if not self._segments:
            return
        self._look_at_observations()
        rewards, dones = self._unsummed()
        self._segments, self._kept = [], 0
        self._look("reward", rewards)
        finished = dones.any(dim=1)  # [S, B]
        after = dones.flip(1).cumsum(dim=1).flip(1) == 0  # steps of the episode that goes on
        unfinished = torch.where(after, rewards, 0.0).sum(dim=1)
        earned = self._running + torch.where(after, 0.0, rewards).sum(dim=1)
        self._sum += torch.where(finished, earned, 0.0).sum(dim=1)
        self._count += dones.sum(dim=(1, 2))
        self._running = torch.where(finished, unfinished, self._running + unfinished)

    def _unsummed(self) -> tuple[Tensor, Tensor]:
        """Rewards and ends of the steps kept, ``[S, T, B]``."""
        empty = self._running[:, None][:, :0]
        rewards = torch.cat([empty, *(each.reward for each in self._segments)], dim=1)
        terminated = torch.cat([empty.bool(), *(each.terminated for each in self._segments)], dim=1)
        return rewards, terminated | torch.cat([empty.bool(), *(each.truncated for each in self._segments)], dim=1)

    def _look_at_observations(self) -> None:
        """Check the observations of the steps kept, whose rewards and ends stay."""
        seen = [each.next_obs for each in self._segments if each.next_obs is not None]
        if seen and seen[0].is_floating_point():
            self._look("observation", torch.cat(seen, dim=1))
        self._segments = [each._replace(next_obs=None) for each in self._segments]

    def _look(self, kind: str, values: Tensor) -> None:
        """Note the rows in which values ``[S, ...]`` are not all finite."""
        self.unsound[kind] |= ~values.isfinite().flatten(1).all(dim=1)

    def drop(self, copies: Tensor) -> None:
        """Forget what the running episodes of ``copies [S, B]`` bool have earned."""
        rewards, dones = self._unsummed()
        after = dones.flip(1).cumsum(dim=1).flip(1) == 0  # steps of the episode that goes on, [S, T, B]
        self._running[copies & ~dones.any(dim=1)] = 0.0
        self._look_at_observations()
        self._segments = [Unsummed(rewards.masked_fill(after & copies[:, None], 0.0), dones, dones, None)]

    def read(self) -> dict[str, np.ndarray]:
        """Return ``episode_return [S]`` (NaN where none finished) and ``episodes [S]``, and reset."""
        self.fold()
        count = self._count.cpu().numpy().copy()  # zeroed below
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = self._sum.cpu().numpy() / count
        self._sum.zero_()
        self._count.zero_()
        return {"episode_return": mean, "episodes": count}

    def state_dict(self) -> dict[str, Tensor]:
        """Running and finished returns, for a checkpoint."""
        self._look_at_observations()
        rewards, dones = self._unsummed()
        unsummed = {"unsummed/reward": rewards, "unsummed/done": dones}
        return {"running": self._running, "sum": self._sum, "count": self._count, **self.unsound, **unsummed}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from saved returns."""
        self._segments, self._kept = [], 0
        if "unsummed/reward" in state:  # version 0.1.0 summed when it saved
            done = state["unsummed/done"]
            self._segments = [Unsummed(state["unsummed/reward"], done, done, None)]
            self._kept = state["unsummed/reward"].shape[1]
        self._running.copy_(state["running"])
        self._sum.copy_(state["sum"])
        self._count.copy_(state["count"])
        for kind, rows in self.unsound.items():
            rows.copy_(state[kind])
