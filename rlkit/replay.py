"""Experience replay (Lin 1992; Mnih et al. 2015): ring buffers for S seeds on the device."""

from __future__ import annotations

import math
import os

import torch
from torch import Tensor

from .types import Transition


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
        # Truncation is not stored: a bootstrap is masked by termination alone.
        self._fields = {
            name: torch.empty(num_seeds, capacity, *value.shape[2:], dtype=value.dtype, device=value.device)
            for name, value in example._asdict().items()
            if name != "truncated"
        }
        device = example.reward.device
        self._copies = copies
        self._rows = torch.arange(num_seeds, device=device)[:, None] * capacity  # [S, 1], start of each ring
        self.added = torch.zeros((), dtype=torch.int64, device=device)  # transitions per seed so far

    def add(self, *steps: Transition) -> None:
        """Store steps of every copy, ``[S, B, ...]`` each and in their order, over the oldest."""
        count = len(steps) * self._copies
        kept = min(count, self.capacity)
        position = (self.added + count - kept + torch.arange(kept, device=self.added.device)) % self.capacity
        for name, ring in self._fields.items():
            values = torch.stack([getattr(step, name) for step in steps], dim=1).flatten(1, 2)  # [S, T B, ...]
            ring.index_copy_(1, position, values[:, count - kept :])
        self.added += count

    def sample(self, u: Tensor) -> Transition:
        """Transitions at uniform numbers ``u [S, M]``; ``[S, M, ...]``, with ``truncated`` all False.

        Row s reads its own ring only.
        """
        size = self.added.clamp(max=self.capacity)
        index = (u * size).long() + self._rows  # [S, M]
        fields = {
            name: ring.flatten(0, 1).index_select(0, index.flatten()).view(*index.shape, *ring.shape[2:])
            for name, ring in self._fields.items()
        }
        return Transition(**fields, truncated=torch.zeros_like(fields["terminated"]))

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
    return sum(
        len(value) * capacity * math.prod(value.shape[2:]) * value.element_size()
        for name, value in example._asdict().items()
        if name != "truncated"
    )


def free_memory(device: torch.device) -> int:
    """Bytes that can still be allocated on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
