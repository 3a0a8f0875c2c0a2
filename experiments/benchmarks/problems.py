"""The finite problems that exact solvers are timed on, with certified values to hold every answer to."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import NamedTuple

import gymnasium
import numpy as np

from rlkit.mdp import GridMDP, TabularMDP
from rlkit.planning import Solution, policy_iteration, solve

TRUE_ERROR = 1e-6  # asked of every solver


class Instance(NamedTuple):
    """A problem to be timed."""

    name: str
    table: TabularMDP  # without its map
    grid: GridMDP | None
    gamma: float

    def error(self, value: np.ndarray) -> float:
        """The largest distance of ``value [N]`` from V* that the certified bounds leave possible."""
        known = _bounds(self)
        return float(np.maximum(value - known.lower, known.upper - value).max(axis=0))


@functools.lru_cache(maxsize=2)
def _bounds(instance: Instance) -> Solution:
    """Bounds closer than a hundredth of the error, or as close as policy iteration brings them."""
    try:
        return solve(instance.table if instance.grid is None else instance.grid, instance.gamma, TRUE_ERROR / 100)
    except ValueError:  # values too large for float64 sweeps to certify this
        return policy_iteration(instance.table, instance.gamma)


def goal_grid(size: int, seed: int = 0) -> GridMDP:
    """size x size tiles, slip 1/3 to each side, a goal of reward 1 in a corner, 5 % holes."""
    goal = np.zeros((size, size), np.bool_)
    goal[-1, -1] = True
    holes = (np.random.default_rng(seed).random(goal.shape) < 0.05) & ~goal
    holes[0, 0] = False
    return GridMDP(np.ones_like(goal), goal | holes, goal.astype(np.float64), chances=(1 / 3, 1 / 3, 0.0))


def slow_grid(size: int, seed: int = 0) -> GridMDP:
    """size x size slippery tiles without an end, a reward in [0, 1] on every tile."""
    everywhere = np.ones((size, size), np.bool_)
    rewards = np.random.default_rng(seed).random(everywhere.shape)
    return GridMDP(everywhere, ~everywhere, step_reward=rewards, chances=(1 / 3, 1 / 3, 0.0))


def garnet_table(states: int, actions: int, successors: int, seed: int = 0) -> TabularMDP:
    """A Garnet (Archibald et al. 1995): random successors, random chances, a reward in [0, 1] for each action."""
    rng = np.random.default_rng(seed)
    shape = (states, actions, successors)
    reward = np.repeat(rng.random(shape[:2])[:, :, None], successors, axis=2)
    chances = rng.dirichlet(np.ones(successors), shape[:2])
    return TabularMDP(rng.integers(0, states, shape), chances, reward, np.zeros(shape, np.bool_))


def without_map(grid: GridMDP) -> TabularMDP:
    """The table alone, so that a solver cannot use the map."""
    return dataclasses.replace(grid.tabular, name="without its map")


def instances(sizes: tuple[int, ...] = (100, 300)) -> Iterator[Instance]:
    """The instances of the published comparison, seven draws of one that mixes slowly, and two well-known problems."""
    for env_id in ("FrozenLake-v1", "Taxi-v4"):
        yield Instance(env_id, TabularMDP.from_gymnasium(gymnasium.make(env_id)), None, 0.99)
    for size in sizes:
        grid = goal_grid(size)
        table = without_map(grid)
        for gamma in (0.99, 0.999):
            yield Instance(f"grid {size} x {size}", table, grid, gamma)
    table = garnet_table(10_000, 10, 10)
    for gamma in (0.99, 0.999):
        yield Instance("Garnet 10k x 10 x 10", table, None, gamma)
    for draw in range(7):
        grid = slow_grid(100, draw)
        yield Instance(f"slow grid 100 x 100, draw {draw}", without_map(grid), grid, 0.9999)
