"""One step of every copy of an environment in one call, restarts included.

Every operation of a step rounds as in the dynamics' own functions of numpy arrays, which are the definition. First
states are those of ``rollout.begin``: in float64 the last bit of a cart-pole's may differ.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import copy
from .jit import compiled, implementation, of
from .layout import Flags, Integers
from .philox import episode_numbers
from .rollout import CartPoleNumbers, TableNumbers, begin, push_cart, step
from .trigonometry import cosine_and_sine


def exact_step(numbers: Any, state: NDArray[Any], action: int, u: NDArray[np.float64]) -> tuple[float, bool]:
    """As ``rollout.step``, with every operation rounded as in the dynamics' own function of numpy arrays."""
    raise NotImplementedError


@implementation(exact_step, of(CartPoleNumbers), reassociated=False)
def _exact_step_cart_pole(numbers: Any, state: Any, action: int, u: Any) -> tuple[float, bool]:
    cos, sin = cosine_and_sine(state[2])
    return push_cart(numbers, state, action, cos, sin)


@implementation(exact_step, of(TableNumbers))
def _exact_step_table(numbers: Any, state: Any, action: int, u: Any) -> tuple[float, bool]:
    return step(numbers, state, action, u)


@compiled
def step_copies(
    numbers: Any,
    num_actions: int,
    limit: int,
    width: int,
    before: NDArray[Any],
    elapsed: Integers,
    begun: Integers,
    keys: NDArray[np.uint64],
    action: Integers,
    u: NDArray[np.float64],
    state: NDArray[Any],
    reward: NDArray[np.float32],
    flags: Flags,
) -> int:
    """Step every copy; begin the next episode where one ends.

    A call with arrays takes half the time of one with NamedTuples of arrays, which counts where copies are few.

    Args:
        numbers: of the dynamics.
        num_actions: A.
        limit: the time limit in steps.
        width: how many numbers a first state takes.
        before: states, ``[S, B, k]``.
        elapsed: steps of the episode so far, ``[S, B]``; counted on.
        begun: episodes so far, ``[S, B]``; counted on.
        keys: of the numbers of first states, ``[S, B, 2]``.
        action: ``[S, B]``.
        u: noise of the transitions, ``[S, B, w]``.
        state: to write into, ``[2, S, B, k]``: successors; and the same, or the first state where an episode has ended.
        reward: to write into, ``[S, B]``.
        flags: to write into, ``[2, S, B]``: terminated and truncated.

    Returns:
        how many episodes have ended; -1, and nothing is done, if an action is none of 0 to A - 1.
    """
    for s in range(action.shape[0]):
        for b in range(action.shape[1]):
            if not 0 <= action[s, b] < num_actions:
                return -1
    ended, fresh = 0, np.empty(width)
    for s in range(action.shape[0]):
        for b in range(action.shape[1]):
            successor, present = state[0, s, b], state[1, s, b]
            copy(before[s, b], successor)
            reward[s, b], flags[0, s, b] = exact_step(numbers, successor, action[s, b], u[s, b])
            elapsed[s, b] += 1
            flags[1, s, b] = elapsed[s, b] >= limit
            copy(successor, present)
            if flags[0, s, b] or flags[1, s, b]:
                ended += 1
                episode_numbers(keys[s, b], begun[s, b], fresh)
                begin(numbers, fresh, present)
                begun[s, b] += 1
                elapsed[s, b] = 0
    return ended
