"""Optimality proved in rational arithmetic: no rounding, no tolerance."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from rlkit.mdp import TabularMDP

from .discount import verified_contraction
from .operators import as_table, extents
from .solution import Solution

FLINT = importlib.util.find_spec("flint") is not None  # imported where it is used: its import alone takes 9 MB
MOST_STATES = {"flint": 1000, "fractions": 100}
Row = dict[int, Fraction]


@dataclass(frozen=True, eq=False)
class Proof:
    """The exact optimum of an MDP, its numbers taken as the rationals that the table and gamma store.

    ``value`` solves ``(I - gamma P_pi) V = r_pi`` without rounding, and no action's q exceeds it anywhere: that is
    Bellman's equation, whose only solution is V* (Puterman 1994, theorem 6.2.5).
    """

    value: tuple[Fraction, ...] = field(repr=False)  # [N], V*; its numbers may have thousands of digits
    policy: NDArray[np.int64]  # [N], an optimal one
    optimal_actions: NDArray[np.bool_] = field(repr=False)  # [N, A], exactly the optimal ones: ties are ties
    holds: bool  # whether the solution's own policy is optimal
    encloses: bool  # whether V* lies between the solution's bounds in every state
    improvements: int  # of the solution's policy until it was optimal
    arithmetic: str  # "flint" or "fractions"


def prove(solution: Solution) -> Proof:
    """Compute V* as fractions, starting from the solution's policy.

    The policy's system is solved exactly and the Bellman inequality checked for every action; where it fails the
    policy is improved and the proof starts again, so that it ends with the optimum in any case (Howard 1960:
    without rounding each policy is strictly better than the last). Uses python-flint where it is installed (a few
    hundred states in seconds), else ``fractions`` (a few dozen).

    Raises:
        ValueError: gamma = 1, where the system may be singular; too many states for the arithmetic at hand (the message
            says how many it takes).
    """
    table = as_table(solution.mdp)
    arithmetic = "flint" if FLINT else "fractions"
    verified_contraction("prove", solution.gamma, extents(table))
    if table.num_states > MOST_STATES[arithmetic]:
        raise ValueError(
            f"{table.num_states} states: a proof with {arithmetic} takes at most {MOST_STATES[arithmetic]}; "
            + ("" if FLINT else "pip install 'rlkit-exact[proof]', or ")
            + "rely on the bounds, which hold with rounding included"
        )
    gamma = Fraction(solution.gamma)
    rows = _exact_rows(table)  # of every state, by action
    policy, improvements = solution.policy.copy(), 0
    while True:
        chosen = [rows[state][action] for state, action in enumerate(policy)]
        value = _solved(chosen, gamma, arithmetic)
        q = [
            {action: reward + gamma * _product(row, value) for action, (reward, row) in actions.items()}
            for actions in rows
        ]
        best = [max(own.values()) for own in q]
        better = [state for state, highest in enumerate(best) if highest > value[state]]
        if not better:
            break
        improvements += 1
        for state in better:
            policy[state] = next(action for action, entry in q[state].items() if entry == best[state])
    return Proof(
        value=tuple(value),
        policy=policy,
        optimal_actions=np.array(
            [
                [own.get(action) == highest for action in range(table.num_actions)]
                for own, highest in zip(q, best, strict=True)
            ]
        ),
        holds=improvements == 0,
        encloses=_encloses(solution, value),
        improvements=improvements,
        arithmetic=arithmetic,
    )


def _encloses(solution: Solution, value: list[Fraction]) -> bool:
    """Whether ``lower <= value <= upper`` in every state."""
    above = all(Fraction(float(low)) <= v for low, v in zip(solution.lower, value, strict=True))
    return above and all(
        high == np.inf or v <= Fraction(float(high)) for v, high in zip(value, solution.upper, strict=True)
    )


def _exact_rows(mdp: TabularMDP) -> list[dict[int, tuple[Fraction, Row]]]:
    """Mean reward and probability of going on to each state, for every state and each of its actions."""
    rows = []
    for actions in mdp.to_gymnasium().values():
        own = {}
        for action, outcomes in actions.items():
            if outcomes is None:
                continue
            reward, row = Fraction(0), Row()
            for p, successor, gain, ends in outcomes:
                reward += Fraction(p) * Fraction(gain)
                if not ends:
                    row[successor] = row.get(successor, Fraction(0)) + Fraction(p)
            own[action] = (reward, row)
        rows.append(own)
    return rows


def _product(row: Row, value: list[Fraction]) -> Fraction:
    return sum((p * value[state] for state, p in row.items()), Fraction(0))


def _solved(chosen: list[tuple[Fraction, Row]], gamma: Fraction, arithmetic: str) -> list[Fraction]:
    """``V = r + gamma P V`` of one policy, exactly."""
    if arithmetic == "fractions":
        return _eliminated(chosen, gamma)
    flint = importlib.import_module("flint")
    size = len(chosen)
    matrix, right = flint.fmpq_mat(size, size), flint.fmpq_mat(size, 1)
    for state, (reward, row) in enumerate(chosen):
        matrix[state, state] = flint.fmpq(1)
        for successor, p in row.items():
            matrix[state, successor] -= flint.fmpq(*(gamma * p).as_integer_ratio())
        right[state, 0] = flint.fmpq(*reward.as_integer_ratio())
    answer = matrix.solve(right)
    return [Fraction(int(answer[state, 0].p), int(answer[state, 0].q)) for state in range(size)]


def _eliminated(chosen: list[tuple[Fraction, Row]], gamma: Fraction) -> list[Fraction]:
    """Gaussian elimination on sparse rows; diagonal pivots, which cannot vanish in ``I - gamma P``."""
    size = len(chosen)
    rows = [{state: Fraction(1)} for state in range(size)]
    right = [reward for reward, _ in chosen]
    for state, (_, row) in enumerate(chosen):
        for successor, p in row.items():
            rows[state][successor] = rows[state].get(successor, Fraction(0)) - gamma * p
    for pivot in range(size):
        for state in range(pivot + 1, size):
            entry = rows[state].pop(pivot, None)
            if entry:
                factor = entry / rows[pivot][pivot]
                for column, x in rows[pivot].items():
                    if column > pivot:
                        rows[state][column] = rows[state].get(column, Fraction(0)) - factor * x
                right[state] -= factor * right[pivot]
    value = [Fraction(0)] * size
    for state in reversed(range(size)):
        beyond = sum((x * value[column] for column, x in rows[state].items() if column > state), Fraction(0))
        value[state] = (right[state] - beyond) / rows[state][state]
    return value
