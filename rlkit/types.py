"""The few shapes that everything else speaks.

Letters: S seeds, B environment copies per seed, T time, M minibatch, D observation features, A actions.
The order of axes is always ``[S, T?, B|M, ...]``: the seed axis leads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from gymnasium import spaces
from torch import Tensor


class Transition(NamedTuple):
    """One step of every copy of every seed.

    ``next_obs`` is the true successor, never the first observation of a new episode: a bootstrap target is
    masked by ``terminated`` alone, and a recursion over time is cut by ``terminated | truncated``.
    """

    obs: Tensor  # [S, B, *observation]
    action: Tensor  # [S, B] int64
    reward: Tensor  # [S, B] float32
    next_obs: Tensor  # [S, B, *observation]
    terminated: Tensor  # [S, B] bool
    truncated: Tensor  # [S, B] bool
    action_mask: Tensor | None = None  # [S, B, A] bool, what was allowed in obs; None: everything
    next_action_mask: Tensor | None = None  # [S, B, A] bool, what is allowed in next_obs; None: everything

    @property
    def done(self) -> Tensor:
        """Whether the episode ended at this step, for either reason, ``[S, B]`` bool."""
        return self.terminated | self.truncated


def segment(steps: Sequence[Transition]) -> Transition:
    """T steps as one: ``[S, B, ...]`` each -> ``[S, T, B, ...]``."""
    return combined(steps, partial(torch.stack, dim=1))


def combined(steps: Sequence[Transition], how: Callable[[list[Tensor]], Tensor]) -> Transition:
    """Transitions as one, field by field; what the first does not carry none has."""
    names = [name for name, field in steps[0]._asdict().items() if field is not None]
    return Transition(**{name: how([getattr(step, name) for step in steps]) for name in names})


def by_copy(field: Tensor) -> Tensor:
    """A segment with every copy as a row, ``[S, T, B, ...] -> [S B, T, ...]``.

    Contiguous also for one seed: products of another memory layout round differently.
    """
    return field.transpose(1, 2).flatten(0, 1).contiguous()


class Env(Protocol):
    """S x B environments as one: what agents, evaluation and attacks see of an environment.

    ``step`` restarts a finished copy in the same call, so ``obs`` after it is what the policy acts on next,
    while the returned transition still holds the true successor. One whose ``reset`` begins the same episodes again,
    as those made for evaluation, says so by a true ``repeats``.
    """

    @property
    def seeds(self) -> tuple[int, ...]:
        """One per row."""
        ...

    @property
    def num_envs(self) -> int:
        """B."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        ...

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """Of one copy."""
        ...

    @property
    def action_space(self) -> spaces.Discrete:
        """Of one copy."""
        ...

    @property
    def max_episode_steps(self) -> int | None:
        """The environment's time limit, None without one."""
        ...

    @property
    def obs(self) -> Tensor:
        """``[S, B, *observation]``, what the policy sees now."""
        ...

    @property
    def action_mask(self) -> Tensor | None:
        """[S, B, A] bool, the actions allowed now; None where all always are."""
        ...

    def reset(self) -> Tensor:
        """Begin a new episode in every copy: observations ``[S, B, *observation]``."""
        ...

    def step(self, action: Tensor) -> Transition:
        """Step every copy with ``action [S, B]``."""
        ...


class Starts(NamedTuple):
    """The first numbers of an environment's own Discrete spaces, where its ``Env`` counts them from 0.

    An ``Env`` that does so says it as ``starts``; whoever speaks with the environment itself translates.
    """

    observation: int = 0
    action: int = 0

    def to_zero_based(self, obs: Tensor) -> Tensor:
        """The environment's own observations as its ``Env`` has them; what is floating is no number of a state."""
        return obs if self.observation == 0 or obs.is_floating_point() else obs - self.observation


class Policy(Protocol):
    """Whatever chooses actions for S x B observations."""

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        """``[S, B, *observation]`` -> actions ``[S, B]`` int64."""
        ...
