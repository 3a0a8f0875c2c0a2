"""One step of S x B copies of dynamics in one call of machine code."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.compiled.stepping import step_copies

from .dynamics import Array, Dynamics
from .dynamics_numbers import StepNumbers, step_limit


class CompiledStep:
    """Steps copies of ``dynamics``, and begins the next episode of those that end.

    Args:
        dynamics: the environments, whose constants are numbers.
        numbers: the constants of ``dynamics``.
        begun: how many episodes each copy has begun, ``[S, B]``; counted on in place.
        keys: keys of the numbers of first states, ``[S, B, 2]``.
        width: number of them that a first state takes.
    """

    def __init__(
        self, dynamics: Dynamics, numbers: StepNumbers, begun: NDArray[np.int64], keys: NDArray[np.uint64], width: int
    ) -> None:
        self._numbers, self._begun, self._keys = numbers, begun, keys
        self._sizes = int(dynamics.action_space.n), step_limit(dynamics), width

    def __call__(self, state: Array, elapsed: Array, action: Array, noise: Array) -> tuple[int, Array, Array, Array]:
        """Take a step.

        Args:
            state: ``[S, B, k]``, left as it is.
            elapsed: steps of the episode so far ``[S, B]``, counted on in place.
            action: ``[S, B]``.
            noise: noise of the transitions, ``[S, B, w]``.

        Returns:
            how many episodes have ended; the states ``[2, S, B, k]``, successors first, then the same with the first
            states of new episodes; the rewards ``[S, B]``; the flags ``[2, S, B]``, terminated first, then truncated.

        Raises:
            ValueError: an action that the dynamics do not have.
        """
        action = np.ascontiguousarray(action, np.int64)
        states = np.empty((2, *state.shape), state.dtype)
        reward, flags = np.empty(action.shape, np.float32), np.empty((2, *action.shape), np.bool_)
        episodes = (state, elapsed, self._begun, self._keys)
        arguments: tuple[Any, ...] = (*self._sizes, *episodes, action, noise, states, reward, flags)
        ended = step_copies(self._numbers, *arguments)
        if ended < 0:
            raise ValueError(f"actions must be 0 to {self._sizes[0] - 1}, got {action.min()} to {action.max()}")
        return ended, states, reward, flags
