"""Bellman's operators on a finite MDP, and bounds on their rounding errors.

Letters: N states, A actions, K successors. ``...`` are leading axes of many value functions at once, such as seeds.
"""

from __future__ import annotations

from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlkit.compiled.jit import COMPILED
from rlkit.mdp import GridMDP, LatticeMDP, TabularMDP, chunks

from .kernels.stencil import map_backup
from .kernels.sweeps import TableArrays, back_up_all, choose_best

Array = NDArray[np.float64]
Problem = TabularMDP | GridMDP | LatticeMDP

FEW_ACTIONS = 16  # up to so many, columns are compared one by one: numpy is slow on many short rows
UNIT_ROUNDOFF = 2.0**-53  # of float64, rounding to nearest


def verified_problem(mdp: Any) -> Problem:
    """``mdp`` itself, else a ValueError that says how to make a problem of it."""
    if isinstance(mdp, get_args(Problem)):
        return mdp  # type: ignore[no-any-return]
    if isinstance(mdp, dict):
        remedy = "pass TabularMDP.from_transitions(P), where P[s][a] lists (probability, successor, reward, terminated)"
    elif isinstance(mdp, str) or hasattr(mdp, "unwrapped"):
        remedy = "pass TabularMDP.from_gymnasium(env), which takes environments with a table and their ids"
    elif isinstance(getattr(mdp, "mdp", None), TabularMDP):
        remedy = "pass its .mdp"
    else:
        remedy = "make one by TabularMDP(...), TabularMDP.from_sparse(...) or TabularMDP.from_transitions(...)"
    raise ValueError(
        f"the problem is a {type(mdp).__name__}, and exact solvers take a TabularMDP, GridMDP or LatticeMDP: {remedy}"
    )


def verified_values(mdp: Problem, value: ArrayLike, name: str = "value") -> Array:
    """Values ``[..., N]`` in float64, else a ValueError: compiled loops read them unchecked."""
    given: Array = np.asarray(value, dtype=np.float64)
    if given.ndim < 1 or given.shape[-1] != mdp.num_states:
        raise ValueError(f"{name} has shape {given.shape}: expected [..., {mdp.num_states}], one entry per state")
    return given


def verified_start(mdp: Problem, initial: ArrayLike) -> Array:
    """Finite values ``[N]`` to start from, copied, else a ValueError."""
    given: Array = np.array(initial, dtype=np.float64)
    if given.shape != (mdp.num_states,) or not np.isfinite(given).all():
        raise ValueError(f"initial has shape {given.shape}: expected {(mdp.num_states,)} finite values")
    return given


def as_table(mdp: Problem) -> TabularMDP:
    """The problem as a table, for methods that need one."""
    mdp = verified_problem(mdp)
    return mdp if isinstance(mdp, TabularMDP) else mdp.tabular


def q_backup(mdp: Problem, value: ArrayLike, gamma: float) -> Array:
    """Look one step ahead of ``value``: ``q(s, a) = sum_k p_k (r_k + gamma (1 - terminated_k) V(s'_k))``.

    ``value [..., N]`` -> ``[..., N, A]``, minus infinity for an action that a state does not have (Sutton & Barto 2018,
    eq. 4.2, inside the maximum). The value of a successor reached by a terminated transition is not read. Compiled or
    not, a table gives the same bits.

    Raises:
        ValueError: ``mdp`` is no problem, or ``value`` has another shape.
    """
    mdp = verified_problem(mdp)
    value = verified_values(mdp, value)
    if isinstance(mdp, GridMDP) and COMPILED and value.ndim == 1:
        return map_backup(mdp, value, gamma)
    if isinstance(mdp, LatticeMDP) and value.ndim == 1:
        return mdp.backup(value, gamma)
    mdp = as_table(mdp)
    if COMPILED and value.ndim == 1:
        q = np.empty((mdp.num_states, mdp.num_actions))
        back_up_all(table_arrays(mdp), ended_by_zero(value), gamma, q)
        return q
    leading, num_states = value.shape[:-1], value.shape[-1]
    columns = value.reshape(-1, num_states).T  # [N, B]
    ahead = (mdp.continuation @ columns).T.reshape(*leading, num_states, mdp.num_actions)  # [..., N, A]
    return np.asarray(mdp.expected_reward + gamma * ahead)


def table_arrays(mdp: TabularMDP) -> TableArrays:
    """A table as the compiled loops read it."""
    return TableArrays.of(mdp.arrival, mdp.probability, mdp.expected_reward)


def ended_by_zero(value: Array) -> Array:
    """``value [N]`` and, last, the value 0 after an end: ``[N + 1]``."""
    return np.append(value, 0.0)


def bellman(mdp: Problem, value: ArrayLike, gamma: float) -> Array:
    """Apply the optimality operator to values, ``(BV)(s) = max_a q(s, a)``: ``[..., N]`` -> ``[..., N]``.

    B is monotone, and a contraction by gamma in the maximum norm (Puterman 1994, proposition 6.2.4).

    Raises:
        ValueError: ``mdp`` is no problem, or ``value`` has another shape.
    """
    return highest(q_backup(mdp, value, gamma))


def highest(q: Array) -> Array:
    """``max_a q(s, a)``: ``[..., N, A]`` -> ``[..., N]``."""
    if q.shape[-1] > FEW_ACTIONS:
        return np.asarray(q.max(axis=-1))
    best = q[..., 0].copy()
    for action in range(1, q.shape[-1]):
        np.maximum(best, q[..., action], out=best)
    return best


def bellman_q(mdp: Problem, q: ArrayLike, gamma: float) -> Array:
    """Apply the optimality operator to action values, ``(BQ)(s, a) = E[r + gamma max_a' Q(s', a')]``.

    ``[..., N, A]`` -> ``[..., N, A]``. Its fixed point is Q*, and ``max_a Q* = V*`` (Watkins & Dayan 1992).

    Raises:
        ValueError: ``mdp`` is no problem, or ``q`` has another shape.
    """
    mdp = verified_problem(mdp)
    given: Array = np.asarray(q, dtype=np.float64)
    if given.shape[-2:] != (mdp.num_states, mdp.num_actions):
        raise ValueError(f"q has shape {given.shape}: expected [..., {mdp.num_states}, {mdp.num_actions}]")
    return q_backup(mdp, highest(given), gamma)


def greedy(q: ArrayLike) -> NDArray[np.int64]:
    """Choose the best action of every state, the lowest index among equals: ``[..., N, A]`` -> ``[..., N]``.

    Raises:
        ValueError: ``q`` has no axis of actions, or no action.
    """
    given = np.asarray(q)
    if given.ndim < 1 or given.shape[-1] < 1:
        raise ValueError(f"q has shape {given.shape}: expected [..., N, A] with at least one action")
    if given.shape[-1] > FEW_ACTIONS:
        return np.asarray(given.argmax(axis=-1), dtype=np.int64)
    best, action = given[..., 0].copy(), np.zeros(given.shape[:-1], np.int64)
    for other in range(1, given.shape[-1]):
        np.copyto(action, other, where=given[..., other] > best)
        np.maximum(best, given[..., other], out=best)
    return action


class Choices(NamedTuple):
    """The value, the greedy action and the near-optimal actions of every state."""

    value: Array  # [N], the highest
    policy: NDArray[np.int64]  # [N], ``greedy``
    near: NDArray[np.bool_]  # [N, A], the actions whose q is at most ``behind`` below the best


def choices(mdp: Problem, value: Array, gamma: float, behind: float) -> Choices:
    """``highest``, ``greedy`` and the actions at most ``behind`` the best, of ``q_backup(mdp, value, gamma)``.

    Compiled, a table's q is never held at once.
    """
    size = mdp.num_states, mdp.num_actions
    if not COMPILED or not isinstance(mdp, TabularMDP):
        q = q_backup(mdp, value, gamma)
        best = highest(q)
        return Choices(best, greedy(q), q >= np.nextafter(best - behind, -np.inf)[:, None])
    found = Choices(np.empty(size[0]), np.empty(size[0], np.int64), np.empty(size, np.bool_))
    choose_best(table_arrays(mdp), ended_by_zero(value), gamma, behind, *found)
    return found


class Extents(NamedTuple):
    """Sizes of the entries of an MDP, on which bounds of rounding errors depend."""

    outcomes: int  # the largest number of outcomes of positive probability of a state and action
    reward: float  # at least max over (s, a) of sum_k p_k |r_k|
    continuation_low: float  # at most the least probability over (s, a) of going on
    continuation_high: float  # at least the greatest one; it may exceed 1 by the rounding of the table's rows


def extents(mdp: Problem) -> Extents:
    """The extents of ``mdp``, each rounded to its safe side; found once and kept with the problem, which is frozen."""
    mdp = verified_problem(mdp)
    known: Extents | None = vars(mdp).get("_extents")
    if known is None:
        if isinstance(mdp, GridMDP):
            known = _map_extents(mdp)
        else:
            known = _lattice_extents(mdp) if isinstance(mdp, LatticeMDP) else _table_extents(mdp)
        object.__setattr__(mdp, "_extents", known)
    return known


def _table_extents(mdp: TabularMDP) -> Extents:
    """``extents`` of a table. Outcomes of probability 0 add exact zeros and round nothing."""
    outcomes, low, high, reward = 1, np.inf, 0.0, 0.0
    for part in chunks(mdp.num_states):  # no copy of the whole table is ever made
        chances = mdp.probability[part]  # [C, A, K]
        outcomes = max(outcomes, int(np.count_nonzero(chances, axis=2).max(axis=(0, 1))))
        mass = (chances * ~mdp.terminated[part]).sum(axis=2)  # [C, A]
        size = (chances * np.abs(mdp.reward[part])).sum(axis=2)  # [C, A]
        low, high = min(low, float(mass.min(axis=(0, 1)))), max(high, float(mass.max(axis=(0, 1))))
        reward = max(reward, float(size.max(axis=(0, 1))))
    slack = relative_rounding(outcomes + 1)
    return Extents(
        outcomes=outcomes,
        reward=reward * (1 + slack),
        continuation_low=low * (1 - slack),
        continuation_high=high * (1 + slack),
    )


MAP_OUTCOMES = 8  # a backup on a map rounds at most as often as one of a table with so many outcomes


def _map_extents(grid: GridMDP) -> Extents:
    """As ``extents``, for the table of a map as well as for the map."""
    slack = relative_rounding(MAP_OUTCOMES + 1)
    mass = grid.chances[0] + 2 * grid.chances[1] + grid.chances[2]
    paid = float(np.abs(grid.entry_reward).max(axis=(0, 1)))
    reward = float(np.abs(grid.step_reward).max(axis=(0, 1))) + max(paid, abs(grid.bump_reward))
    ends = bool((grid.terminal & grid.open).any())
    return Extents(
        outcomes=MAP_OUTCOMES,
        reward=mass * reward * (1 + slack),
        continuation_low=0.0 if ends else mass * (1 - slack),
        continuation_high=mass * (1 + slack),
    )


def _lattice_extents(mdp: LatticeMDP) -> Extents:
    """Of a lattice: 3 d + 2 roundings (``interpolated``), and weights that sum to one without any."""
    return Extents(
        outcomes=3 * len(mdp.lattice.shape),
        reward=float(np.abs(mdp.reward).max(axis=(0, 1))),
        continuation_low=float(mdp.going_on.all(axis=(0, 1))),
        continuation_high=float(mdp.going_on.any(axis=(0, 1))),
    )


def relative_rounding(operations: int) -> float:
    """``n u / (1 - n u)``: the relative error of n roundings at most (Higham 2002, lemma 3.1)."""
    return operations * UNIT_ROUNDOFF / (1 - operations * UNIT_ROUNDOFF)


def rounding_bound(size: Extents, value: Array, gamma: float) -> float:
    """A bound on ``|fl(q) - q|`` for every entry of ``q_backup(mdp, value, gamma)`` in float64.

    A term passes K + 2 roundings: a product, K - 1 sums, the factor gamma, the sum with the reward. So the error is at
    most ``relative_rounding(K + 2) (R + gamma M max|V|)`` with R and M the largest mean absolute reward and
    probability of going on; one more operation covers the rounding of the bound itself, and the smallest normal
    number covers underflow.
    """
    largest = size.reward + gamma * size.continuation_high * max(float(value.max(axis=0)), -float(value.min(axis=0)))
    return relative_rounding(size.outcomes + 3) * largest + float(np.finfo(np.float64).tiny)
