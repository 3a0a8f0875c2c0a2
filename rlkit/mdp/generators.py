"""Random finite MDPs, for tests and for comparing solvers."""

from __future__ import annotations

import numpy as np

from .grid import GridMDP
from .tabular import TabularMDP


def garnet(
    num_states: int,
    num_actions: int,
    num_successors: int,
    rng: np.random.Generator,
    ending: float = 0.0,
    reward_density: float = 1.0,
) -> TabularMDP:
    """A Garnet: ``num_successors`` different successors of every state and action, with random chances.

    The chances are the gaps between sorted uniform numbers; a state's action pays a normal reward with probability
    ``reward_density``, else nothing (Archibald, McKinnon & Thomas 1995; Bhatnagar et al. 2009, section 6). Every
    outcome ends the episode with probability ``ending``.

    Raises:
        ValueError: sizes that are not positive, more successors than states, probabilities outside [0, 1].
    """
    _verify(num_states, num_actions, ending, reward_density)
    if not 1 <= num_successors <= num_states:
        raise ValueError(f"num_successors {num_successors}: give a number from 1 to num_states, {num_states}")
    rows = num_states * num_actions
    successor = np.empty((rows, num_successors), np.int64)
    for row in range(rows):
        successor[row] = rng.choice(num_states, num_successors, replace=False, shuffle=False)
    shape = (num_states, num_actions, num_successors)
    paying = rng.random(shape[:2]) < reward_density
    means = np.where(paying, rng.normal(size=shape[:2]), 0.0)
    return TabularMDP(
        successor.reshape(shape),
        _gaps(rng, shape),
        np.repeat(means[:, :, None], num_successors, axis=2),
        rng.random(shape) < ending,
        name=f"garnet({num_states}, {num_actions}, {num_successors})",
    )


def dense_random(num_states: int, num_actions: int, rng: np.random.Generator) -> TabularMDP:
    """Every state a successor of every other, Dirichlet(1) chances, rewards in [0, 1] of each outcome."""
    _verify(num_states, num_actions, 0.0, 1.0)
    shape = (num_states, num_actions, num_states)
    successor = np.broadcast_to(np.arange(num_states), shape)
    ends = np.zeros(shape, np.bool_)
    return TabularMDP(successor, _gaps(rng, shape), rng.random(shape), ends, name=f"dense({num_states}, {num_actions})")


def layered(num_layers: int, width: int, num_actions: int, rng: np.random.Generator) -> TabularMDP:
    """States in layers, each action to two random states of the next layer; leaving the last one ends the episode.

    Episodes have exactly ``num_layers`` steps, so that gamma = 1 has a meaning and one sweep backwards solves it.
    """
    _verify(num_layers * width, num_actions, 0.0, 1.0)
    shape = (num_layers * width, num_actions, 2)
    layer = np.arange(shape[0])[:, None, None] // width
    last = layer == num_layers - 1
    successor = np.where(last, 0, (layer + 1) * width + rng.integers(0, width, shape))
    ends = np.broadcast_to(last, shape)
    start = np.repeat([1 / width, 0.0], [width, shape[0] - width])
    return TabularMDP(
        successor, _gaps(rng, shape), rng.normal(size=shape), ends, start=start, name=f"layered({num_layers}, {width})"
    )


def random_grid(
    rows: int, columns: int, rng: np.random.Generator, holes: float = 0.05, walls: float = 0.0, slip: float = 2 / 3
) -> GridMDP:
    """A map with a goal of reward 1 in the last corner, holes and walls scattered, and sideways slips in all of
    probability ``slip``."""
    _verify(rows * columns, 4, holes, walls)
    goal = np.zeros((rows, columns), np.bool_)
    goal[-1, -1] = True
    scattered = rng.random((2, rows, columns))
    hole, wall = (scattered[0] < holes) & ~goal, (scattered[1] < walls) & ~goal
    hole[0, 0] = wall[0, 0] = False
    chances = (1 - slip, slip / 2, 0.0)
    return GridMDP(~wall, goal | hole, goal.astype(np.float64), chances=chances, name=f"random grid {rows} x {columns}")


def _gaps(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Gaps between sorted uniform numbers: rows of probabilities, uniform over all such rows."""
    cuts = np.sort(rng.random((*shape[:-1], shape[-1] - 1)), axis=-1)
    edges = np.concatenate([np.zeros((*shape[:-1], 1)), cuts, np.ones((*shape[:-1], 1))], axis=-1)
    return np.diff(edges, axis=-1)


def _verify(num_states: int, num_actions: int, *probabilities: float) -> None:
    """Raise ValueError for sizes or probabilities that are none."""
    if num_states < 1 or num_actions < 1:
        raise ValueError(f"{num_states} states and {num_actions} actions: give at least one of each")
    for probability in probabilities:
        if not 0 <= probability <= 1:
            raise ValueError(f"probability {probability}: give a number from 0 to 1")
