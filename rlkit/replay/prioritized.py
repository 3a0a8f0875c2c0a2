"""Prioritized experience replay (Schaul et al. 2016, "Prioritized experience replay", the proportional variant)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rlkit.devices import integers


class Priorities:
    """Chances p_i^alpha / sum p^alpha of the slots of S replay rings, and the importance weights that correct for them.

    The tree has two levels: blocks of about the square root of the number of slots, and the sums of the blocks. A
    choice adds up the blocks, then the slots of one block. On a device both are a few operations for any capacity.

    Args:
        capacity: slots of each ring.
        alpha: exponent of the priorities, ``[S]``; 0 is uniform.
    """

    def __init__(self, capacity: int, alpha: Tensor) -> None:
        self.capacity = capacity
        self.alpha = alpha.double()[:, None]
        self.largest = torch.ones(len(alpha), 1, dtype=torch.float64, device=alpha.device)  # priority so far
        self.added = torch.zeros((), dtype=torch.int64, device=alpha.device)  # transitions per seed
        width = math.isqrt(capacity - 1) + 1
        # chances before they are divided by their sum; 0 where nothing is stored
        self._mass = torch.zeros(len(alpha), -(-capacity // width), width, dtype=torch.float64, device=alpha.device)
        self._blocks = self._mass.sum(dim=2)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The chances, their sums by block, the largest priority and alpha, which compiled loops read and write."""
        return self._mass, self._blocks, self.largest, self.alpha

    def add(self, count: int) -> None:
        """Add ``count`` transitions with the largest priority so far, so that each is sampled soon."""
        latest = integers(max(count - self.capacity, 0), count, 1, self.largest.device)
        slot = (self.added + latest) % self.capacity
        self.added += count
        self._write(slot.expand(len(self.largest), -1), self.largest.expand(-1, len(slot)))

    def update(self, slot: Tensor, priority: Tensor) -> None:
        """Give slots ``[S, M]`` new priorities ``[S, M]``, such as absolute temporal differences plus a little."""
        self.largest = torch.maximum(self.largest, priority.amax(dim=1, keepdim=True))
        self._write(slot, priority)

    def _write(self, slot: Tensor, priority: Tensor) -> None:
        """Write the chances of slots, and the sums of their blocks."""
        self._mass.flatten(1).scatter_(1, slot, priority**self.alpha)
        block = slot // self._mass.shape[2]
        self._blocks.scatter_(1, block, self._block(block).sum(dim=2))

    def choose(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Slots at uniform numbers ``u [S, M]`` and the probability of each, ``[S, M]`` both."""
        upto = self._blocks.cumsum(dim=1)  # [S, blocks]
        total = upto[:, -1:]
        goal = u * total
        block = torch.searchsorted(upto, goal, right=True).clamp(max=upto.shape[1] - 1)
        inside = goal - (upto - self._blocks).gather(1, block)  # what is left to go in the block
        within = torch.searchsorted(self._block(block).cumsum(dim=2), inside[..., None], right=True)[..., 0]
        # neither rounding nor the chances of a row that has diverged, which are not numbers, lead to an empty slot
        slot = torch.minimum(torch.add(within, block, alpha=self._mass.shape[2]), self._size() - 1)
        return slot, self._mass.flatten(1).gather(1, slot) / total

    def number(self, slot: Tensor) -> Tensor:
        """Return the numbers by which ``ReplayBuffer.at`` reads these slots ``[S, M]``."""
        oldest = self.added - self._size()
        return oldest + (slot - oldest) % self.capacity

    def importance(self, probability: Tensor, beta: Tensor) -> Tensor:
        """w = (n P)^-beta / max w of the minibatch, ``[S, M]``; beta ``[S]``, 1 corrects the expectation fully.

        n cancels: w = (min P / P)^beta.
        """
        return (probability.amin(dim=1, keepdim=True) / probability) ** beta[:, None]

    def _size(self) -> Tensor:
        """Return how many slots hold something."""
        return self.added.clamp(max=self.capacity)

    def _block(self, block: Tensor) -> Tensor:
        """Blocks ``[S, M] -> [S, M, width]``."""
        return self._mass.gather(1, block[..., None].expand(-1, -1, self._mass.shape[2]))

    def grow(self, capacity: int) -> None:
        """Make room for more; only rings that have not wrapped can grow."""
        added, largest = int(self.added), self.largest
        stored = self._mass.flatten(1)[:, :added]
        self.__init__(capacity, self.alpha[:, 0])  # type: ignore[misc]
        self.largest = largest
        self.added += added
        self._mass.flatten(1)[:, :added] = stored
        self._blocks = self._mass.sum(dim=2)

    def state_dict(self) -> dict[str, Tensor]:
        """Chances, largest priority and count, for a checkpoint."""
        return {"mass": self._mass, "largest": self.largest, "added": self.added}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from saved priorities."""
        self._mass.copy_(state["mass"])
        self._blocks.copy_(self._mass.sum(dim=2))
        self.largest.copy_(state["largest"])
        self.added.copy_(state["added"])
