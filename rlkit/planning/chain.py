"""The Markov chain that a policy of actions makes of an MDP.

``scipy.sparse.csgraph`` and ``.linalg`` are imported where they are used, here and elsewhere in ``planning``: they load
scipy.linalg, 10 MB that sweeps do not need.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from rlkit.mdp import TabularMDP


class Chain(NamedTuple):
    """``V = reward + gamma continuation V`` for one policy."""

    reward: NDArray[np.float64]  # [N], mean reward of a step
    continuation: sparse.csr_array  # [N, N], probability of going on to each state


def policy_chain(mdp: TabularMDP, policy: NDArray[np.integer[Any]]) -> Chain:
    """The chain of actions ``policy [N]``; entries of the same successor are not added up."""
    states = np.arange(mdp.num_states)
    arrival, probability = mdp.arrival[states, policy], mdp.probability[states, policy]  # [N, K]
    going_on = arrival < mdp.num_states
    row_pointers = np.concatenate([[0], np.cumsum(np.count_nonzero(going_on, axis=1))]).astype(np.int32)
    shape = (mdp.num_states, mdp.num_states)
    matrix = sparse.csr_array((probability[going_on], arrival[going_on], row_pointers), shape=shape)
    return Chain(mdp.expected_reward[states, policy], matrix)


def strong_components(graph: sparse.csr_array) -> NDArray[np.int32]:
    """The strongly connected component of every node of a graph ``[N, N]``, numbered from 0, ``[N]``."""
    from scipy.sparse import csgraph

    _, label = csgraph.connected_components(graph, directed=True, connection="strong")
    return np.asarray(label)
