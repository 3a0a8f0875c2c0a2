"""Value iteration: back up until the bounds are close enough."""

from __future__ import annotations

import math

import numpy as np

from ..certify import (
    SolverTask,
    best_backup,
    bounds_from,
    conclude,
    kept_on_interrupt,
    proved,
    verified_iterations,
    verified_task,
)
from ..kernels.sweeps import improve_in_place
from ..operators import Extents, Problem, as_table, rounding_bound, table_arrays
from ..solution import Solution


def value_iteration(
    mdp: Problem,
    gamma: float,
    tolerance: float = 1e-9,
    max_iterations: int | None = None,
    in_place: bool = False,
) -> Solution:
    """Enclose the optimal value of every state to within ``tolerance``.

    Starts from V = 0, repeats ``V <- BV`` (Bellman 1957), and stops as soon as the two-sided bounds of
    ``macqueen_shifts`` are at most ``tolerance`` apart. ``value`` is then the backup of the lower bound L: as
    ``BL >= L``, its greedy policy earns at least L (Puterman 1994, theorem 6.2.2 for one policy), so that
    ``policy_loss_bound`` is the width of the bounds, apart from rounding, instead of the usual multiple of it.

    ``in_place=True`` replaces each value as soon as it is backed up, states in order and then in reverse
    (Gauss-Seidel; Puterman 1994, section 6.3.3). That takes fewer sweeps where episodes end; the bounds come from
    an ordinary backup after a sweep that changed little.

    The number of backups grows like ``log(1 / tolerance) / (1 - gamma)``.

    Args:
        mdp: a ``TabularMDP``, ``GridMDP`` or ``LatticeMDP``.
        gamma: discount, in [0, 1).
        tolerance: largest distance of the bounds, in units of return.
        max_iterations: maximum number of backups; None for no limit.
        in_place: see above.

    Raises:
        ValueError: gamma outside [0, 1); a tolerance that is not positive, or below what rounding lets these
            bounds reach (the message names the smallest that can be certified).
        NotConverged: ``max_iterations`` backups were not enough; its ``solution`` holds valid bounds.
    """
    task = verified_task("value_iteration", mdp, gamma, tolerance)
    verified_iterations(max_iterations)
    if in_place:
        return _in_place(task, max_iterations)
    enough_backups = _enough_backups(task.size, task.gamma)
    value = np.zeros(mdp.num_states)
    iterations = 0
    with kept_on_interrupt(task, lambda: (value, iterations)):
        while True:
            iterations += 1
            backed_up = best_backup(task.mdp, value, task.gamma)  # [N]
            certificate = proved(task, value, backed_up)
            limit_reached = iterations == max_iterations
            settled = iterations == enough_backups
            solution = conclude(
                task, certificate, iterations, settled=settled, limit_reached=limit_reached, unit="backups"
            )
            if solution is not None:
                return solution
            value = backed_up


def _in_place(task: SolverTask, max_iterations: int | None) -> Solution:
    """Gauss-Seidel value iteration."""
    table = table_arrays(as_table(task.mdp))
    value = np.zeros(task.mdp.num_states + 1)
    policy = np.empty(task.mdp.num_states, np.int32)
    enough, iterations = task.residual, 0
    with kept_on_interrupt(task, lambda: (value[:-1], iterations)):
        while True:
            iterations += 1
            change = improve_in_place(table, value, task.gamma, policy, iterations % 2 == 0)
            limit_reached = iterations == max_iterations
            if change <= enough or limit_reached:
                certificate = bounds_from(task, value[:-1])
                solution = conclude(task, certificate, iterations, settled=change == 0, limit_reached=limit_reached)
                if solution is not None:
                    return solution
                enough = change / 2


def _enough_backups(size: Extents, gamma: float) -> int:
    """Backups after which exact arithmetic from V = 0 would leave a residual below one rounding error.

    The residual starts at R at most and shrinks by gamma m_high each time: what remains later is rounding.
    """
    modulus = gamma * size.continuation_high
    if modulus == 0 or size.reward == 0:
        return 3
    error = rounding_bound(size, np.zeros(1), gamma)
    return 3 + math.ceil(math.log(error / size.reward) / math.log(modulus))
