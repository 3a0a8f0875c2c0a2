"""Value iteration: back up until the bounds are close enough."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import numpy as np

from ..mdp import TabularMDP
from .bounds import Shifts, macqueen_shifts, possibly_optimal, shifted, widest
from .discount import verified_contraction
from .jit import COMPILED
from .operators import (
    Array,
    Extents,
    Problem,
    as_table,
    ended_by_zero,
    extents,
    greedy,
    highest,
    q_backup,
    rounding_bound,
)
from .solution import NotConverged, Solution
from .sweeps import back_up_best, improve_in_place, unrolled_outcomes


class Goal(NamedTuple):
    """What a solver was asked, verified, and when it began."""

    mdp: Problem
    size: Extents
    gamma: float
    tolerance: float
    method: str
    began: float

    @property
    def residual(self) -> float:
        """Backups that change every value by less than this give bounds within the tolerance, but for rounding."""
        return self.tolerance * (1 - self.gamma * self.size.continuation_high)


def verified_goal(method: str, mdp: Problem, gamma: float, tolerance: float) -> Goal:
    """The goal, else a ValueError."""
    began = time.perf_counter()
    size = extents(mdp)
    gamma = verified_contraction(method, gamma, size)
    if not 0 < tolerance < math.inf:
        raise ValueError(f"tolerance {tolerance}: give a positive number, the largest upper - lower to accept")
    return Goal(mdp, size, gamma, float(tolerance), method, began)


def verified_iterations(max_iterations: int | None) -> None:
    """Raise ValueError unless None or positive."""
    if max_iterations is not None and max_iterations < 1:
        raise ValueError(f"max_iterations {max_iterations}: give a positive integer, or None for as many as it takes")


def value_iteration(
    mdp: Problem,
    gamma: float,
    tolerance: float = 1e-9,
    max_iterations: int | None = None,
    in_place: bool = False,
) -> Solution:
    """The optimal value of every state, enclosed to within ``tolerance``.

    Starts from V = 0, repeats ``V <- BV`` (Bellman 1957), and stops as soon as the two-sided bounds of
    ``macqueen_shifts`` are at most ``tolerance`` apart. ``value`` is then the backup of the lower bound L: as
    ``BL >= L``, its greedy policy earns at least L (Puterman 1994, theorem 6.2.2 for one policy), so that
    ``policy_loss_bound`` is the width of the bounds, but for rounding, and not the usual multiple of it.

    ``in_place=True`` replaces each value as soon as it is backed up, states in order and then in reverse
    (Gauss-Seidel; Puterman 1994, section 6.3.3). That takes fewer sweeps where episodes end; the bounds come from
    one ordinary backup now and then.

    The number of backups grows like ``log(1 / tolerance) / (1 - gamma)``.

    Raises:
        ValueError: gamma outside [0, 1); a tolerance that is not positive, or below what rounding lets these
            bounds reach (the message names the smallest that can be certified).
        NotConverged: ``max_iterations`` backups were not enough; its ``solution`` holds valid bounds.
    """
    goal = verified_goal("value_iteration", mdp, gamma, tolerance)
    verified_iterations(max_iterations)
    if in_place:
        return _in_place(goal, max_iterations)
    limit = _enough_backups(goal.size, goal.gamma)
    value = np.zeros(mdp.num_states)
    for iterations in range(1, limit + 1):
        backed_up = best_backup(goal.mdp, value, goal.gamma)  # [N]
        shifts = macqueen_shifts(goal.size, value, backed_up, goal.gamma)
        lower, upper = shifted(value, shifts)
        if widest(lower, upper) <= goal.tolerance:
            return certified_from_below(goal, lower, upper, iterations)
        if at_rounding(shifts) or iterations == limit:
            break
        if iterations == max_iterations:
            raise out_of_iterations(goal, certified_from_below(goal, lower, upper, iterations), "backups")
        value = backed_up
    raise below_rounding(goal, lower, upper)


def _in_place(goal: Goal, max_iterations: int | None) -> Solution:
    """Gauss-Seidel value iteration."""
    mdp = as_table(goal.mdp)
    value = np.zeros(mdp.num_states + 1)
    policy = np.empty(mdp.num_states, np.int64)
    unrolled = unrolled_outcomes(mdp.num_successors)
    enough, iterations = goal.residual, 0
    while True:
        iterations += 1
        change = improve_in_place(
            mdp.arrival, mdp.probability, mdp.expected_reward, value, goal.gamma, policy, iterations % 2 == 0, unrolled
        )
        if change <= enough or iterations == max_iterations:
            certificate = bounds_from(goal, value[:-1])
            if certificate.width <= goal.tolerance:
                return certified_from_below(goal, certificate.lower, certificate.upper, iterations)
            if at_rounding(certificate.shifts) or change == 0:
                raise below_rounding(goal, certificate.lower, certificate.upper)
            if iterations == max_iterations:
                solution = certified_from_below(goal, certificate.lower, certificate.upper, iterations)
                raise out_of_iterations(goal, solution, "sweeps")
            enough = change / 2


class Certificate(NamedTuple):
    """Bounds on the optimum from one backup of some value function."""

    lower: Array  # [N]
    upper: Array  # [N]
    shifts: Shifts

    @property
    def width(self) -> float:
        """The largest ``upper - lower``, rounded upwards."""
        return widest(self.lower, self.upper)


def best_backup(mdp: Problem, value: Array, gamma: float) -> Array:
    """``B value``, ``[N] -> [N]``, without keeping the q-values."""
    if COMPILED and isinstance(mdp, TabularMDP):
        best, policy = np.zeros(mdp.num_states + 1), np.empty(mdp.num_states, np.int64)
        table = (mdp.arrival, mdp.probability, mdp.expected_reward)
        back_up_best(*table, ended_by_zero(value), gamma, best, policy, unrolled_outcomes(mdp.num_successors))
        return best[:-1]
    return highest(q_backup(mdp, value, gamma))


def bounds_from(goal: Goal, value: Array) -> Certificate:
    """The bounds that one backup of ``value [N]`` proves."""
    shifts = macqueen_shifts(goal.size, value, best_backup(goal.mdp, value, goal.gamma), goal.gamma)
    return Certificate(*shifted(value, shifts), shifts)


def at_rounding(shifts: Shifts) -> bool:
    """Whether further backups cannot bring the bounds closer: rounding is (half of) what keeps them apart."""
    return shifts.upper - shifts.lower <= 2 * shifts.rounding


def certified_from_below(goal: Goal, lower: Array, upper: Array, iterations: int, work: int = 0) -> Solution:
    """The solution whose policy is greedy to the lower bound, given ``lower <= V* <= upper``, ``[N]`` each.

    ``work`` is the bytes of the method's own arrays.
    """
    mdp, size, gamma = goal.mdp, goal.size, goal.gamma
    q = q_backup(mdp, lower, gamma)  # [N, A]
    value = highest(q)  # [N]
    optimal = possibly_optimal(size, lower, q, lower, upper, gamma)
    earned, _ = shifted(lower, macqueen_shifts(size, lower, value, gamma))  # a lower bound of the policy's own value
    return Solution(
        value=value,
        q=q,
        policy=greedy(q),
        optimal_actions=optimal,
        lower=lower,
        upper=upper,
        policy_loss_bound=widest(earned, upper),
        iterations=iterations,
        seconds=time.perf_counter() - goal.began,
        converged=widest(lower, upper) <= goal.tolerance,
        gamma=gamma,
        tolerance=goal.tolerance,
        mdp=mdp,
        method=goal.method.replace("_", " "),
        bytes=problem_bytes(mdp) + work + q.nbytes + optimal.nbytes + 5 * value.nbytes,
    )


def problem_bytes(mdp: Problem) -> int:
    """Bytes of the arrays of a problem, those derived from it included."""
    held = [array for array in vars(mdp).values() if isinstance(array, np.ndarray)]
    bounds = [np.lib.array_utils.byte_bounds(array) for array in held]  # what a view repeats is there once
    return sum(last - first for first, last in bounds)


def out_of_iterations(goal: Goal, solution: Solution, unit: str) -> NotConverged:
    """The error of a limit that came before the tolerance."""
    return NotConverged(
        f"the bounds are {solution.width:.3g} apart after {solution.iterations} {unit}, more than the tolerance "
        f"{goal.tolerance:g}: allow more iterations or a larger tolerance (the solution so far is in .solution)",
        solution,
    )


def below_rounding(goal: Goal, lower: Array, upper: Array) -> ValueError:
    """The error of a tolerance that rounding does not allow."""
    return ValueError(
        f"tolerance {goal.tolerance:g} is below what rounding allows at gamma {goal.gamma}: the smallest that "
        f"{goal.method} can certify for this problem is {_two_digits_up(widest(lower, upper))}"
    )


def _enough_backups(size: Extents, gamma: float) -> int:
    """Backups after which exact arithmetic from V = 0 would leave a residual below one rounding error.

    The residual starts at R at most and shrinks by gamma m_high each time: what remains later is rounding.
    """
    modulus = gamma * size.continuation_high
    if modulus == 0 or size.reward == 0:
        return 3
    error = rounding_bound(size, np.zeros(1), gamma)
    return 3 + math.ceil(math.log(error / size.reward) / math.log(modulus))


def _two_digits_up(number: float) -> str:
    """``number`` with two significant digits, not below it."""
    step = 10.0 ** (math.floor(math.log10(number)) - 1)
    return f"{math.ceil(number / step + 1e-6) * step:.1e}"
