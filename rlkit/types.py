"""The data types and protocols that all packages share.

Letters: S seeds, B environment copies per seed, T time, M minibatch, D observation features, A actions.
The order of axes is always ``[S, T?, B|M, ...]``: the seed axis leads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeGuard, runtime_checkable

import numpy as np
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
    action_mask: Tensor | None = None  # [S, B, A] bool, the actions allowed in obs; None: all
    next_action_mask: Tensor | None = None  # [S, B, A] bool, the actions allowed in next_obs; None: all

    @property
    def done(self) -> Tensor:
        """Whether the episode ended at this step, for either reason, ``[S, B]`` bool."""
        return self.terminated | self.truncated


def segment(steps: Sequence[Transition]) -> Transition:
    """Stack T steps ``[S, B, ...]`` to a segment ``[S, T, B, ...]``; of one step it is a view."""
    if len(steps) == 1:
        return combined(steps, lambda fields: fields[0][:, None])
    return combined(steps, partial(torch.stack, dim=1))


def combined(steps: Sequence[Transition], how: Callable[[list[Tensor]], Tensor]) -> Transition:
    """Combine transitions field by field with ``how``; fields that are None in the first stay None."""
    names = [name for name, field in steps[0]._asdict().items() if field is not None]
    return Transition(**{name: how([getattr(step, name) for step in steps]) for name in names})


def by_copy(field: Tensor) -> Tensor:
    """Make every copy of a segment a row, ``[S, T, B, ...] -> [S B, T, ...]``.

    The result is contiguous for one seed too: matrix products of another memory layout round differently.
    """
    return field.transpose(1, 2).flatten(0, 1).contiguous()


class Env(Protocol):
    """S x B environments as one: what agents, evaluation and attacks see of an environment.

    ``step`` restarts a finished copy in the same call, so ``obs`` after it is what the policy acts on next,
    while the returned transition still holds the true successor. An environment whose ``reset`` begins the same
    episodes again, such as those made for evaluation, has an attribute ``repeats`` that is True.
    """

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return one seed per row."""
        ...

    @property
    def num_envs(self) -> int:
        """Return B, the copies per seed."""
        ...

    @property
    def device(self) -> torch.device:
        """Return the device of the tensors."""
        ...

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """Return the observation space of one copy."""
        ...

    @property
    def action_space(self) -> spaces.Discrete:
        """Return the action space of one copy."""
        ...

    @property
    def max_episode_steps(self) -> int | None:
        """Return the time limit of an episode in steps; None without one."""
        ...

    @property
    def obs(self) -> Tensor:
        """Return the current observations, ``[S, B, *observation]``."""
        ...

    @property
    def action_mask(self) -> Tensor | None:
        """Return the actions allowed now, ``[S, B, A]`` bool; None where every action is always allowed."""
        ...

    def reset(self) -> Tensor:
        """Begin a new episode in every copy and return its observations ``[S, B, *observation]``."""
        ...

    def step(self, action: Tensor) -> Transition:
        """Step every copy with ``action [S, B]``."""
        ...


class Starts(NamedTuple):
    """How an environment's own numbers differ from those of its ``Env``.

    The numbers of a Discrete space count from 0 in the ``Env``, and the parts of a Dict observation are one vector.
    Such an ``Env`` has this as an attribute ``starts``. Code that calls the environment itself must convert.
    """

    observation: int = 0  # the first number of its Discrete observations
    action: int = 0  # the first number of its actions
    parts: spaces.Dict | None = None  # the space of its Dict observations

    def to_zero_based(self, obs: Tensor) -> Tensor:
        """Convert the environment's own observations to those of its ``Env``; floating ones are left as they are."""
        return obs if self.observation == 0 or obs.is_floating_point() else obs - self.observation

    def flatten(self, observation: Any) -> Any:
        """Concatenate the parts of a Dict observation in the order of its space's keys; others stay as they are.

        Args:
            observation: by key ``[*part]``, or ``[..., *part]`` with leading axes that all parts share.

        Returns:
            ``[..., D]``.

        Raises:
            ValueError: a part that is missing or of another shape.
        """
        if self.parts is None or not isinstance(observation, Mapping):
            return observation
        missing = [name for name in self.parts.spaces if name not in observation]
        if missing:
            raise ValueError(f"a Dict observation has no part {missing[0]!r}: its space is {self.parts}")
        parts = {name: np.asarray(observation[name]) for name in self.parts.spaces}
        shapes = {name: part.shape for name, part in parts.items()}
        ends = {name: space.shape or () for name, space in self.parts.spaces.items()}
        axes = {name: shape[: len(shape) - len(ends[name])] for name, shape in shapes.items()}
        if any(shapes[name] != axes[name] + ends[name] for name in parts) or len(set(axes.values())) != 1:
            raise ValueError(f"the parts of a Dict observation have shapes {shapes}: its space is {self.parts}")
        return np.concatenate([part.reshape(*axes[name], math.prod(ends[name])) for name, part in parts.items()], -1)


class Policy(Protocol):
    """Anything that chooses actions for S x B observations.

    A policy with a fixed number of rows has ``num_seeds`` and needs environments with as many rows. A policy that
    remembers its episode is an ``EpisodicPolicy``; a policy that obeys action masks is a ``MaskedPolicy``.
    """

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        """Choose actions ``[S, B]`` int64 for ``[S, B, *observation]``."""
        ...


@runtime_checkable
class EpisodicPolicy(Policy, Protocol):
    """A policy with a state per episode; its caller calls ``restart`` when episodes end."""

    def restart(self, ended: Tensor | None = None, /) -> None:
        """Forget the episodes of the copies where ``ended [S, B]`` is true, or of all copies without it."""
        ...


class MaskedPolicy(Policy, Protocol):
    """A policy that chooses among the allowed actions, given a mask of them."""

    heeds_masks: bool  # True

    def act(self, obs: Tensor, deterministic: bool = True, action_mask: Tensor | None = None) -> Tensor:
        """Choose among the actions that ``action_mask [S, B, A]`` bool allows; None allows every action."""
        ...


def heeds_masks(policy: Policy) -> TypeGuard[MaskedPolicy]:
    """Return whether a policy is a ``MaskedPolicy``, by its attribute ``heeds_masks``."""
    return bool(getattr(policy, "heeds_masks", False))


class Network(Protocol):
    """S networks whose parameters are one matrix.

    A network that also has a method ``vjp``, as those of ``rlkit.nn`` do, is differentiated by it instead of by
    autograd: ``vjp(x)`` returns the outputs and a function ``pullback(*output_grads, out)`` to the parameters.
    """

    flat: Tensor  # [S, P]

    @property
    def parameters(self) -> list[Tensor]:
        """Views of ``flat`` that are leaves for autograd."""
        ...

    def __call__(self, x: Tensor) -> Any:
        """Compute one output or several of features ``[S, M, D]``, differentiable in x and ``parameters``."""
        ...

    def gradient(self, loss: Tensor) -> Tensor:
        """Differentiate a loss ``[S]``, or its sum, by the parameters: ``[S, P]``."""
        ...


class Targets(NamedTuple):
    """The targets of the loss of an update, and further data that a term may use."""

    action: Tensor  # taken, [S, M]
    target: Tensor  # y of action values, R of state values, G of REINFORCE: [S, M]
    advantage: Tensor | None = None  # the weight of log pi(a|s), [S, M]; None for action values
    action_mask: Tensor | None = None  # the allowed actions, [S, M, A] bool; None for all
    importance: Tensor | None = None  # weights of prioritized replay, [S, M]
    value: Network | None = None  # network of the state values, [S, M, D] -> [S, M, 1]
    loss: Callable[[Tensor], Tensor] | None = None  # the algorithm's loss with other features, [S, M, D] -> [S]
    loss_at_scores: Callable[[Tensor], Tensor] | None = (
        None  # ... with other scores at these features, [S, M, A] -> [S]
    )
    progress_remaining: float = 1.0  # from 1 to 0 over the training
    uniform: Callable[..., Tensor] | None = None  # uniform(D) -> numbers on [0, 1), [S, M, D] float64


# What is added to a loss: (network, features [S, M, D], targets) -> [S], of a ``Network`` that gives scores.
Term = Callable[[Any, Tensor, Targets], Tensor]
