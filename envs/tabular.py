"""Any finite MDP as an environment that samples the very table its exact solution is computed from.

A finite MDP needs no separate dynamics: a step looks up the cumulative probabilities of (state, action) and
inverts them at the uniform number u, the textbook inverse-transform method (Devroye 1986, section III.2).
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.mdp import TabularMDP

from .dynamics import Array

# An outcome as 16 bytes, which torch reads in one operation: bytes 0 to 7, 8 to 11, and 12.
RECORD = np.dtype([("successor", np.int64), ("reward", np.float32), ("terminated", np.bool_)], align=True)


class _Tables(NamedTuple):
    """The arrays that a step in numpy reads. Entry k of (s, a) lies at (s A + a) K + k."""

    cumulative: NDArray[np.float64]  # [K - 1, N * A]; the K-th is 1, never exceeded
    successor: NDArray[np.int64]  # [N * A * K]
    reward: NDArray[np.float64]  # [N * A * K]
    terminated: NDArray[np.bool_]  # [N * A * K]
    start_state: NDArray[np.int64]  # [M], the states an episode may start in
    start_cumulative: NDArray[np.float64]  # [M - 1]
    features: NDArray | None  # [N, *observation_space.shape], None if the state's index is observed


class _TorchTables(NamedTuple):
    """The tensors that a step in torch reads, on one device. A field without a shape has that of ``_Tables``."""

    cumulative: torch.Tensor  # [N * A, K - 1]
    outcomes: torch.Tensor  # [N * A * K, 16] uint8, see ``RECORD``
    start_state: torch.Tensor
    start_cumulative: torch.Tensor
    features: torch.Tensor | None


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
        self._tensors: dict[torch.device, _TorchTables] = {}

    def initial(self, u: Array) -> Array:
        """First state of an episode: u ``[..., 1]`` -> state ``[..., 1]``."""
        if isinstance(u, torch.Tensor):
            tensors = self._tensors_on(u.device)
            return tensors.start_state.take(torch.searchsorted(tensors.start_cumulative, u.contiguous(), right=True))
        return self.tables.start_state.take(np.searchsorted(self.tables.start_cumulative, u, side="right"))

    def transition(self, state: Array, action: Array, u: Array) -> tuple[Array, Array, Array]:
        """State ``[..., 1]``, action ``[...]``, u ``[..., 1]`` -> (next state ``[..., 1]`` int64, reward ``[...]``
        float64, in torch float32, terminated ``[...]`` bool)."""
        if isinstance(state, torch.Tensor):
            return self._torch_step(state, action, u)
        tables = self.tables
        row = action + self.mdp.num_actions * state[..., 0]  # [...]
        entry = row
        if self.mdp.num_successors > 1:
            # how many cumulative probabilities are <= u
            entry = (tables.cumulative.take(row, axis=1) <= u[..., 0]).sum(axis=0) + self.mdp.num_successors * row
        return tables.successor.take(entry)[..., None], tables.reward.take(entry), tables.terminated.take(entry)

    def _torch_step(
        self, state: torch.Tensor, action: torch.Tensor, u: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``transition`` in the operations, and with the layout of tables, that torch is fast on."""
        tensors = self._tensors_on(state.device)
        entry = torch.add(action, state[..., 0], alpha=self.mdp.num_actions)  # [...]
        if self.mdp.num_successors > 1:
            outcome = torch.searchsorted(tensors.cumulative[entry], u.contiguous(), right=True)[..., 0]
            entry = torch.add(outcome, entry, alpha=self.mdp.num_successors)
        found = tensors.outcomes[entry]  # [..., 16]
        successor, reward, terminated = (found.view(dtype) for dtype in (torch.int64, torch.float32, torch.bool))
        return successor[..., :1], reward[..., 2], terminated[..., 12]

    def observe(self, state: Array) -> Array:
        """What is seen of a state: ``[..., 1]`` -> ``[..., *observation_space.shape]``."""
        index = state[..., 0]  # [...]
        features = self._tensors_on(state.device).features if isinstance(state, torch.Tensor) else self._features
        return index if features is None else features[index]

    def observations(self) -> NDArray:
        """What is seen of every state, ``[N, *observation_space.shape]``: a trained network's input to compare its
        values with the exact ones. Not to be written to."""
        return np.arange(self.mdp.num_states) if self._features is None else self._features

    @cached_property
    def tables(self) -> _Tables:
        """The arrays that a step in numpy reads."""
        return _flat_tables(self.mdp, self._features)

    def _tensors_on(self, device: torch.device) -> _TorchTables:
        """The tensors that a step reads on a device, made at the first call for it."""
        if device not in self._tensors:
            self._tensors[device] = _on_device(self.tables, device)
        return self._tensors[device]


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


def _on_device(tables: _Tables, device: torch.device) -> _TorchTables:
    """The tables as tensors, with the layout that torch is fast on."""
    records = np.zeros(len(tables.successor), RECORD)
    for name in RECORD.names or ():
        records[name] = getattr(tables, name)

    def tensor(array: NDArray) -> torch.Tensor:
        return torch.tensor(array, device=device)

    return _TorchTables(
        cumulative=tensor(np.ascontiguousarray(tables.cumulative.T)),
        outcomes=tensor(records.view(np.uint8).reshape(len(records), -1)),
        start_state=tensor(tables.start_state),
        start_cumulative=tensor(tables.start_cumulative),
        features=None if tables.features is None else tensor(tables.features),
    )


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
