"""A segment of experience: act, step, record, one row after another, in environments whose dynamics have numbers.

The environments' own functions are the definition; what is here does the same arithmetic on one copy at a time. The
dynamics are chosen by the type of their numbers.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arrays import copy
from .jit import compiled, implementation, inlined, of
from .layout import Flags, Floats, Integers, MLPArrays
from .mlp import forward, room
from .philox import episode_numbers

ROWS_WORK = 2**14  # environment steps of one call, unless a single row has more


class CartPoleNumbers(NamedTuple):
    """The numbers of a cart-pole, of the dtype of its states."""

    gravity: Any
    push: Any  # force / total mass
    twice_push: Any
    moment: Any  # pole mass half length / total mass
    length: Any  # 4/3 of the half length
    time_step: Any
    x_limit: Any
    theta_limit: Any
    start: float  # bound of every component of a first state
    sutton_barto_reward: bool


class TableNumbers(NamedTuple):
    """The numbers of a finite MDP with N states, A actions and K successors of each pair."""

    cumulative: NDArray[np.float64]  # [K - 1, N A], of the probabilities; the K-th is 1
    successor: Integers  # [N A K]
    reward: NDArray[np.float64]  # [N A K]
    terminated: Flags  # [N A K]
    start_state: Integers  # [M], the states an episode may start in
    start_cumulative: NDArray[np.float64]  # [M - 1]
    features: Floats  # [N, D], what networks read of a state
    num_actions: int
    num_successors: int


class RunningArrays(NamedTuple):
    """The running episodes of S x B copies."""

    state: NDArray[Any]  # [S, B, k]
    elapsed: Integers  # [S, B], steps so far
    begun: Integers  # [S, B], episodes so far
    keys: NDArray[np.uint64]  # [S, B, 2], of the numbers of first states
    width: int  # how many numbers a first state takes
    limit: int  # the time limit in steps


class Scaling(NamedTuple):
    """What normalizes features: (x - mean) inverse, clipped."""

    mean: NDArray[np.float64]  # [S, D], or [S, 0] where nothing does
    inverse: NDArray[np.float64]
    clip: float


class SegmentArrays(NamedTuple):
    """A segment, ``[S, T, B, ...]``."""

    state: NDArray[Any]  # [S, T, B, k]
    action: Integers
    reward: NDArray[np.float32]
    next_state: NDArray[Any]
    terminated: Flags
    truncated: Flags

    @classmethod
    def empty(cls, state: NDArray[Any], steps: int) -> SegmentArrays:
        """Return arrays for ``steps`` steps of copies with states like ``state [S, B, k]``."""
        s, b, k = state.shape
        dtypes = (state.dtype, np.int64, np.float32, state.dtype, np.bool_, np.bool_)
        shapes = ((k,), (), (), (k,), (), ())
        return cls(*(np.empty((s, steps, b, *shape), dtype) for shape, dtype in zip(shapes, dtypes, strict=True)))


def begin(numbers: Any, u: NDArray[np.float64], state: NDArray[Any]) -> None:
    """Write the first state of an episode, ``[k]``, made of the uniform numbers u."""
    raise NotImplementedError


def step(numbers: Any, state: NDArray[Any], action: int, u: NDArray[np.float64]) -> tuple[float, bool]:
    """Replace a state ``[k]`` by its successor; return the reward, and whether the episode terminates."""
    raise NotImplementedError


def read(numbers: Any, state: NDArray[Any], x: Floats) -> None:
    """Write the features ``[D]`` of a state ``[k]``."""
    raise NotImplementedError


@implementation(begin, of(CartPoleNumbers))
def _begin_cart_pole(numbers: Any, u: Any, state: Any) -> None:
    for i in range(4):
        state[i] = -numbers.start + (numbers.start + numbers.start) * u[i]


@inlined
def push_cart(numbers: Any, state: Any, action: int, cos: float, sin: float) -> tuple[float, bool]:
    """Florian (2007), as ``rlkit.envs.CartPole.transition`` has it; ``cos`` and ``sin`` are of the pole's angle."""
    x, x_dot, theta, theta_dot = state[0], state[1], state[2], state[3]
    pushed = (numbers.twice_push if action == 1 else numbers.twice_push - numbers.twice_push) - numbers.push
    drive = numbers.moment * (theta_dot * theta_dot) * sin + pushed
    theta_acc = (numbers.gravity * sin - cos * drive) / (numbers.length - numbers.moment * (cos * cos))
    x_acc = drive - numbers.moment * theta_acc * cos
    state[0] = x + numbers.time_step * x_dot
    state[1] = x_dot + numbers.time_step * x_acc
    state[2] = theta + numbers.time_step * theta_dot
    state[3] = theta_dot + numbers.time_step * theta_acc
    terminated = abs(state[0]) > numbers.x_limit or abs(state[2]) > numbers.theta_limit
    if numbers.sutton_barto_reward:
        return -1.0 if terminated else 0.0, terminated
    return 1.0, terminated


@implementation(step, of(CartPoleNumbers))
def _step_cart_pole(numbers: Any, state: Any, action: int, u: Any) -> tuple[float, bool]:
    return push_cart(numbers, state, action, math.cos(state[2]), math.sin(state[2]))


@implementation(read, of(CartPoleNumbers))
def _read_cart_pole(numbers: Any, state: Any, x: Any) -> None:
    for i in range(4):
        x[i] = np.float32(state[i])  # what is observed


@implementation(begin, of(TableNumbers))
def _begin_table(numbers: Any, u: Any, state: Any) -> None:
    state[0] = numbers.start_state[np.searchsorted(numbers.start_cumulative, u[0], side="right")]


@implementation(step, of(TableNumbers))
def _step_table(numbers: Any, state: Any, action: int, u: Any) -> tuple[float, bool]:
    row = state[0] * numbers.num_actions + action
    entry = row * numbers.num_successors
    for k in range(numbers.num_successors - 1):
        entry += numbers.cumulative[k, row] <= u[0]
    state[0] = numbers.successor[entry]
    return numbers.reward[entry], numbers.terminated[entry]


@implementation(read, of(TableNumbers))
def _read_table(numbers: Any, state: Any, x: Any) -> None:
    copy(numbers.features[state[0]], x)


@compiled
def normalize(x: Floats, scaling: Scaling, s: int) -> None:
    """Normalize features ``[M, D]`` of row s in place."""
    for m in range(len(x)):
        for j in range(scaling.mean.shape[1]):
            z = (x[m, j] - scaling.mean[s, j]) * scaling.inverse[s, j]
            z = scaling.clip if z > scaling.clip else z
            x[m, j] = np.float32(-scaling.clip if z < -scaling.clip else z)  # the dtype of observations


@compiled
def categorical(logits: Floats, u: float) -> int:
    """Sample from softmax(logits ``[A]``): the number of actions whose cumulative probability is at most u.

    ``logits`` are overwritten. The last action has what rounding leaves.
    """
    f = logits.dtype.type
    largest, total = logits[0], f(0)
    for a in range(1, len(logits)):
        largest = max(largest, logits[a])
    for a in range(len(logits)):
        logits[a] = math.exp(logits[a] - largest)
        total += logits[a]
    cumulative, action = f(0), 0
    for a in range(len(logits) - 1):
        cumulative += logits[a] / total
        action += cumulative <= u
    return action


def scratch(policy: Any, copies: int) -> tuple[Floats, Floats]:
    """Return memory for the features of ``copies`` observations, ``[B, D]``, and for what a policy's layers give."""
    raise NotImplementedError


def act(policy: Any, s: int, t: int, x: Floats, u: NDArray[np.float64], h: Floats, action: Integers) -> None:
    """Choose the actions of row s at step t of a segment.

    Args:
        policy: by whose type the way of choosing is chosen; ``MLPArrays`` samples from softmax(logits).
        s, t: row and step.
        x: features, ``[B, D]``.
        u: uniform numbers, ``[B, ...]``.
        h: memory for the outputs of the layers.
        action: to write into, ``[B]``.
    """
    raise NotImplementedError


@implementation(scratch, of(MLPArrays))
def _scratch_softmax(policy: Any, copies: int) -> tuple[Floats, Floats]:
    kind = policy.flat.dtype
    return np.empty((copies, policy.layers[0, 0]), kind), np.empty(room(policy.layers, copies), kind)


@implementation(act, of(MLPArrays))
def _act_softmax(policy: Any, s: int, t: int, x: Any, u: Any, h: Any, action: Any) -> None:
    logits = forward(policy.flat[s], policy.layers, policy.tanh, x, h)
    for b in range(len(x)):
        action[b] = categorical(logits[b], u[b])


@compiled
def play_row(
    s: int,
    begin_at: int,
    end_at: int,
    numbers: Any,
    running: RunningArrays,
    policy: Any,
    scaling: Scaling,
    u: NDArray[np.float64],
    noise: NDArray[np.float64],
    segment: SegmentArrays,
    x: Floats,
    h: Floats,
    fresh: NDArray[np.float64],
) -> None:
    """Play steps ``begin_at .. end_at`` of a segment of row s.

    Arguments as of ``play_rows``, with ``scratch`` of the policy and memory for the numbers of a first state.
    """
    copies = running.state.shape[1]
    for t in range(begin_at, end_at):
        for b in range(copies):
            read(numbers, running.state[s, b], x[b])
        normalize(x, scaling, s)
        action = segment.action[s, t]
        act(policy, s, t, x, u[t, s], h, action)
        for b in range(copies):
            state = running.state[s, b]
            copy(state, segment.state[s, t, b])
            reward, terminated = step(numbers, state, action[b], noise[t, s, b])
            running.elapsed[s, b] += 1
            truncated = running.elapsed[s, b] >= running.limit
            segment.reward[s, t, b] = reward
            copy(state, segment.next_state[s, t, b])
            segment.terminated[s, t, b] = terminated
            segment.truncated[s, t, b] = truncated
            if terminated or truncated:
                episode_numbers(running.keys[s, b], running.begun[s, b], fresh)
                begin(numbers, fresh, state)
                running.begun[s, b] += 1
                running.elapsed[s, b] = 0


@compiled
def play_rows(
    first: int,
    last: int,
    numbers: Any,
    running: RunningArrays,
    policy: Any,
    scaling: Scaling,
    u: NDArray[np.float64],
    noise: NDArray[np.float64],
    segment: SegmentArrays,
) -> None:
    """Play rows ``first .. last`` of a segment.

    Args:
        first, last: the rows.
        numbers: of the dynamics.
        running: the episodes, which are continued in place.
        policy: see ``act``.
        scaling: of the features.
        u: uniform numbers of the actions, ``[T, S, B, ...]``.
        noise: of the transitions, ``[T, S, B, w]``.
        segment: to write into.
    """
    x, h = scratch(policy, running.state.shape[1])
    fresh = np.empty(running.width)
    for s in range(first, last):
        play_row(s, 0, len(u), numbers, running, policy, scaling, u, noise, segment, x, h, fresh)


def play(
    numbers: Any,
    running: RunningArrays,
    policy: Any,
    scaling: Scaling,
    u: NDArray[np.float64],
    noise: NDArray[np.float64],
) -> SegmentArrays:
    """Play a segment of every row; arguments as of ``play_rows``."""
    segment = SegmentArrays.empty(running.state, len(u))
    rows, copies = running.elapsed.shape
    at_once = max(ROWS_WORK // (len(u) * copies), 1)
    for first in range(0, rows, at_once):
        play_rows(first, min(first + at_once, rows), numbers, running, policy, scaling, u, noise, segment)
    return segment
