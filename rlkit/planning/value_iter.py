"""Value iteration: back up until the bounds are close enough."""

from __future__ import annotations

import math
import time

import numpy as np

from ..mdp import TabularMDP
from .bounds import macqueen_shifts, possibly_optimal, shifted, widest
from .discount import verified_contraction
from .operators import Array, Extents, extents, greedy, q_backup, rounding_bound
from .solution import NotConverged, Solution


def value_iteration(
    mdp: TabularMDP, gamma: float, tolerance: float = 1e-9, max_iterations: int | None = None
) -> Solution:
    """The optimal value of every state, enclosed to within ``tolerance``.

    Starts from V = 0, repeats ``V <- BV`` (Bellman 1957), and stops as soon as the two-sided bounds of
    ``macqueen_shifts`` are at most ``tolerance`` apart. ``value`` is then the backup of the lower bound L: as
    ``BL >= L``, its greedy policy earns at least L (Puterman 1994, theorem 6.2.2 for one policy), so that
    ``policy_loss_bound`` is the width of the bounds, but for rounding, and not the usual multiple of it.

    The number of backups grows like ``log(1 / tolerance) / (1 - gamma)``.

    Raises:
        ValueError: gamma outside [0, 1); a tolerance that is not positive, or below what rounding lets these
            bounds reach (the message names the smallest that can be certified).
        NotConverged: ``max_iterations`` backups were not enough; its ``solution`` holds valid bounds.
    """
    size = extents(mdp)
    gamma = verified_contraction("value_iteration", gamma, size)
    if not 0 < tolerance < math.inf:
        raise ValueError(f"tolerance {tolerance}: give a positive number, the largest upper - lower to accept")
    if max_iterations is not None and max_iterations < 1:
        raise ValueError(f"max_iterations {max_iterations}: give a positive integer, or None for as many as it takes")
    began = time.perf_counter()
    limit = _enough_backups(size, gamma)
    value = np.zeros(mdp.num_states)
    for iterations in range(1, limit + 1):
        backed_up = q_backup(mdp, value, gamma).max(axis=1)  # [N]
        shifts = macqueen_shifts(size, value, backed_up, gamma)
        lower, upper = shifted(value, shifts)
        if widest(lower, upper) <= tolerance:
            return certified_from_below(mdp, size, lower, upper, gamma, tolerance, iterations, began)
        if shifts.upper - shifts.lower <= 2 * shifts.rounding or iterations == limit:
            break
        if iterations == max_iterations:
            solution = certified_from_below(mdp, size, lower, upper, gamma, tolerance, iterations, began)
            raise NotConverged(
                f"the bounds are {solution.width:.3g} apart after {iterations} backups, more than the tolerance "
                f"{tolerance:g}: allow more iterations or a larger tolerance (the solution so far is in .solution)",
                solution,
            )
        value = backed_up
    raise ValueError(
        f"tolerance {tolerance:g} is below what rounding allows at gamma {gamma}: the smallest that value_iteration "
        f"can certify for this problem is {_two_digits_up(widest(lower, upper))}"
    )


def certified_from_below(
    mdp: TabularMDP,
    size: Extents,
    lower: Array,
    upper: Array,
    gamma: float,
    tolerance: float,
    iterations: int,
    began: float,
) -> Solution:
    """The solution whose policy is greedy to the lower bound, given ``lower <= V* <= upper``, ``[N]`` each."""
    q = q_backup(mdp, lower, gamma)  # [N, A]
    value = q.max(axis=1)  # [N]
    earned, _ = shifted(lower, macqueen_shifts(size, lower, value, gamma))  # a lower bound of the policy's own value
    return Solution(
        value=value,
        q=q,
        policy=greedy(q),
        optimal_actions=possibly_optimal(mdp, size, lower, upper, gamma),
        lower=lower,
        upper=upper,
        policy_loss_bound=widest(earned, upper),
        iterations=iterations,
        seconds=time.perf_counter() - began,
        converged=widest(lower, upper) <= tolerance,
        gamma=gamma,
        tolerance=tolerance,
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
