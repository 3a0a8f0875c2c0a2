"""The replay memory of an agent and its ways of sampling minibatches (Lin 1992; Schaul et al. 2016).

``buffer.py`` holds the ring buffers, ``prioritized.py`` the tree of priorities.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rlkit.checkpoint import part
from rlkit.types import Transition, combined

from .buffer import ReplayBuffer
from .device_buffer import DeviceReplayBuffer
from .prioritized import Priorities

SMALLEST_PRIORITY = 1e-6  # added to |y - Q|, so that every transition can be sampled again


class Minibatch(NamedTuple):
    """Transitions of up to n steps, with the discounts and importance weights of their update."""

    transition: Transition  # [S, M, ...]
    discount: Tensor  # of the bootstrap, [S, M] or [S, 1]
    importance: Tensor | None  # weight of each derivative, [S, M] float64; None: all 1


class Memory:
    """The last transitions of each seed, sampled uniformly, by priority, or the latest in their order.

    It has no capacity until ``reserve`` is called.

    Args:
        copies: transitions per seed that are stored at once.
        gamma: discount, ``[S]``.
        n_steps: rewards that a transition sums before its bootstrap.
        alpha: exponent of the priorities in the chance of being sampled, ``[S]``; rows of 0, and None, sample
            uniformly, by age.
        beta: exponent of the importance weights at the start of training, ``[S]``; it grows to 1.
        latest: whether a minibatch is the latest transitions, the oldest of them first.
        num_actions: A, from which the bytes of a stored action follow; None: eight.
    """

    def __init__(
        self,
        copies: int,
        gamma: Tensor,
        n_steps: int = 1,
        alpha: Tensor | None = None,
        beta: Tensor | None = None,
        latest: bool = False,
        num_actions: int | None = None,
    ) -> None:
        self.copies, self.gamma, self.n_steps = copies, gamma, n_steps
        self.alpha, self.beta, self.latest, self.num_actions = alpha, beta, latest, num_actions
        self._some_uniform = alpha is not None and bool((alpha == 0.0).any())
        self.capacity = 0
        self.replay: ReplayBuffer | None = None  # made from the shapes and dtypes of the first transition
        self.priorities: Priorities | None = None
        self._sampled: Tensor | None = None  # slots of the last sample, for update_priorities, [S, M]

    def reserve(self, capacity: int) -> None:
        """Make room for ``capacity`` transitions per seed, and keep those stored; the capacity never shrinks."""
        if self.replay is None:
            self.capacity = capacity
        elif self.replay.capacity < capacity:
            self.replay.grow(capacity)
            if self.priorities is not None:
                self.priorities.grow(capacity)

    def add(self, segment: Transition) -> None:
        """Store steps of every copy, ``[S, T, B, ...]`` each field, over the oldest."""
        if self.replay is None:
            self._make(combined([segment], lambda fields: fields[0][:, 0]))
        assert self.replay is not None
        self.replay.add(segment)
        if self.priorities is not None:
            self.priorities.add(segment.reward.shape[1] * self.copies)

    def wrote(self, steps: int) -> None:
        """Count steps of every copy that compiled loops have stored."""
        assert self.replay is not None, "there is no memory yet"
        self.replay.wrote(steps)
        if self.priorities is not None:
            self.priorities.added += steps * self.copies

    def truncate(self, copies: Tensor) -> None:
        """End the running episodes of ``copies [S, B]`` bool with their last transitions stored."""
        if self.replay is not None:
            self.replay.truncate(copies)

    def _make(self, example: Transition) -> None:
        """Rings for transitions such as this one ``[S, B, ...]``, and priorities if they are asked for."""
        buffer = ReplayBuffer if example.reward.device.type == "cpu" else DeviceReplayBuffer
        self.replay = buffer(self.capacity, example, self.num_actions)
        if self.alpha is not None:
            self.priorities = Priorities(self.capacity, self.alpha)

    def sample(self, u: Tensor, betas: Tensor | None = None) -> Minibatch:
        """Minibatches side by side: uniform numbers ``u [count, S, M]`` -> fields ``[S, count M, ...]``.

        Args:
            u: not read if the latest transitions are sampled.
            betas: exponents of the importance weights now, ``[S]``, see ``betas``; None means those at the start.
        """
        assert self.replay is not None, "nothing is stored yet"
        importance = None
        u = self.latest_numbers(*u.shape) if self.latest else u.movedim(0, 1).flatten(1)  # [S, count M]
        if self.priorities is not None and self.beta is not None:
            self._sampled, probability = self.priorities.choose(u)
            # a buffer that stores all successors reads a transition by its slot alone
            by_slot = self.n_steps == 1 and self.replay.stores_successors
            number = self._sampled if by_slot else self.priorities.number(self._sampled)
            if self._some_uniform:
                number = torch.where(self.priorities.alpha == 0.0, self.replay.number(u), number)
            importance = self.priorities.importance(probability, self.beta if betas is None else betas)
        else:
            number = self.replay.number(u)
        if self.n_steps == 1:
            return Minibatch(self.replay.at(number), self.gamma[:, None], importance)
        return Minibatch(*self.replay.at_n_step(number, self.n_steps, self.gamma), importance)

    def betas(self, remaining: float | Tensor) -> Tensor:
        """Return the exponents of the importance weights when this fraction of training remains, ``[S]``."""
        assert self.beta is not None, "nothing is prioritized"
        return 1.0 + (self.beta - 1.0) * remaining

    def latest_numbers(self, count: int, num_seeds: int, size: int) -> Tensor:
        """Return the numbers at which the rings give their latest ``size`` transitions, ``count`` times.

        The result is ``[S, count size]``, where S is ``num_seeds``.
        """
        assert self.replay is not None, "nothing is stored yet"
        stored = self.replay.added.clamp(max=self.replay.capacity)
        age = torch.arange(size, 0, -1, dtype=torch.float32, device=stored.device) - 0.5
        return (1.0 - (age / stored).double()).clamp(min=0.0).expand(num_seeds, -1).repeat(1, count)

    def update_priorities(self, error: Tensor) -> None:
        """Set the priorities of the last sample to the absolute values of its errors Q - y, ``[S, count M]``."""
        if self.priorities is not None and self._sampled is not None:
            self.priorities.update(self._sampled, error.abs() + SMALLEST_PRIORITY)

    def state_dict(self) -> dict[str, Tensor]:
        """Everything stored, for a checkpoint."""
        parts = {"replay": self.replay, "priorities": self.priorities}
        kept = {name: part.state_dict() for name, part in parts.items() if part is not None}
        return {f"{name}/{key}": tensor for name, state in kept.items() for key, tensor in state.items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from a saved memory, with the room that it had."""
        if not state:
            return
        self.capacity, example = _example_of(part(state, "replay/"), self.copies)
        self._make(example)
        for name, kept in (("replay", self.replay), ("priorities", self.priorities)):
            if kept is not None:
                kept.load_state(part(state, f"{name}/"))


def _example_of(rings: dict[str, Tensor], copies: int) -> tuple[int, Transition]:
    """Capacity of a saved buffer, and a transition ``[S, B, ...]`` such as it stores.

    Raises:
        ValueError: rings that are missing or of other lengths.
    """
    names = {"obs", "action", "reward", "added"}
    lengths = {tuple(ring.shape[:2]) for name, ring in rings.items() if name in names and name != "added"}
    if not names <= rings.keys() or len(lengths) != 1 or len(next(iter(lengths))) != 2:
        raise ValueError("the memory does not hold observations, actions and rewards of equal length")
    if rings["reward"].dtype != torch.float32:
        raise ValueError(f"the memory holds rewards of {rings['reward'].dtype} instead of torch.float32")
    first = {name: ring[:, :copies] for name, ring in rings.items() if name in ("obs", "reward", "next_action_mask")}
    done = torch.zeros_like(first["reward"], dtype=torch.bool)
    action = rings["action"][:, :copies].long()
    example = Transition(**first, action=action, next_obs=first["obs"], terminated=done, truncated=done)
    return next(iter(lengths))[1], example
