"""Random finite MDPs, for tests and for comparing solvers.

Sources: ``garnet`` is Archibald, McKinnon & Thomas 1995, "On the Generation of Markov Decision Processes", Journal of
the Operational Research Society 46, in the form of Bhatnagar, Sutton, Ghavamzadeh & Lee 2009, "Natural Actor-Critic
Algorithms", Automatica 45. Rows of probabilities are uniform spacings (Devroye 1986, "Non-Uniform Random Variate
Generation", chapter V). ``dense_random``, ``layered`` and ``random_grid`` are rlkit's own.
"""

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
    """Draw a Garnet(N, A, K) (Archibald, McKinnon & Thomas 1995; Bhatnagar et al. 2009, section 6).

    Every state and action has ``num_successors`` different successors, drawn uniformly; their probabilities are the
    gaps between sorted uniform numbers. Rewards belong to (state, action): standard normal with probability
    ``reward_density``, else 0. Unlike the sources, each outcome may end the episode, with probability ``ending``.

    Args:
        num_states: number of states N.
        num_actions: number of actions A.
        num_successors: number of successors K of a state and action.
        rng: source of randomness.
        ending: probability that an outcome ends the episode.
        reward_density: probability that a reward is not 0.

    Raises:
        ValueError: no generator; a size that is not positive; more successors than states; a probability outside
            [0, 1].
    """
    _verify(rng, num_states, num_actions, ending, reward_density)
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
    """Draw an MDP in which every state is a successor of every state and action.

    Probabilities of a row are Dirichlet(1, ..., 1), the reward of each outcome is uniform in [0, 1], and nothing ends.

    Args:
        num_states: number of states N.
        num_actions: number of actions A.
        rng: source of randomness.

    Raises:
        ValueError: no generator, or a size that is not positive.
    """
    _verify(rng, num_states, num_actions)
    shape = (num_states, num_actions, num_states)
    successor = np.broadcast_to(np.arange(num_states), shape)
    ends = np.zeros(shape, np.bool_)
    return TabularMDP(successor, _gaps(rng, shape), rng.random(shape), ends, name=f"dense({num_states}, {num_actions})")


def layered(num_layers: int, width: int, num_actions: int, rng: np.random.Generator) -> TabularMDP:
    """Draw an MDP of layers of ``width`` states; each action leads to two random states of the next layer.

    An episode starts in the first layer and ends when the last one is left, after exactly ``num_layers`` steps. So
    values exist for gamma = 1 too, and one sweep over the states in reverse finds them. Rewards are standard normal.

    Args:
        num_layers: number of layers.
        width: states per layer.
        num_actions: number of actions A.
        rng: source of randomness.

    Raises:
        ValueError: no generator, or a size that is not positive.
    """
    _verify(rng, num_layers * width, num_actions)
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
    """Draw a map with a goal of reward 1 in the last corner, and random holes and walls.

    A move slips to one of its two sides with probability ``slip`` in all; 2/3 is that of gymnasium's FrozenLake. The
    problem is meant for solvers: the goal may be out of reach (``rlkit.envs.random_map`` draws maps to learn on).

    Args:
        rows: height of the map.
        columns: width of the map.
        rng: source of randomness.
        holes: probability that a tile is a hole.
        walls: probability that a tile is a wall.
        slip: probability of a slip.

    Raises:
        ValueError: no generator, a size that is not positive, or a probability outside [0, 1].
    """
    _verify(rng, rows * columns, 4, holes, walls)
    goal = np.zeros((rows, columns), np.bool_)
    goal[-1, -1] = True
    scattered = rng.random((2, rows, columns))
    hole, wall = (scattered[0] < holes) & ~goal, (scattered[1] < walls) & ~goal
    hole[0, 0] = wall[0, 0] = False
    chances = (1 - slip, slip / 2, 0.0)
    return GridMDP(~wall, goal | hole, goal.astype(np.float64), chances=chances, name=f"random grid {rows} x {columns}")


def _gaps(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw rows of probabilities, uniformly among all such rows: the gaps between sorted uniform numbers."""
    cuts = np.sort(rng.random((*shape[:-1], shape[-1] - 1)), axis=-1)
    edges = np.concatenate([np.zeros((*shape[:-1], 1)), cuts, np.ones((*shape[:-1], 1))], axis=-1)
    return np.diff(edges, axis=-1)


def _verify(rng: np.random.Generator, num_states: int, num_actions: int, *probabilities: float) -> None:
    """Raise ValueError unless there is a generator, sizes are positive and probabilities lie in [0, 1]."""
    if not isinstance(rng, np.random.Generator):
        raise ValueError(f"rng must be a numpy Generator, got {rng!r:.80}: pass numpy.random.default_rng(0)")
    if num_states < 1 or num_actions < 1:
        raise ValueError(f"{num_states} states and {num_actions} actions: give at least one of each")
    for probability in probabilities:
        if not 0 <= probability <= 1:
            raise ValueError(f"probability {probability}: give a number from 0 to 1")
