"""The types that every package shares: a transition, an environment, a policy.

Letters: S seeds, B environment copies per seed, T time, M minibatch, D observation features, A actions.
The order of axes is always ``[S, T?, B|M, ...]``: the seed axis leads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeGuard, runtime_checkable

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
    """Return T steps as one segment: ``[S, B, ...]`` each -> ``[S, T, B, ...]``."""
    return combined(steps, partial(torch.stack, dim=1))


def combined(steps: Sequence[Transition], how: Callable[[list[Tensor]], Tensor]) -> Transition:
    """Combine transitions field by field; a field that is None in the first is None in the result."""
    names = [name for name, field in steps[0]._asdict().items() if field is not None]
    return Transition(**{name: how([getattr(step, name) for step in steps]) for name in names})


def by_copy(field: Tensor) -> Tensor:
    """Return a segment with every copy as a row, ``[S, T, B, ...] -> [S B, T, ...]``.

    The result is contiguous for one seed too: matrix products of another memory layout round differently.
    """
    return field.transpose(1, 2).flatten(0, 1).contiguous()


class Env(Protocol):
    """S x B environments as one: what agents, evaluation and attacks see of an environment.

    ``step`` restarts a finished copy in the same call: ``obs`` is then what the policy acts on next, while the
    returned transition holds the true successor. An environment whose ``reset`` begins the same episodes again, as
    those made for evaluation, has a true attribute ``repeats``.
    """

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of every row."""
        ...

    @property
    def num_envs(self) -> int:
        """B, the number of copies of every row."""
        ...

    @property
    def device(self) -> torch.device:
        """The device of the tensors."""
        ...

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """The observation space of one copy."""
        ...

    @property
    def action_space(self) -> spaces.Discrete:
        """The action space of one copy."""
        ...

    @property
    def max_episode_steps(self) -> int | None:
        """The environment's time limit in steps; None without one."""
        ...

    @property
    def obs(self) -> Tensor:
        """What the policy sees now, ``[S, B, *observation]``."""
        ...

    @property
    def action_mask(self) -> Tensor | None:
        """The actions allowed now, ``[S, B, A]`` bool; None where every action is always allowed."""
        ...

    def reset(self) -> Tensor:
        """Begin a new episode in every copy and return its observations ``[S, B, *observation]``."""
        ...

    def step(self, action: Tensor) -> Transition:
        """Step every copy with ``action [S, B]``."""
        ...


class Starts(NamedTuple):
    """The first numbers of an environment's own Discrete spaces, which its ``Env`` counts from 0.

    Such an ``Env`` has them as ``starts``; code that speaks to the environment itself adds or subtracts them.
    """

    observation: int = 0
    action: int = 0

    def to_zero_based(self, obs: Tensor) -> Tensor:
        """Return the environment's own observations as its ``Env`` counts them; floating ones are returned as given."""
        return obs if self.observation == 0 or obs.is_floating_point() else obs - self.observation


class Policy(Protocol):
    """Whatever chooses actions for S x B observations.

    One of a fixed number of rows has ``num_seeds``, and environments of as many rows. One that remembers its episode
    is an ``EpisodicPolicy``, one that heeds which actions are allowed a ``MaskedPolicy``.
    """

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        """Choose actions ``[S, B]`` int64 for ``[S, B, *observation]``."""
        ...


@runtime_checkable
class EpisodicPolicy(Policy, Protocol):
    """A policy that remembers its episode: whoever plays it calls ``restart``."""

    def restart(self, ended: Tensor | None = None, /) -> None:
        """Forget the episodes of the copies where ``ended [S, B]`` is true, or of all copies without it."""
        ...


class MaskedPolicy(Policy, Protocol):
    """A policy that chooses among the actions allowed where it is told which they are, and says so."""

    heeds_masks: bool  # True

    def act(self, obs: Tensor, deterministic: bool = True, action_mask: Tensor | None = None) -> Tensor:
        """Choose among the actions that ``action_mask [S, B, A]`` bool allows; None allows every action."""
        ...


def heeds_masks(policy: Policy) -> TypeGuard[MaskedPolicy]:
    """Return whether a policy is a ``MaskedPolicy``: it says so by a true ``heeds_masks``."""
    return bool(getattr(policy, "heeds_masks", False))
