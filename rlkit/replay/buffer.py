"""Experience replay (Lin 1992; Mnih et al. 2015): ring buffers for S seeds on the device."""

from __future__ import annotations

import math
import os

import torch
from torch import Tensor

from rlkit.types import Transition


class ReplayBuffer:
    """The last ``capacity`` transitions of each seed, sampled uniformly with replacement.

    Args:
        capacity: transitions kept per seed, over all its copies.
        example: any transition of the environment: its shapes and dtypes are those stored.

    Raises:
        ValueError: capacity below the number of copies.
        MemoryError: the buffer would not fit (see ``replay_bytes``).
    """

    def __init__(self, capacity: int, example: Transition) -> None:
        num_seeds, copies = example.reward.shape
        if capacity < copies:
            raise ValueError(f"buffer_size must hold one step of all {copies} copies, got {capacity}")
        needed, free = replay_bytes(capacity, example), free_memory(example.reward.device)
        if needed > free:
            raise MemoryError(
                f"a replay buffer of {capacity:,} transitions for {num_seeds} seeds takes {needed / 1e9:.1f} GB "
                f"and {free / 1e9:.1f} GB are free on {example.reward.device}: lower buffer_size or train fewer seeds"
            )
        self.capacity = capacity
        self._fields = {
            name: torch.empty(num_seeds, capacity, *value.shape[2:], dtype=value.dtype, device=value.device)
            for name, value in _stored(example).items()
        }
        device = example.reward.device
        self._copies = copies
        self._rows = torch.arange(num_seeds, device=device)[:, None] * capacity  # [S, 1], start of each ring
        self.added = torch.zeros((), dtype=torch.int64, device=device)  # transitions per seed so far

    def add(self, segment: Transition) -> None:
        """Store steps of every copy, ``[S, T, B, ...]`` each field, over the oldest."""
        count = segment.reward.shape[1] * self._copies
        kept = min(count, self.capacity)
        position = (self.added + count - kept + torch.arange(kept, device=self.added.device)) % self.capacity
        for name, ring in self._fields.items():
            values = getattr(segment, name).flatten(1, 2)  # [S, T B, ...]
            ring.index_copy_(1, position, values[:, count - kept :])
        self.added += count

    def sample(self, u: Tensor) -> Transition:
        """Transitions at uniform numbers ``u [S, M]``; ``[S, M, ...]``. Row s reads its own ring only."""
        index = self._position(self._number(u))
        return Transition(**{name: self._read(name, index) for name in self._fields})

    def sample_n_step(self, u: Tensor, n: int, gamma: Tensor) -> tuple[Transition, Tensor]:
        """Transitions of up to n steps, cut where the episode or the stored experience ends.

        ``reward`` is sum_(k < m) gamma^k r_(t+k) over the m steps that remain (Watkins 1989, section 7.1),
        ``next_obs`` and the flags are those of the last of them. The second result is gamma^m, the discount of
        the bootstrap, ``[S, M]``. With n = 1 this is ``sample`` and gamma.

        Args:
            u: uniform numbers ``[S, M]``.
            n: steps, at least 1.
            gamma: ``[S]``.
        """
        ahead = torch.arange(n, device=u.device)
        number = self._number(u)[..., None] + ahead * self._copies  # [S, M, n], the same copy's next steps
        index = self._position(number.clamp(max=self.added - 1))
        done = self._read("terminated", index) | self._read("truncated", index)
        over = done.cumsum(dim=2) > done.long()  # the episode ended at an earlier step
        counts = ~over & (number < self.added)
        reward = torch.where(counts, gamma[:, None, None] ** ahead * self._read("reward", index), 0.0).sum(dim=2)
        length = counts.sum(dim=2)  # [S, M], m
        first, last = index[..., 0], index.gather(2, length[..., None] - 1)[..., 0]
        start = {name: self._read(name, first) for name in ("obs", "action")}
        names = ("next_obs", "terminated", "truncated", "next_action_mask")
        end = {name: self._read(name, last) for name in names if name in self._fields}
        return Transition(**start, reward=reward, **end), gamma[:, None] ** length

    def _number(self, u: Tensor) -> Tensor:
        """Which transition, numbered from the first one ever added: uniform over those still stored."""
        size = self.added.clamp(max=self.capacity)
        return self.added - size + (u * size).long()

    def _position(self, number: Tensor) -> Tensor:
        """Where transitions ``number [S, ...]`` lie in the rings, one after another."""
        return number % self.capacity + self._rows.view(-1, *[1] * (number.dim() - 1))

    def _read(self, name: str, position: Tensor) -> Tensor:
        ring = self._fields[name]
        return ring.flatten(0, 1).index_select(0, position.flatten()).view(*position.shape, *ring.shape[2:])

    def grow(self, capacity: int) -> None:
        """Make room for more, keeping what is stored. Only a ring that has not wrapped can grow.

        Raises:
            RuntimeError: transitions have been overwritten already.
        """
        if int(self.added) > self.capacity:
            raise RuntimeError(f"{int(self.added)} transitions went through a ring of {self.capacity}: it cannot grow")
        for name, ring in self._fields.items():
            larger = torch.empty(len(ring), capacity, *ring.shape[2:], dtype=ring.dtype, device=ring.device)
            larger[:, : self.capacity] = ring
            self._fields[name] = larger
        self._rows = self._rows // self.capacity * capacity
        self.capacity = capacity

    def state_dict(self) -> dict[str, Tensor]:
        """Everything stored and the position, for a checkpoint."""
        return {**self._fields, "added": self.added}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from a saved buffer."""
        for name, ring in self._fields.items():
            ring.copy_(state[name])
        self.added.copy_(state["added"])


def replay_bytes(capacity: int, example: Transition) -> int:
    """Bytes that ``ReplayBuffer(capacity, example)`` takes."""
    stored = _stored(example).values()
    return sum(len(value) * capacity * math.prod(value.shape[2:]) * value.element_size() for value in stored)


def _stored(example: Transition) -> dict[str, Tensor]:
    """The fields that are kept: not what was allowed when the action was chosen, which no later update asks for."""
    return {name: field for name, field in example._asdict().items() if field is not None and name != "action_mask"}


def free_memory(device: torch.device) -> int:
    """Bytes that can still be allocated on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
