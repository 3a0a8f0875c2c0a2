"""Finite problems with known answers, random ones, and the checks that every solution has to pass."""

from __future__ import annotations

import math
from fractions import Fraction

import gymnasium
import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

from rlkit.compiled import jit
from rlkit.mdp import GridMDP, Outcome, TabularMDP
from rlkit.planning import Solution

Array = NDArray[np.float64]


Rational = list[Fraction]


FROZEN_LAKE = TabularMDP.from_gymnasium(gymnasium.make("FrozenLake-v1"))


FROZEN_LAKE_8X8 = TabularMDP.from_gymnasium(gymnasium.make("FrozenLake8x8-v1"))


CLIFF = TabularMDP.from_gymnasium(gymnasium.make("CliffWalking-v1"))


TAXI = TabularMDP.from_gymnasium(gymnasium.make("Taxi-v4"))


def rational_q(mdp: TabularMDP, value: Rational, gamma: float) -> list[Rational]:
    """The backup ``q[s][a]`` without rounding; minus infinity, a float, for an action that the state does not have."""

    def expected(outcomes: list[Outcome] | None) -> Fraction:
        if outcomes is None:
            return -math.inf  # type: ignore[return-value]
        return sum(
            (
                Fraction(p) * (Fraction(reward) + (0 if ends else Fraction(gamma) * value[successor]))
                for p, successor, reward, ends in outcomes
            ),
            Fraction(0),
        )

    return [[expected(outcomes) for outcomes in actions.values()] for actions in mdp.to_gymnasium().values()]


def rational_value(mdp: TabularMDP, policy: Array, gamma: float) -> Rational:
    """The value of probabilities ``[N, A]`` by Gauss-Jordan elimination of ``(I - gamma P) V = r``."""
    n = mdp.num_states
    rows = [[Fraction(int(i == j)) for j in range(n)] + [Fraction(0)] for i in range(n)]
    for state, actions in mdp.to_gymnasium().items():
        for action, outcomes in actions.items():
            share = Fraction(float(policy[state, action]))
            for p, successor, reward, ends in outcomes or ():
                rows[state][n] += share * Fraction(p) * Fraction(reward)
                rows[state][successor] -= 0 if ends else share * Fraction(p) * Fraction(gamma)
    for column in range(n):
        pivot = next(i for i in range(column, n) if rows[i][column] != 0)
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [x / rows[column][column] for x in rows[column]]
        for i in range(n):
            if i != column and rows[i][column] != 0:
                factor = rows[i][column]
                rows[i] = [x - factor * y for x, y in zip(rows[i], rows[column], strict=True)]
    return [row[n] for row in rows]


def rational_optimum(mdp: TabularMDP, gamma: float) -> Rational:
    """V* by policy iteration without rounding: improvements are strict, so it ends at the optimum."""
    policy = mdp.available.argmax(axis=1)
    while True:
        value = rational_value(mdp, np.eye(mdp.num_actions)[policy], gamma)
        q = rational_q(mdp, value, gamma)
        better = [s for s in range(mdp.num_states) if max(q[s]) > q[s][policy[s]]]
        if not better:
            return value
        for state in better:
            policy[state] = q[state].index(max(q[state]))


def assert_encloses(lower: Array, upper: Array, exact: Rational) -> None:
    """``lower <= exact <= upper`` in rational arithmetic: no slack at all."""
    for low, middle, high in zip(lower, exact, upper, strict=True):
        assert Fraction(float(low)) <= middle <= Fraction(float(high))


@st.composite
def mdps(draw: st.DrawFn, always_may_end: bool = False, differing_actions: bool = False) -> TabularMDP:
    """Small MDPs with ties, duplicate successors, unreachable states, self-loops and any mixture of endings.

    With ``differing_actions`` half of them have states that lack some of the actions.
    """
    n, a, k = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    weight = draw(st.lists(st.integers(0, 4), min_size=n * a * k, max_size=n * a * k))
    weights = np.array(weight, np.float64).reshape(n, a, k)
    weights[..., 0] += weights.sum(axis=2) == 0
    rewards = st.sampled_from([0.0, 0.0, 1.0, -1.0, 0.1, -2.5])
    shape = (n, a, k)
    reward = np.array(draw(st.lists(rewards, min_size=n * a * k, max_size=n * a * k))).reshape(shape)
    successor = draw(st.lists(st.integers(0, n - 1), min_size=n * a * k, max_size=n * a * k))
    ends = np.array(draw(st.lists(st.booleans(), min_size=n * a * k, max_size=n * a * k))).reshape(shape)
    if draw(st.booleans()):
        ends[:] = False
    if always_may_end:
        ends[..., 0] = True
        weights[..., 0] += 1
    probability = weights / weights.sum(axis=2, keepdims=True)
    available = None
    if differing_actions and draw(st.booleans()):
        available = np.array(draw(st.lists(st.booleans(), min_size=n * a, max_size=n * a))).reshape(n, a)
        available[:, -1] |= ~available.any(axis=1)
    return TabularMDP(np.array(successor).reshape(shape), probability, reward, ends, available=available)


gammas = st.sampled_from([0.0, 0.5, 0.9, 0.99, 0.99999])


def chain(length: int) -> TabularMDP:
    """A line walked to its end for a reward of 1, ``length`` states, with a choice of staying."""
    return TabularMDP.from_transitions(
        [
            [[(1.0, s, 0.0, False)], [(1.0, min(s + 1, length - 1), float(s == length - 1), s == length - 1)]]
            for s in range(length)
        ]
    )


def russell_norvig() -> TabularMDP:
    """The 4x3 world: 0.8 forward, 0.1 to each side, step cost -0.04, states +1 and -1 that end on leaving them."""
    cells = [(row, column) for row in range(3) for column in range(4) if (row, column) != (1, 1)]
    moves = [(0, -1), (1, 0), (0, 1), (-1, 0)]

    def arrive(cell: tuple[int, int], direction: int) -> int:
        target = (cell[0] + moves[direction][0], cell[1] + moves[direction][1])
        return cells.index(target if target in cells else cell)

    def outcomes(cell: tuple[int, int], action: int) -> list[tuple[float, int, float, bool]]:
        if cell in ((0, 3), (1, 3)):
            return [(1.0, cells.index(cell), 1.0 if cell[0] == 0 else -1.0, True)]
        turns = ((0.8, action), (0.1, (action + 1) % 4), (0.1, (action + 3) % 4))
        return [(p, arrive(cell, direction), -0.04, False) for p, direction in turns]

    return TabularMDP.from_transitions([[outcomes(cell, action) for action in range(4)] for cell in cells])


def assert_certified(mdp: TabularMDP, solution: Solution, exact: Rational) -> None:
    """The reported policy loses no more than stated, and no optimal action is missing, both without rounding."""
    own = rational_value(mdp, np.eye(mdp.num_actions)[solution.policy], solution.gamma)
    loss = max(best - earned for best, earned in zip(exact, own, strict=True))
    assert 0 <= loss <= Fraction(solution.policy_loss_bound)
    for row, kept in zip(rational_q(mdp, exact, solution.gamma), solution.optimal_actions, strict=True):
        assert all(kept[action] for action, q in enumerate(row) if q == max(row))
    assert solution.optimal_actions[np.arange(mdp.num_states), solution.policy].all()


needs_numba = pytest.mark.skipif(not jit.COMPILED, reason="numba is not installed")


@st.composite
def grids(draw: st.DrawFn) -> GridMDP:
    """Small maps with walls, endings, rewards of every kind and any slip."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    size = shape[0] * shape[1]

    def tiles(strategy: st.SearchStrategy) -> np.ndarray:
        return np.array(draw(st.lists(strategy, min_size=size, max_size=size))).reshape(shape)

    is_open = tiles(st.sampled_from([True, True, True, False]))
    is_open[0, 0] = True
    rewards = st.sampled_from([0.0, 0.0, 1.0, -1.0, 0.1])
    slip = draw(st.sampled_from([0.0, 0.2, 2 / 3, 1.0]))
    sideways, uniform = (1 - slip, slip / 2, 0.0), (1 - 3 * slip / 4, slip / 4, slip / 4)
    return GridMDP(
        is_open,
        tiles(st.sampled_from([False, False, False, True])),
        entry_reward=tiles(rewards),
        step_reward=draw(st.sampled_from([0.0, -0.04])) if draw(st.booleans()) else tiles(rewards),
        bump_reward=draw(st.sampled_from([0.0, -0.3])),
        chances=draw(st.sampled_from([sideways, uniform])),
    )


def slippery(n: int, terminals: bool = True, seed: int = 0) -> GridMDP:
    """n x n tiles, slip 1/3 to each side; a goal in the corner and 5 % holes, or rewards in [0, 1] and no end."""
    rng = np.random.default_rng(seed)
    everywhere, goal = np.ones((n, n), bool), np.zeros((n, n), bool)
    if not terminals:
        return GridMDP(everywhere, goal, step_reward=rng.random((n, n)), chances=(1 / 3, 1 / 3, 0.0))
    goal[-1, -1] = True
    holes = (rng.random((n, n)) < 0.05) & ~goal
    return GridMDP(everywhere, goal | holes, entry_reward=goal.astype(float), chances=(1 / 3, 1 / 3, 0.0))


Floats = NDArray[np.float64]


def walk(state: Floats, action: NDArray[np.int64]) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """One to the left or right; stepping beyond 9.5 pays 1 and ends."""
    ahead = state + (2 * action - 1)[:, None]
    over = ahead[:, 0] > 9.5
    return ahead, over.astype(np.float64), over
