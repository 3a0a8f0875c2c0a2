"""Any finite MDP as an environment that samples the very table its exact solution is computed from.

A finite MDP needs no separate dynamics: a step looks up the cumulative probabilities of (state, action) and
inverts them at the uniform number u, the textbook inverse-transform method (Devroye 1986, section III.2).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.mdp import TabularMDP

from .dynamics import Array


class _Tables(NamedTuple):
    """What a step reads: numpy arrays, or tensors of one device. Entry k of (s, a) lies at (s A + a) K + k."""

    cumulative: Array  # float64, [K - 1, N * A] in numpy and [N * A, K - 1] in torch; the K-th is 1, never exceeded
    successor: Array  # [N * A * K] int64
    reward: Array  # [N * A * K] float64
    terminated: Array  # [N * A * K] bool
    start_state: Array  # [M] int64, the states an episode may start in
    start_cumulative: Array  # [M - 1] float64
    features: Array | None  # [N, *observation_space.shape], None if the state's index is observed


class TabularDynamics:
    """The dynamics (see ``Dynamics``) of a finite ``mdp``, for numpy arrays and torch tensors of any device.

    The state is the index of the MDP's state, ``[..., 1]`` int64. Outcome k of (s, a) is the number of cumulative
    probabilities that are <= u, so an outcome of probability 0 is never drawn, and numpy and torch agree exactly.
    One number is drawn for a start and one for a step, also where there is nothing to choose.

    What is seen is the state's index, or with ``features`` ``[N, *shape]`` the row of the state. A feature table
    needs its ``observation_space``.

    Raises:
        ValueError: features whose rows are not the MDP's states or do not fit ``observation_space``.
    """

    initial_noise = 1
    transition_noise = 1

    def __init__(
        self,
        mdp: TabularMDP,
        features: NDArray | None = None,
        observation_space: spaces.Space | None = None,
    ) -> None:
        self.mdp = mdp
        self.max_steps = mdp.max_steps
        self.action_space = spaces.Discrete(mdp.num_actions)
        self.observation_space = _observation_space(mdp, features, observation_space)
        self._features = features
        self._tables: dict[torch.device | None, _Tables] = {}  # by device; None holds the numpy arrays

    def initial(self, u: Array) -> Array:
        """First state of an episode: u ``[..., 1]`` -> state ``[..., 1]``."""
        tables = self._tables_for(u)
        if isinstance(u, torch.Tensor):
            return tables.start_state.take(torch.searchsorted(tables.start_cumulative, u.contiguous(), right=True))
        return tables.start_state.take(np.searchsorted(tables.start_cumulative, u, side="right"))

    def transition(self, state: Array, action: Array, u: Array) -> tuple[Array, Array, Array]:
        """State ``[..., 1]``, action ``[...]``, u ``[..., 1]`` -> (next state ``[..., 1]`` int64, reward ``[...]``
        float64, terminated ``[...]`` bool)."""
        tables = self._tables_for(state)
        row = _plus_multiple(action, state[..., 0], self.mdp.num_actions)  # [...]
        entry = row
        if self.mdp.num_successors > 1:
            outcome = _chosen_outcome(tables.cumulative, row, u)
            entry = _plus_multiple(outcome, row, self.mdp.num_successors)
        return tables.successor.take(entry)[..., None], tables.reward.take(entry), tables.terminated.take(entry)

    def observe(self, state: Array) -> Array:
        """What is seen of a state: ``[..., 1]`` -> ``[..., *observation_space.shape]``."""
        index = state[..., 0]  # [...]
        features = self._tables_for(state).features
        return index if features is None else features[index]

    def observations(self) -> NDArray:
        """What is seen of every state, ``[N, *observation_space.shape]``: a trained network's input to compare its
        values with the exact ones. Not to be written to."""
        return np.arange(self.mdp.num_states) if self._features is None else self._features

    @property
    def tables(self) -> _Tables:
        """The arrays that a step in numpy reads."""
        return self._tables_for(np.zeros(0))

    def _tables_for(self, like: Array) -> _Tables:
        """The tables where ``like`` lives, made at the first call for its device."""
        device = like.device if isinstance(like, torch.Tensor) else None
        tables = self._tables.get(device)
        if tables is None:
            tables = _flat_tables(self.mdp, self._features)
            if device is not None:
                tables = _on_device(tables, device)
            self._tables[device] = tables
        return tables


def _plus_multiple(x: Array, y: Array, factor: int) -> Array:
    """x + factor y; in torch one operation."""
    return torch.add(x, y, alpha=factor) if isinstance(x, torch.Tensor) else x + factor * y


def _chosen_outcome(cumulative: Array, row: Array, u: Array) -> Array:
    """How many cumulative probabilities of a row are <= u: row ``[...]``, u ``[..., 1]`` -> ``[...]`` int64.

    Both ways give the same number; each is the fastest of its library, whence the two layouts of the table.
    """
    if isinstance(u, torch.Tensor):
        return torch.searchsorted(cumulative[row], u.contiguous(), right=True)[..., 0]
    return (cumulative.take(row, axis=1) <= u[..., 0]).sum(axis=0)


def _cumulative(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cumulative probabilities along the last axis, exactly 1 from the last positive entry on: rounding in the sum
    must not leave a gap below 1 through which an outcome of probability 0 is drawn."""
    width = probability.shape[-1]
    last_positive = width - 1 - np.argmax(probability[..., ::-1] > 0, axis=-1)  # [...]
    complete = np.arange(width) >= last_positive[..., None]  # [..., K]
    return np.where(complete, 1.0, np.minimum(np.cumsum(probability, axis=-1), 1.0))


def _flat_tables(mdp: TabularMDP, features: NDArray | None) -> _Tables:
    """The tables in numpy; rewards and flags are views of the MDP's own arrays. States are int64, as indices are."""
    rows, width = mdp.num_states * mdp.num_actions, mdp.num_successors
    start_state = np.flatnonzero(mdp.start)
    return _Tables(
        cumulative=np.ascontiguousarray(_cumulative(mdp.probability.reshape(rows, width))[:, :-1].T),
        successor=mdp.successor.reshape(-1).astype(np.int64),
        reward=mdp.reward.reshape(-1),
        terminated=mdp.terminated.reshape(-1),
        start_state=start_state,
        start_cumulative=_cumulative(mdp.start[start_state])[:-1],
        features=features,
    )


def _on_device(tables: _Tables, device: torch.device) -> _Tables:
    """The tables as tensors, with the layout that torch is fast on."""
    rows_first = tables._replace(cumulative=np.ascontiguousarray(tables.cumulative.T))
    return _Tables(*(None if table is None else torch.tensor(table, device=device) for table in rows_first))


def _observation_space(
    mdp: TabularMDP, features: NDArray | None, observation_space: spaces.Space | None
) -> spaces.Space:
    """The space of what is seen, checked against the features."""
    if features is None:
        if observation_space is not None:
            raise ValueError(f"observation_space {observation_space} without features: pass the feature table too")
        return spaces.Discrete(mdp.num_states)
    if len(features) != mdp.num_states:
        raise ValueError(f"features have {len(features)} rows: give one row for each of the {mdp.num_states} states")
    if observation_space is None:
        raise ValueError("features without observation_space: pass the space their rows belong to")
    if observation_space.shape != features.shape[1:] or observation_space.dtype != features.dtype:
        raise ValueError(
            f"features are {features.dtype} of shape {features.shape[1:]} per state and observation_space is "
            f"{observation_space}: make them agree"
        )
    return observation_space
