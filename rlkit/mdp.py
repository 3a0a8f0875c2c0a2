"""A finite Markov decision process as its table.

Letters: N states, A actions, K successors per state and action. The table is what the exact solvers of
``rlkit.planning`` read and what a simulator samples: there is no second description of the same problem.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

Outcome = tuple[float, int, float, bool]  # probability, successor, reward, terminated: gymnasium's order
Outcomes = Sequence[Sequence[Iterable[Outcome]]] | Mapping[int, Mapping[int, Iterable[Outcome]]]

SUM_TOLERANCE = 1e-9  # how far probabilities may sum from one


@dataclass(frozen=True, eq=False, repr=False, init=False)
class TabularMDP:
    """A finite MDP with at most K outcomes of every (state, action).

    ``terminated`` belongs to the transition, not to the successor: the same state may be entered with and without
    the episode ending, and what follows a terminated transition is never read. Rewards keep their distribution:
    two outcomes may share a successor and differ in reward or flag. Rows with fewer than K outcomes are padded with
    entries of probability 0 (and, in the tables made here, successor 0, reward 0, not terminated).

    The arrays are copied, verified and read-only. Row sums are accepted within 1e-9 of one and kept as given.

    Raises:
        ValueError: an empty problem, shapes that disagree, a probability that is negative or not finite, a row or a
            start distribution that does not sum to one, a successor out of range, a reward that is not finite, a
            ``max_steps`` that is not a positive integer.
    """

    successor: NDArray[np.int64]  # [N, A, K]
    probability: NDArray[np.float64]  # [N, A, K]
    reward: NDArray[np.float64]  # [N, A, K]
    terminated: NDArray[np.bool_]  # [N, A, K]
    start: NDArray[np.float64]  # [N], sums to one
    max_steps: int | None  # the step limit of an episode, None without one
    name: str

    def __init__(
        self,
        successor: ArrayLike,
        probability: ArrayLike,
        reward: ArrayLike,
        terminated: ArrayLike,
        start: ArrayLike | None = None,
        max_steps: int | None = None,
        name: str = "",
    ) -> None:
        """Copy, verify and freeze the arrays; ``start=None`` means uniform over all states."""
        chances = _frozen(probability, np.float64, "probability")
        if chances.ndim != 3 or 0 in chances.shape:
            raise ValueError(
                f"probability has shape {chances.shape}: expected [states, actions, successors], none of them empty"
            )
        num_states = chances.shape[0]
        arrays = {
            "successor": _frozen(successor, np.int64, "successor"),
            "probability": chances,
            "reward": _frozen(reward, np.float64, "reward"),
            "terminated": _frozen(terminated, np.bool_, "terminated"),
            "start": _frozen(np.full(num_states, 1 / num_states) if start is None else start, np.float64, "start"),
        }
        for field, array in arrays.items():
            expected = (num_states,) if field == "start" else chances.shape
            if array.shape != expected:
                raise ValueError(f"{field} has shape {array.shape}: expected {expected}, to agree with probability")
            object.__setattr__(self, field, array)
        object.__setattr__(self, "max_steps", _verified_limit(max_steps))
        object.__setattr__(self, "name", name)
        _verify_outcomes(self.successor, self.probability, self.reward)
        _verify_start(self.start)

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
        """Mean reward of every state and action, ``r(s, a) = sum_k p_k r_k``, ``[N, A]``, read-only."""
        return _frozen(np.einsum("nak,nak->na", self.probability, self.reward), np.float64, "expected_reward")

    @cached_property
    def continuation(self) -> sparse.csr_array:
        """Probability of going on to every state, ``[N * A, N]`` sparse, row ``s * A + a``; not to be written to.

        Terminated transitions are absent, so a row sums to the probability that the episode does not end there.
        Entries of the same successor are not added up: a product rounds at most once per stored outcome and sum.
        """
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
        """The MDP whose outcomes of action a in state s are ``transitions[s][a]``, in gymnasium's order
        (probability, successor, reward, terminated).

        Outcomes are merged where successor, reward and flag all agree; those of probability 0 are dropped.
        ``num_states`` and ``num_actions`` are read off ``transitions`` unless given. ``start=None`` means uniform.

        Raises:
            ValueError: a state or action without an entry, and whatever the constructor refuses.
        """
        num_states = len(transitions) if num_states is None else num_states
        if num_states < 1 or len(transitions) != num_states:
            raise ValueError(f"{len(transitions)} states have transitions: expected {num_states}, and at least one")
        num_actions = len(_entry(transitions, 0, "state 0")) if num_actions is None else num_actions
        rows = []
        for state in range(num_states):
            actions = _entry(transitions, state, f"state {state}")
            if len(actions) != num_actions:
                raise ValueError(
                    f"state {state} has {len(actions)} actions and others have {num_actions}: give every state the "
                    "same actions, for instance by repeating an allowed one"
                )
            rows += [
                _merged(_entry(actions, action, f"state {state}, action {action}")) for action in range(num_actions)
            ]
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
        )

    @classmethod
    def from_gymnasium(cls, env: Any) -> TabularMDP:
        """The MDP of a gymnasium environment that carries its table ``P``, as the toy-text ones do.

        Read are ``env.unwrapped.P[s][a] = [(probability, successor, reward, terminated), ...]``,
        ``env.unwrapped.initial_state_distrib`` (uniform where there is none) and ``env.spec.max_episode_steps``.

        Raises:
            ValueError: the environment has no ``P``, and whatever the constructor refuses.
        """
        table = getattr(env.unwrapped, "P", None)
        spec = getattr(env, "spec", None)
        name = str(spec.id) if spec is not None else type(env.unwrapped).__name__
        if table is None:
            raise ValueError(
                f"{name} has no transition table P: only a finite MDP can be read, such as FrozenLake-v1, "
                "CliffWalking-v1, Taxi-v4 or rlkit/GridWorld-v0"
            )
        return cls.from_transitions(
            table,
            start=getattr(env.unwrapped, "initial_state_distrib", None),
            max_steps=None if spec is None else spec.max_episode_steps,
            name=name,
        )

    def to_gymnasium(self) -> dict[int, dict[int, list[Outcome]]]:
        """The table in gymnasium's layout, ``P[s][a] = [(probability, successor, reward, terminated), ...]``,
        padding left out."""
        return {
            state: {
                action: [
                    (float(self.probability[state, action, k]), int(self.successor[state, action, k]),
                     float(self.reward[state, action, k]), bool(self.terminated[state, action, k]))
                    for k in np.flatnonzero(self.probability[state, action])
                ]
                for action in range(self.num_actions)
            }
            for state in range(self.num_states)
        }  # fmt: skip

    def __repr__(self) -> str:
        """Sizes, limit and name; not the arrays."""
        return (
            f"TabularMDP(num_states={self.num_states}, num_actions={self.num_actions}, "
            f"num_successors={self.num_successors}, max_steps={self.max_steps}, name={self.name!r})"
        )


def _frozen(array: ArrayLike, dtype: type, field: str) -> NDArray[Any]:
    """A read-only copy in ``dtype``; the array itself if it is already that and owns its memory."""
    given = np.asarray(array)
    if not np.can_cast(given.dtype, dtype, casting="same_kind") and given.size:
        raise ValueError(f"{field} has dtype {given.dtype}: convert it to {np.dtype(dtype)} first")
    if given is array and given.dtype == dtype and not given.flags.writeable and given.base is None:
        return given
    copy: NDArray[Any] = np.array(given, dtype=dtype, order="C", copy=True)
    copy.flags.writeable = False
    return copy


def _entry(table: Any, key: int, where: str) -> Any:
    """``table[key]``, or a ValueError that names what is missing."""
    try:
        return table[key]
    except (KeyError, IndexError):
        raise ValueError(f"{where} has no transitions: number states and actions from 0 without gaps") from None


def _merged(outcomes: Iterable[Outcome]) -> dict[tuple[int, float, bool], float]:
    """Probability of each (successor, reward, terminated), in order of appearance."""
    row: dict[tuple[int, float, bool], float] = {}
    for chance, successor, reward, terminated in outcomes:
        if chance != 0:
            key = (int(successor), float(reward), bool(terminated))
            row[key] = row.get(key, 0.0) + float(chance)
    return row


def _verify_outcomes(
    successor: NDArray[np.int64], probability: NDArray[np.float64], reward: NDArray[np.float64]
) -> None:
    """Raise ValueError at the first entry, or row, that is no outcome of an MDP."""
    num_states = len(probability)
    for wrong, values, remedy in (
        (~np.isfinite(probability) | (probability < 0), probability, "probabilities are finite and not negative"),
        ((successor < 0) | (successor >= num_states), successor, f"successors lie between 0 and {num_states - 1}"),
        (~np.isfinite(reward), reward, "rewards are finite; bound them or leave the outcome out"),
    ):
        if wrong.any():
            state, action, k = np.argwhere(wrong)[0]
            field = "probability" if values is probability else "reward" if values is reward else "successor"
            raise ValueError(f"{field} {values[state, action, k]} of state {state}, action {action}: {remedy}")
    total = probability.sum(axis=2)  # [N, A]
    wrong = np.abs(total - 1) > SUM_TOLERANCE
    if wrong.any():
        state, action = np.argwhere(wrong)[0]
        raise ValueError(
            f"probabilities of state {state}, action {action} sum to {total[state, action]:.12g}, not 1: add the "
            "missing outcome or divide the row by its sum"
        )


def _verify_start(start: NDArray[np.float64]) -> None:
    """Raise ValueError unless ``start`` is a distribution."""
    wrong = ~np.isfinite(start) | (start < 0)
    if wrong.any():
        state = int(np.flatnonzero(wrong)[0])
        raise ValueError(f"start {start[state]} of state {state}: probabilities are finite and not negative")
    if abs(start.sum(axis=0) - 1) > SUM_TOLERANCE:
        raise ValueError(f"start sums to {start.sum(axis=0):.12g}, not 1: divide it by its sum")


def _verified_limit(max_steps: int | None) -> int | None:
    """The step limit as None or a positive int, else a ValueError."""
    if max_steps is None:
        return None
    if isinstance(max_steps, bool) or int(max_steps) != max_steps or max_steps < 1:
        raise ValueError(f"max_steps {max_steps!r}: give a positive integer, or None for no step limit")
    return int(max_steps)
