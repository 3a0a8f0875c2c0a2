"""Which states a policy visits in a finite problem, and in which share of them its action is optimal."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.envs.gridtable import reachable
from rlkit.mdp import TabularMDP
from rlkit.planning.chain import policy_chain

Floats = NDArray[np.float64]


class Shares(NamedTuple):
    """The probability that an action is optimal, by how the state is chosen."""

    visited: float  # by the policy, in an episode of the step limit
    perturbed: float  # by one uniform random action from a visited state
    everywhere: float  # uniformly among the states that can be reached


def agreement(mdp: TabularMDP, policy: NDArray[np.integer[Any]], optimal: NDArray[np.bool_]) -> Shares:
    """Return the shares of states in which the actions ``policy [N]`` are among the ``optimal [N, A]``."""
    right = optimal[np.arange(mdp.num_states), policy]
    visits = occupancy(mdp, policy)
    everywhere = (reachable(mdp) & ~mdp.ended).astype(np.float64)
    weights = visits, after_random_action(mdp, visits), everywhere
    return Shares(*(float(weight @ right / weight.sum(axis=0)) for weight in weights))


def occupancy(mdp: TabularMDP, policy: NDArray[np.integer[Any]]) -> Floats:
    """Return the expected number of actions that the policy takes in every state in an episode, ``[N]``."""
    assert mdp.max_steps is not None
    continuation = policy_chain(mdp, policy).continuation
    where, visits = np.array(mdp.start), np.zeros(mdp.num_states)
    for _ in range(mdp.max_steps):
        visits += where
        where = where @ continuation
    return visits


def after_random_action(mdp: TabularMDP, visits: Floats) -> Floats:
    """Return where one uniform random action leads from visited states, ``[N]``; ended episodes are left out."""
    actions = range(mdp.num_actions)
    chains = [policy_chain(mdp, np.full(mdp.num_states, action)).continuation for action in actions]
    return np.asarray(sum(visits @ chain for chain in chains) / mdp.num_actions)
