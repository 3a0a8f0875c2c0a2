"""A finite Markov decision process as its table.

Letters: N states, A actions, K successors per state and action. The exact solvers of ``rlkit.planning`` read
the table, and simulators sample the same table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlkit.array_files import load_arrays
from rlkit.atomic_files import whole_file

if TYPE_CHECKING:
    from scipy import sparse  # imported where matrices are made: it takes as long as the rest of rlkit.agents

Outcome = tuple[float, int, float, bool]  # probability, successor, reward, terminated: gymnasium's order
Outcomes = Sequence[Sequence[Iterable[Outcome] | None]] | Mapping[int, Mapping[int, Iterable[Outcome] | None]]

SUM_TOLERANCE = 1e-9  # how far probabilities may sum from one
CHUNK = 2**14  # states looked at together
STORED = ("successor", "probability", "reward", "terminated", "start", "max_steps", "name", "available")


@dataclass(frozen=True, eq=False, repr=False, init=False)
class TabularMDP:
    """A finite MDP with at most K outcomes of every (state, action).

    ``terminated`` belongs to the transition, not to the successor: a state may be entered with and without the end of
    the episode. The value of a successor after a terminated transition is never read. Rewards keep their distribution:
    two outcomes may share a successor and differ in reward or flag. Rows with fewer than K outcomes are padded with
    entries of probability 0 (and, in the tables made here, successor 0, reward 0, not terminated).

    States may have different actions: ``available [N, A]`` says which. Rows that are given for other actions are
    ignored. The stored rows of these actions repeat the state's first available action, so that a simulator can step
    with any action; their expected reward is minus infinity, so that no solver takes one.

    The arrays are copied, verified and read-only. Row sums are accepted within 1e-9 of one and kept as given. Where a
    large table has the same probabilities in every state, as that of a slippery map has, they are stored once. ``name``
    is for reports.

    Raises:
        ValueError: an empty problem, shapes that disagree, a probability that is negative or not finite, a row or a
            start distribution that does not sum to one, a successor out of range, a reward that is not finite, a
            ``max_steps`` that is not a positive integer, a state without an available action.
    """

    successor: NDArray[np.int32]  # [N, A, K]
    probability: NDArray[np.float64]  # [N, A, K]
    reward: NDArray[np.float64]  # [N, A, K]
    terminated: NDArray[np.bool_]  # [N, A, K]
    start: NDArray[np.float64]  # [N], sums to one
    max_steps: int | None  # the step limit of an episode, None without one
    name: str
    available: NDArray[np.bool_]  # [N, A]

    def __init__(
        self,
        successor: ArrayLike,
        probability: ArrayLike,
        reward: ArrayLike,
        terminated: ArrayLike,
        start: ArrayLike | None = None,
        max_steps: int | None = None,
        name: str = "",
        available: ArrayLike | None = None,
    ) -> None:
        """Copy, verify and freeze the arrays; ``start=None`` means uniform over all states, ``available=None`` that
        every state has every action."""
        allowed = None if available is None else _verified_available(available, np.shape(probability))
        if allowed is not None and not allowed.all():
            successor, probability, reward, terminated = (
                _repeated(field, allowed) for field in (successor, probability, reward, terminated)
            )
        chances = frozen(probability, np.float64, "probability")
        if chances.ndim != 3 or 0 in chances.shape:
            raise ValueError(
                f"probability has shape {chances.shape}: expected [states, actions, successors], none of them empty"
            )
        num_states = chances.shape[0]
        given = np.asarray(successor)
        if given.shape == chances.shape:
            _verify_successors(given, num_states)  # before they become int32, which would wrap
        arrays = {
            "successor": frozen(successor, np.int32, "successor"),
            "probability": chances,
            "reward": frozen(reward, np.float64, "reward"),
            "terminated": frozen(terminated, np.bool_, "terminated"),
            "start": frozen(np.full(num_states, 1 / num_states) if start is None else start, np.float64, "start"),
        }
        for field, array in arrays.items():
            expected = (num_states,) if field == "start" else chances.shape
            if array.shape != expected:
                raise ValueError(f"{field} has shape {array.shape}: expected {expected}, to agree with probability")
            object.__setattr__(self, field, array)
        if allowed is None or allowed.all():
            allowed = np.broadcast_to(np.True_, chances.shape[:2])  # takes one byte
        object.__setattr__(self, "available", allowed)
        object.__setattr__(self, "max_steps", verified_limit(max_steps))
        object.__setattr__(self, "name", name)
        _verify_outcomes(self.probability, self.reward)
        object.__setattr__(self, "probability", _kept_once(self.probability))
        verify_start(self.start)

    @property
    def num_states(self) -> int:
        """N."""
        return int(self.probability.shape[0])

    @property
    def num_actions(self) -> int:
        """A."""
        return int(self.probability.shape[1])

    @property
    def num_successors(self) -> int:
        """K, padding included."""
        return int(self.probability.shape[2])

    @cached_property
    def expected_reward(self) -> NDArray[np.float64]:
        """Mean reward of every state and action, ``r(s, a) = sum_k p_k r_k``, ``[N, A]``, read-only; minus infinity for
        an action that the state does not have."""
        mean: NDArray[np.float64] = np.einsum("nak,nak->na", self.probability, self.reward)
        mean[~self.available] = -np.inf
        mean.flags.writeable = False
        return mean

    @property
    def ended(self) -> NDArray[np.bool_]:
        """The states in which an episode is over, ``[N]``: every action stays, ends the episode and pays nothing.
        Simulators never act in them."""
        here = np.arange(self.num_states)[:, None, None]
        over = self.terminated & (self.successor == here) & (self.reward == 0)
        return np.asarray((over | (self.probability == 0)).all(axis=(1, 2)))

    @cached_property
    def arrival(self) -> NDArray[np.int32]:
        """The index of the value that follows an outcome, ``[N, A, K]``, read-only: its successor, or N, an entry of
        value 0, where the episode ends or the outcome never happens."""
        where = np.full(self.probability.shape, self.num_states, np.int32)
        going_on = self.probability > 0
        going_on &= ~self.terminated
        np.copyto(where, self.successor, where=going_on, casting="same_kind")
        where.flags.writeable = False
        return where

    @cached_property
    def continuation(self) -> sparse.csr_array:
        """Probability of going on to every state, ``[N * A, N]`` sparse, row ``s * A + a``; not to be written to.

        Terminated transitions are absent, so a row sums to the probability that the episode does not end there.
        Entries of the same successor are not added up: a product rounds at most once per stored outcome and sum.
        """
        from scipy import sparse

        going_on = (self.probability > 0) & ~self.terminated  # [N, A, K]
        row_ends = np.cumsum(np.count_nonzero(going_on, axis=2).ravel())  # [N * A]
        row_pointers = np.concatenate([[0], row_ends])
        shape = (self.num_states * self.num_actions, self.num_states)
        return sparse.csr_array((self.probability[going_on], self.successor[going_on], row_pointers), shape=shape)

    @classmethod
    def from_transitions(
        cls,
        transitions: Outcomes,
        num_states: int | None = None,
        num_actions: int | None = None,
        start: ArrayLike | None = None,
        max_steps: int | None = None,
        name: str = "",
    ) -> TabularMDP:
        """Make the MDP whose outcomes of action a in state s are ``transitions[s][a]``, in gymnasium's order
        (probability, successor, reward, terminated).

        Outcomes are merged where successor, reward and flag all agree; those of probability 0 are dropped. None in
        place of the outcomes says that state s does not have action a. ``num_states`` and ``num_actions`` are read
        from ``transitions`` unless given. ``start=None`` means uniform.

        Raises:
            ValueError: a state or action without an entry; an outcome that is not four numbers, the successor an
                integer and the flag true or false; whatever the constructor refuses.
        """
        num_states = len(transitions) if num_states is None else num_states
        if num_states < 1 or len(transitions) != num_states:
            raise ValueError(f"{len(transitions)} states have transitions: expected {num_states}, and at least one")
        num_actions = len(_entry(transitions, 0, "state 0")) if num_actions is None else num_actions
        rows, available = [], []
        for state in range(num_states):
            actions = _entry(transitions, state, f"state {state}")
            if len(actions) != num_actions:
                raise ValueError(
                    f"state {state} has {len(actions)} actions and others have {num_actions}: give None in place of "
                    "the outcomes of an action that the state does not have"
                )
            for action in range(num_actions):
                where = f"state {state}, action {action}"
                outcomes = _entry(actions, action, where)
                available.append(outcomes is not None)
                rows.append(_merged(outcomes or (), where))
        width = max([1, *(len(row) for row in rows)])
        successor = np.zeros((len(rows), width), np.int64)
        probability = np.zeros((len(rows), width))
        reward = np.zeros((len(rows), width))
        terminated = np.zeros((len(rows), width), np.bool_)
        for index, row in enumerate(rows):
            for k, ((next_state, gain, ends), chance) in enumerate(row.items()):
                successor[index, k], reward[index, k], terminated[index, k] = next_state, gain, ends
                probability[index, k] = chance
        shape = (num_states, num_actions, width)
        return cls(
            successor.reshape(shape),
            probability.reshape(shape),
            reward.reshape(shape),
            terminated.reshape(shape),
            start=start,
            max_steps=max_steps,
            name=name,
            available=np.reshape(available, shape[:2]),
        )

    @classmethod
    def from_gymnasium(cls, env: Any) -> TabularMDP:
        """Read the MDP of a gymnasium environment that carries its table, or of the id of one.

        Two kinds carry it: gymnasium's toy-text environments as ``P[s][a] = [(probability, successor, reward,
        terminated), ...]``, with ``initial_state_distrib`` (uniform where there is none), and rlkit's finite ones, such
        as rlkit/GridWorld-v0, as a ``TabularMDP``. The step limit is ``env.spec.max_episode_steps``.

        Raises:
            ValueError: an environment without a table, and whatever the constructor refuses.
            gymnasium.error.Error: an unknown id.
        """
        if isinstance(env, str):
            import gymnasium

            made = gymnasium.make(env)
            try:
                return cls.from_gymnasium(made)
            finally:
                made.close()
        inner = getattr(env, "unwrapped", env)
        spec = getattr(env, "spec", None)
        name = str(spec.id) if spec is not None else type(inner).__name__
        limit = None if spec is None else spec.max_episode_steps
        own = getattr(getattr(inner, "dynamics", inner), "mdp", None)
        if isinstance(own, TabularMDP):
            return own if limit in (None, own.max_steps) else dataclasses.replace(own, max_steps=limit)
        table = getattr(inner, "P", None)
        if table is None:
            raise ValueError(
                f"{name} has no transition table P: only a finite MDP can be read, such as FrozenLake-v1, "
                "CliffWalking-v1, Taxi-v4 or rlkit/GridWorld-v0"
            )
        start = getattr(inner, "initial_state_distrib", None)
        return cls.from_transitions(table, start=start, max_steps=limit, name=name)

    @classmethod
    def from_sparse(
        cls,
        transitions: Sequence[Any],
        rewards: ArrayLike | Sequence[Any],
        start: ArrayLike | None = None,
        max_steps: int | None = None,
        name: str = "",
        missing_ends: bool = False,
    ) -> TabularMDP:
        """Make the MDP of one matrix per action, ``transitions[a] [N, N]``, sparse or dense: row s holds the
        probabilities of the successors of s. No sparse matrix is made dense.

        ``rewards`` are one of

        - ``[N, A]``: the mean reward of a state and action, paid on every outcome; minus infinity says that the state
          does not have the action, whose row is then ignored;
        - ``[N]``: the reward of leaving a state by any action;
        - ``[A, N, N]``, or one sparse matrix ``[N, N]`` per action: the reward of a transition.

        ``missing_ends=True`` allows rows that sum to less than 1 and ends the episode with the probability that is
        missing; such an ending pays nothing under rewards of transitions. A row within 1e-9 of 1 ends nothing.

        Raises:
            ValueError: matrices that are not square and alike; rewards of another shape; a row that does not sum to 1;
                whatever the constructor refuses.
        """
        from scipy import sparse

        matrices = [sparse.csr_array(matrix) for matrix in transitions]
        if not matrices:
            raise ValueError("transitions is empty: give one matrix per action")
        num_states, num_actions = matrices[0].shape[0], len(matrices)
        for action, matrix in enumerate(matrices):
            if matrix.shape != (num_states, num_states):
                raise ValueError(
                    f"transitions[{action}] has shape {matrix.shape}: expected {(num_states, num_states)}, a square "
                    "matrix for every action"
                )
            matrix.sum_duplicates()
        means, by_transition = _verified_rewards(rewards, (num_states, num_actions))
        available = np.ones((num_states, num_actions), np.bool_) if means is None else ~np.isneginf(means)
        missing = np.stack([1 - matrix.sum(axis=1) for matrix in matrices], axis=1)  # [N, A]
        _verify_sums(matrices, np.where(available, missing, 0.0), missing_ends)
        ends = available & (missing > SUM_TOLERANCE)  # [N, A]
        counts = np.stack([np.diff(matrix.indptr) for matrix in matrices], axis=1)  # [N, A]
        width = max(1, int((counts + ends).max(axis=(0, 1), initial=0)))
        shape = (num_states, num_actions, width)
        successor, terminated = np.zeros(shape, np.int32), np.zeros(shape, np.bool_)
        probability, reward = np.zeros(shape), np.zeros(shape)
        for action, matrix in enumerate(matrices):
            rows = np.repeat(np.arange(num_states), counts[:, action])
            places = np.arange(matrix.nnz) - matrix.indptr[rows]
            successor[rows, action, places], probability[rows, action, places] = matrix.indices, matrix.data
            if by_transition is not None:
                reward[rows, action, places] = np.asarray(by_transition[action][rows, matrix.indices]).ravel()
            ending = np.flatnonzero(ends[:, action])
            last = counts[ending, action]
            probability[ending, action, last], terminated[ending, action, last] = missing[ending, action], True
            successor[ending, action, last] = ending
        if means is not None:
            reward[:] = np.where(probability > 0, means[:, :, None], 0.0)
        return cls(successor, probability, reward, terminated, start, max_steps, name, available)

    @classmethod
    def from_pairs(
        cls,
        transitions: Any,
        rewards: ArrayLike,
        states: ArrayLike,
        actions: ArrayLike,
        start: ArrayLike | None = None,
        max_steps: int | None = None,
        name: str = "",
        missing_ends: bool = False,
    ) -> TabularMDP:
        """Make the MDP of L pairs of a state and an action that it has, as QuantEcon lists them.

        Pair l is ``states[l]``, ``actions[l]``; row l of ``transitions [L, N]``, sparse or dense, holds the
        probabilities of its successors, and ``rewards[l]`` is its mean reward. A state does not have the actions that
        are not listed with it. ``missing_ends`` is as in ``from_sparse``.

        Raises:
            ValueError: arrays of different lengths, a pair that is listed twice or is not two integers in range, a
                state without a pair, and whatever ``from_sparse`` refuses.
        """
        from scipy import sparse

        matrix = sparse.csr_array(transitions)
        (num_pairs, num_states), means = matrix.shape, np.asarray(rewards, dtype=np.float64)
        state, action = np.asarray(states), np.asarray(actions)
        for field, array in (("rewards", means), ("states", state), ("actions", action)):
            if array.shape != (num_pairs,):
                raise ValueError(f"{field} has shape {array.shape}: expected {(num_pairs,)}, one entry per pair")
        if state.dtype.kind not in "iu" or action.dtype.kind not in "iu":
            raise ValueError(f"states and actions have dtypes {state.dtype} and {action.dtype}: give integers")
        if num_pairs == 0 or min(state.min(), action.min()) < 0 or state.max() >= num_states:
            raise ValueError(
                f"states and actions are numbered from 0, states below {num_states}, the columns of transitions: give "
                "at least one pair of such numbers"
            )
        num_actions = int(action.max()) + 1
        pair = state.astype(np.int64) * num_actions + action
        if len(np.unique(pair)) < num_pairs:
            twice = int(np.flatnonzero(np.bincount(pair) > 1)[0])
            raise ValueError(
                f"state {twice // num_actions}, action {twice % num_actions} is listed twice: merge the two"
            )
        table = np.full((num_states, num_actions), -np.inf)
        table[state, action] = means
        matrices = []
        for own in range(num_actions):
            listed = np.flatnonzero(action == own)
            places = sparse.csr_array((np.ones(len(listed)), (state[listed], listed)), shape=(num_states, num_pairs))
            matrices.append(places @ matrix)
        return cls.from_sparse(matrices, table, start, max_steps, name, missing_ends)

    def to_sparse(self) -> tuple[list[sparse.csr_array], NDArray[np.float64]]:
        """Give one matrix per action of the probabilities of going on, ``[N, N]``, duplicates added up, and the mean
        rewards ``[N, A]``. Rows sum to less than one where an episode may end; rewards lose their distribution.
        ``TabularMDP.from_sparse(*mdp.to_sparse(), missing_ends=True)`` has the same optimum."""
        matrices = []
        for action in range(self.num_actions):
            matrix = self.continuation[action :: self.num_actions].copy()
            matrix.sum_duplicates()
            matrices.append(matrix)
        return matrices, self.expected_reward

    def save(self, path: str | Path) -> None:
        """Write the table to a ``.npz`` file, exactly and without pickles; the suffix is added where it is missing.

        The file is written whole: after an error, such as a full disk, an older file of this name is unchanged.

        Raises:
            OSError: the folder does not exist, or the file cannot be written.
        """
        with whole_file(with_suffix(path)) as file:
            np.savez_compressed(
                file,
                successor=self.successor,
                probability=self.probability,
                reward=self.reward,
                terminated=self.terminated,
                start=self.start,
                max_steps=np.array(0 if self.max_steps is None else self.max_steps),
                name=np.array(self.name),
                available=self.available,
            )

    @classmethod
    def load(cls, path: str | Path, max_bytes: int | None = None) -> TabularMDP:
        """Read a ``.npz`` file that ``save`` wrote; the suffix may be left out. Nothing in the file is executed.

        Args:
            path: path of the file.
            max_bytes: bytes that its arrays may take in memory, which is known before they are unpacked; None means 64
                MiB, or 100 times the size of the file if that is more.

        Raises:
            ValueError: a file that is no ``.npz``, is damaged, lacks an array or takes more than ``max_bytes``, and
                whatever the constructor refuses.
            OSError: no such file.
        """
        file = Path(path) if Path(path).is_file() else with_suffix(path)
        arrays = load_arrays(file, STORED, STORED[:4], max_bytes)
        limit, name = arrays.pop("max_steps", np.array(0)), arrays.pop("name", np.array(""))
        if limit.shape != () or limit.dtype.kind not in "iu":
            raise ValueError(f"{file} has a max_steps of {limit.dtype}, shape {limit.shape}: one integer is expected")
        if name.shape != () or name.dtype.kind != "U":
            raise ValueError(f"{file} has a name of {name.dtype}, shape {name.shape}: one text is expected")
        try:
            return cls(**arrays, max_steps=int(limit) or None, name=str(name))
        except ValueError as error:
            raise ValueError(f"{file} holds no MDP: {error}") from error

    def to_gymnasium(self) -> dict[int, dict[int, list[Outcome] | None]]:
        """Give the table in gymnasium's layout, ``P[s][a] = [(probability, successor, reward, terminated), ...]``,
        padding left out; None for an action that the state does not have."""
        return {
            state: {
                action: self._outcomes(state, action) if self.available[state, action] else None
                for action in range(self.num_actions)
            }
            for state in range(self.num_states)
        }

    def _outcomes(self, state: int, action: int) -> list[Outcome]:
        """The outcomes of positive probability."""
        return [
            (
                float(self.probability[state, action, k]),
                int(self.successor[state, action, k]),
                float(self.reward[state, action, k]),
                bool(self.terminated[state, action, k]),
            )
            for k in np.flatnonzero(self.probability[state, action])
        ]

    def __repr__(self) -> str:
        """Sizes, limit and name; not the arrays."""
        return (
            f"TabularMDP(num_states={self.num_states}, num_actions={self.num_actions}, "
            f"num_successors={self.num_successors}, max_steps={self.max_steps}, name={self.name!r})"
        )


def with_suffix(path: str | Path) -> Path:
    """``path``, its name ending in ``.npz``."""
    path = Path(path)
    return path if path.suffix == ".npz" else path.with_name(f"{path.name}.npz")


def chunks(size: int, length: int = CHUNK) -> Iterator[slice]:
    """Cut ``size`` states into pieces of at most ``length``, which fit a cache."""
    return (slice(first, min(first + length, size)) for first in range(0, size, length))


def frozen(array: ArrayLike, dtype: type, field: str) -> NDArray[Any]:
    """A read-only copy in ``dtype``; the array itself if it is already that and owns its memory."""
    given = np.asarray(array)
    if not np.can_cast(given.dtype, dtype, casting="same_kind") and given.size:
        raise ValueError(f"{field} has dtype {given.dtype}: convert it to {np.dtype(dtype)} first")
    if given is array and given.dtype == dtype and not given.flags.writeable and given.base is None:
        return given
    copy: NDArray[Any] = np.array(given, dtype=dtype, order="C", copy=True)
    copy.flags.writeable = False
    return copy


def _verified_rewards(rewards: Any, shape: tuple[int, int]) -> tuple[NDArray[np.float64] | None, list[Any] | None]:
    """Rewards of ``from_sparse``: means ``[N, A]``, or else one matrix of transitions ``[N, N]`` per action."""
    from scipy import sparse

    num_states, num_actions = shape
    square = (num_states, num_states)
    if isinstance(rewards, Sequence) and len(rewards) == num_actions and all(map(sparse.issparse, rewards)):
        for action, matrix in enumerate(rewards):
            if matrix.shape != square:
                raise ValueError(f"rewards[{action}] has shape {matrix.shape}: expected {square}")
        return None, [sparse.csr_array(matrix) for matrix in rewards]
    given = np.asarray(rewards, dtype=np.float64)
    if given.shape == (num_actions, *square):
        return None, list(given)
    if given.shape == (num_states,):
        return np.repeat(given[:, None], num_actions, axis=1), None
    if given.shape != shape:
        raise ValueError(
            f"rewards have shape {given.shape}: expected {shape} of states and actions, {(num_states,)} of states, "
            f"{(num_actions, *square)} of transitions, or one sparse matrix per action"
        )
    return given, None


def _verify_sums(matrices: list[sparse.csr_array], missing: NDArray[np.float64], missing_ends: bool) -> None:
    """Raise ValueError for a negative probability, or for a row that does not sum to 1 where it has to."""
    for action, matrix in enumerate(matrices):
        if (matrix.data < 0).any():
            entry = int(np.flatnonzero(matrix.data < 0)[0])
            state = int(np.searchsorted(matrix.indptr, entry, side="right")) - 1
            raise ValueError(
                f"probability {matrix.data[entry]} of state {state}, action {action}: probabilities are finite and not "
                "negative"
            )
    wrong = missing < -SUM_TOLERANCE
    if not missing_ends:
        wrong |= missing > SUM_TOLERANCE
    if wrong.any():
        state, action = np.argwhere(wrong)[0]
        total = 1 - missing[state, action]
        remedy = "above 1" if total > 1 else "below 1"
        remedy += ": divide it by its sum" if total > 0 else ": give the probabilities of its successors"
        if total < 1:
            remedy += ", or pass missing_ends=True if the episode ends with the probability that is missing"
        raise ValueError(f"row {state} of transitions[{action}] sums to {total:.12g}, {remedy}")


def _verified_available(available: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """``available [N, A]``, read-only, for outcomes of ``shape [N, A, K]``, else a ValueError."""
    allowed = frozen(available, np.bool_, "available")
    if allowed.shape != shape[:2]:
        raise ValueError(f"available has shape {allowed.shape}: expected {shape[:2]}, to agree with probability")
    if not allowed.any(axis=1).all():
        raise ValueError(f"state {int(np.flatnonzero(~allowed.any(axis=1))[0])} has no action: give it at least one")
    return allowed


def _repeated(field: ArrayLike, available: NDArray[np.bool_]) -> NDArray[Any]:
    """``field [N, A, K]`` with the row of each unavailable action replaced by the state's first available one."""
    given = np.asarray(field)
    if given.shape[:2] != available.shape:
        return given  # refused later
    states, first = np.arange(len(available))[:, None], available.argmax(axis=1)[:, None]
    return np.asarray(given[states, np.where(available, np.arange(available.shape[1]), first)])


def _entry(table: Any, key: int, where: str) -> Any:
    """``table[key]``, or a ValueError that names what is missing."""
    try:
        return table[key]
    except (KeyError, IndexError):
        raise ValueError(f"{where} has no transitions: number states and actions from 0 without gaps") from None


def _merged(outcomes: Iterable[Outcome], where: str) -> dict[tuple[int, float, bool], float]:
    """Probability of each (successor, reward, terminated), in order of appearance."""
    row: dict[tuple[int, float, bool], float] = {}
    for outcome in outcomes:
        chance, successor, reward, terminated = _verified_outcome(outcome, where)
        if chance != 0:
            key = (successor, reward, terminated)
            row[key] = row.get(key, 0.0) + chance
    return row


def _verified_outcome(outcome: Any, where: str) -> Outcome:
    """The four numbers of an outcome, else a ValueError."""
    try:
        chance, successor, reward, terminated = outcome
    except (TypeError, ValueError):
        raise ValueError(
            f"{where} has the outcome {outcome!r}: give (probability, successor, reward, terminated)"
        ) from None
    for field, entry in (("probability", chance), ("successor", successor), ("reward", reward)):
        if not isinstance(entry, Real):
            raise ValueError(f"{where} has the {field} {entry!r}: give a number")
    if not np.isfinite(float(successor)) or successor != int(successor):
        raise ValueError(f"{where} has the successor {successor!r}: give the integer of a state")
    if not isinstance(terminated, bool | np.bool_ | Real) or terminated not in (0, 1):
        raise ValueError(f"{where} has terminated {terminated!r}: give True or False")
    return float(chance), int(successor), float(reward), bool(terminated)


def _kept_once(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same probabilities ``[N, A, K]``; as a view of ``[A, K]`` if all of many states have the same."""
    first_rows = probability[0].copy()  # [A, K]
    if len(probability) <= CHUNK or any((probability[part] != first_rows).any() for part in chunks(len(probability))):
        return probability
    return np.broadcast_to(first_rows, probability.shape)


def _verify_successors(successor: NDArray[Any], num_states: int) -> None:
    """Raise ValueError at the first successor ``[N, A, K]``, of any type, that is no state."""
    if successor.dtype.kind not in "iu" or (successor.min() >= 0 and successor.max() < num_states):
        return
    state, action, k = np.argwhere((successor < 0) | (successor >= num_states))[0]
    raise ValueError(
        f"successor {successor[state, action, k]} of state {state}, action {action}: successors lie between 0 and "
        f"{num_states - 1}"
    )


def _verify_outcomes(probability: NDArray[np.float64], reward: NDArray[np.float64]) -> None:
    """Raise ValueError at the first entry, or row, that is no outcome of an MDP."""
    for part in chunks(len(probability)):  # the masks of a large table would be as large as half of it
        _verify_part(probability[part], reward[part], part.start)


def _verify_part(probability: NDArray[np.float64], reward: NDArray[np.float64], first: int) -> None:
    """``_verify_outcomes`` of the states from ``first`` on."""
    for wrong, values, remedy in (
        (~np.isfinite(probability) | (probability < 0), probability, "probabilities are finite and not negative"),
        (~np.isfinite(reward), reward, "rewards are finite; bound them or leave the outcome out"),
    ):
        if wrong.any():
            state, action, k = np.argwhere(wrong)[0]
            field = "probability" if values is probability else "reward"
            raise ValueError(f"{field} {values[state, action, k]} of state {first + state}, action {action}: {remedy}")
    total = probability.sum(axis=2)  # [C, A]
    wrong = np.abs(total - 1) > SUM_TOLERANCE
    if wrong.any():
        state, action = np.argwhere(wrong)[0]
        raise ValueError(
            f"probabilities of state {first + state}, action {action} sum to {total[state, action]:.12g}, not 1: add "
            "the missing outcome or divide the row by its sum"
        )


def verify_start(start: NDArray[np.float64]) -> None:
    """Raise ValueError unless ``start`` is a distribution."""
    wrong = ~np.isfinite(start) | (start < 0)
    if wrong.any():
        state = int(np.flatnonzero(wrong)[0])
        raise ValueError(f"start {start[state]} of state {state}: probabilities are finite and not negative")
    if abs(start.sum(axis=0) - 1) > SUM_TOLERANCE:
        raise ValueError(f"start sums to {start.sum(axis=0):.12g}, not 1: divide it by its sum")


def verified_limit(max_steps: int | None) -> int | None:
    """The step limit as None or a positive int, else a ValueError."""
    if max_steps is None:
        return None
    if isinstance(max_steps, bool) or int(max_steps) != max_steps or max_steps < 1:
        raise ValueError(f"max_steps {max_steps!r}: give a positive integer, or None for no step limit")
    return int(max_steps)
