"""Modified policy iteration: one improvement, then a few cheap evaluation sweeps of the policy found."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlkit.compiled.jit import COMPILED
from rlkit.mdp import TabularMDP

from ..certify import SolverTask, bounds_from, conclude, kept_on_interrupt, verified_iterations, verified_task
from ..chain import policy_chain
from ..kernels.sweeps import PolicyRows, Stops, back_up_best, choose_rows, evaluate_by_backups, iterate_in_place
from ..operators import (
    Array,
    Problem,
    as_table,
    ended_by_zero,
    greedy,
    highest,
    q_backup,
    rounding_bound,
    table_arrays,
    verified_start,
)
from ..solution import Solution

CONTINUING = 1 - 1e-6  # least probability of going on above which all values are assumed to move together
REDUCTION = 0.03  # evaluation stops where sweeps change values by this share of what the improvement changed

LOOK = 200  # Gauss-Seidel sweeps between two looks at how fast values still change
LOOKS = 20  # looks, at least, within a limited number of sweeps
STALLS = 200  # improvements without a smaller spread after which sweeps give up


def modified_policy_iteration(
    mdp: Problem,
    gamma: float,
    tolerance: float = 1e-9,
    max_iterations: int | None = None,
    sweeps: int = 24,
    initial: ArrayLike | None = None,
) -> Solution:
    """Find the optimum by one improvement and up to ``sweeps`` evaluation sweeps in turn (Puterman & Shin 1978).

    An evaluation sweep looks at one action of a state instead of all. Where episodes end, every sweep is
    Gauss-Seidel's, to and fro, from a lower bound of the optimum, so that values only rise. Where nothing ever ends,
    sweeps are Jacobi's. All values then rise together, which does not widen the bounds, and each evaluation starts from
    the middle of the bounds (MacQueen 1966).

    ``iterations`` counts sweeps of both kinds.

    Args:
        mdp: a ``TabularMDP``, ``GridMDP`` or ``LatticeMDP``.
        gamma: discount, in [0, 1).
        tolerance: largest distance of the bounds, in units of return.
        max_iterations: maximum number of sweeps; None for no limit. The method stops earlier where the rate of
            convergence shows that more than twice as many would be needed.
        sweeps: maximum number of evaluation sweeps after an improvement.
        initial: value function ``[N]`` to start from; it is lowered until ``B initial >= initial``.

    Raises:
        ValueError: gamma outside [0, 1); a tolerance that is not positive, or below what rounding allows; an
            ``initial`` of another shape.
        NotConverged: ``max_iterations`` sweeps were not enough; its ``solution`` holds valid bounds.
    """
    task = verified_task("modified_policy_iteration", mdp, gamma, tolerance)
    verified_iterations(max_iterations)
    table = as_table(mdp)
    value = from_below(task, table, initial)  # [N + 1]
    budget = SweepLimits(sweeps, math.inf if max_iterations is None else max_iterations)
    continuing = task.size.continuation_low >= CONTINUING
    sweep = _by_backups if continuing or not COMPILED else _in_place
    work = (2 * 8 + 2 * 4 + 8 + 12 * table.num_successors) * table.num_states  # two values, a policy, its rows
    enough, done = task.residual, 0
    while True:
        value, change, done = sweep(task, table, value, budget, enough, done)
        certificate = bounds_from(task, value[:-1])
        limit_reached = change > enough or done >= budget.total
        solution = conclude(task, certificate, done, settled=change == 0, limit_reached=limit_reached, work=work)
        if solution is not None:
            return solution
        enough = change / 2


class SweepLimits(NamedTuple):
    """Limits on the number of sweeps."""

    evaluation: int  # after an improvement
    total: float  # infinite without a limit


class Progress(NamedTuple):
    """The distance of the values from a fixed point, and the sweeps done when it was measured."""

    sweeps: int
    change: float

    def hopeless(self, now: Progress, enough: float, limit: float) -> bool:
        """Whether, at the rate since then, more than twice ``limit`` sweeps will be needed."""
        if now.sweeps < limit / 3 or not 0 < enough < now.change:
            return False
        rate = math.log(self.change / now.change) / (now.sweeps - self.sweeps) if now.change < self.change else 0.0
        return now.sweeps + math.log(now.change / enough) / max(rate, 1e-300) > 2 * limit


def given_up(seen: list[Progress], enough: float, limit: float) -> bool:
    """Whether the limit is reached, or far off at the rate of the last looks."""
    return seen[-1].sweeps >= limit or (len(seen) > 3 and seen[-4].hopeless(seen[-1], enough, limit))


def from_below(task: SolverTask, table: TabularMDP, initial: ArrayLike | None) -> Array:
    """A value function with ``B V >= V``, ``[N + 1]``: a constant, or ``initial`` lowered."""
    if initial is None:
        worst = float(table.expected_reward.min(axis=(0, 1), where=table.available, initial=0.0))
        return ended_by_zero(np.full(table.num_states, worst / (1 - task.gamma * task.size.continuation_high)))
    given = verified_start(task.mdp, initial)
    return ended_by_zero(given + min(bounds_from(task, given).shifts.lower, 0.0))


def _in_place(
    task: SolverTask, mdp: TabularMDP, value: Array, budget: SweepLimits, enough: float, done: int
) -> tuple[Array, float, int]:
    """Gauss-Seidel sweeps of both kinds until an improvement changes no value by more than ``enough``, or gives up.

    Returns the values ``[N + 1]``, the largest change and the number of sweeps ``done``, earlier ones included.
    """
    table = table_arrays(mdp)
    rows, policy = PolicyRows.of(table), np.zeros(mdp.num_states, np.int32)
    seen: list[Progress] = []
    until_look = int(min(LOOK, budget.total / LOOKS))
    with kept_on_interrupt(task, lambda: (value[:-1], done)):
        while True:
            left = int(min(budget.total - done, 2**62))
            stops = Stops(budget.evaluation, REDUCTION, enough, until_look, left)
            change, sweeps = iterate_in_place(table, rows, value, task.gamma, policy, stops)
            done += sweeps
            seen.append(Progress(done, change))
            if change <= enough or given_up(seen, enough, budget.total):
                return value, change, done


def _by_backups(
    task: SolverTask, mdp: TabularMDP, value: Array, budget: SweepLimits, enough: float, done: int
) -> tuple[Array, float, int]:
    """As ``_in_place``, by Jacobi sweeps; where nothing ends, the change is the spread of the changes of all states.

    On a periodic chain errors swing from state to state and fade by gamma a sweep only, until the fading is less than
    a rounding. So where the spread does not fall the mean of two iterates is taken (the aperiodicity transformation,
    Puterman 1994, section 8.5.4). Rounding stops it too: the change is then reported as 0, as no more can be reached.
    """
    continuing = task.size.continuation_low >= CONTINUING
    policy = np.zeros(mdp.num_states, np.int32)
    rows = PolicyRows.of(table_arrays(mdp))
    best = np.zeros_like(value)
    seen: list[Progress] = []
    least_spread, stalled = math.inf, 0
    with kept_on_interrupt(task, lambda: (value[:-1], done)):
        while True:
            least, largest = _improve(mdp, value, task.gamma, best, policy)
            done += 1
            spread = largest - least if continuing else max(largest, 0.0) - min(least, 0.0)
            seen.append(Progress(done, spread))
            stalled = stalled + 1 if spread >= least_spread else 0
            if stalled > STALLS or (stalled > 0 and spread <= 4 * rounding_bound(task.size, value, task.gamma)):
                return value, 0.0, done
            if spread <= enough or given_up(seen, enough, budget.total):
                return value, spread, done
            least_spread = min(least_spread, spread)
            if stalled > 0:
                best = (value + best) / 2
            value, best = best, value
            if continuing and abs(least + largest) > 2 * spread:
                value[:-1] += task.gamma * (least + largest) / 2 / (1 - task.gamma)
            allowed = int(min(budget.evaluation, max(budget.total - done, 0)))
            done += _evaluate(mdp, rows, value, best, task.gamma, policy, allowed, REDUCTION * spread, continuing)


def _improve(
    mdp: TabularMDP, value: Array, gamma: float, best: Array, policy: NDArray[np.int32]
) -> tuple[float, float]:
    """``back_up_best`` of a table, compiled or by array operations."""
    if COMPILED:
        return back_up_best(table_arrays(mdp), value, gamma, best, policy)
    q = q_backup(mdp, value[:-1], gamma)
    policy[:] = greedy(q)
    best[:-1] = highest(q)
    change = best[:-1] - value[:-1]
    return float(change.min(axis=0)), float(change.max(axis=0))


def _evaluate(
    mdp: TabularMDP,
    rows: PolicyRows,
    value: Array,
    other: Array,
    gamma: float,
    policy: NDArray[np.int32],
    sweeps: int,
    enough: float,
    continuing: bool,
) -> int:
    """``evaluate_by_backups`` of a table, compiled or by array operations; the number of sweeps done."""
    if COMPILED and continuing:
        choose_rows(table_arrays(mdp), policy, rows)
        return evaluate_by_backups(rows, value, other, gamma, sweeps, enough)
    reward, continuation = policy_chain(mdp, policy)
    for done in range(sweeps):
        new = reward + gamma * (continuation @ value[:-1])
        change = new - value[:-1]
        value[:-1] = new
        least, largest = float(change.min(axis=0)), float(change.max(axis=0))
        if (largest - least if continuing else max(largest, -least)) <= enough:
            return done + 1
    return sweeps
