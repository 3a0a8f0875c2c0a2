"""Inexact policy iteration: policies are evaluated by a Krylov method, to a hundredth of the residual."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from rlkit.mdp import TabularMDP

from ..certify import bounds_from, conclude, kept_on_interrupt, verified_iterations, verified_task
from ..chain import policy_chain
from ..operators import Array, Problem, as_table, greedy, q_backup, verified_start
from ..solution import Solution
from .modified_policy_iteration import CONTINUING

REDUCTION = 0.01  # of the residual, by one evaluation
KRYLOV_STEPS = 3000  # of one evaluation at most
LOOKS = 200  # improvements, unless the caller says


def inexact_policy_iteration(
    mdp: Problem,
    gamma: float,
    tolerance: float = 1e-9,
    max_iterations: int | None = LOOKS,
    initial: ArrayLike | None = None,
) -> Solution:
    """Find the optimum by greedy improvement and evaluation by BiCGStab (van der Vorst 1992; Gargiani et al. 2024).

    Each evaluation starts from the last values and stops where the residual of ``(I - gamma P) V = r`` has fallen to a
    hundredth. Its result is used only if it lowered the residual; otherwise sweeps replace it, so that a
    breakdown of the Krylov method costs time but no accuracy. The number of steps grows like ``1 / sqrt(1 - gamma)``
    where sweeps grow like ``1 / (1 - gamma)``; memory is that of one policy's matrix.

    ``iterations`` counts improvements.

    Args:
        mdp: a ``TabularMDP``, ``GridMDP`` or ``LatticeMDP``.
        gamma: discount, in [0, 1).
        tolerance: largest distance of the bounds, in units of return.
        max_iterations: maximum number of improvements; None for no limit.
        initial: value function ``[N]`` to start from.

    Raises:
        ValueError: gamma outside [0, 1); a tolerance that is not positive, or below what rounding allows; an
            ``initial`` of another shape.
        NotConverged: ``max_iterations`` improvements were not enough; its ``solution`` holds valid bounds.
    """
    task = verified_task("inexact_policy_iteration", mdp, gamma, tolerance)
    verified_iterations(max_iterations)
    table = as_table(mdp)
    continuing = task.size.continuation_low >= CONTINUING
    value = np.zeros(table.num_states) if initial is None else verified_start(table, initial)
    iterations = 0
    with kept_on_interrupt(task, lambda: (value, iterations)):
        while True:
            iterations += 1
            certificate = bounds_from(task, value)
            work = 8 * 8 * len(value)
            limit_reached = iterations == max_iterations
            solution = conclude(
                task, certificate, iterations, limit_reached=limit_reached, work=work, unit="improvements"
            )
            if solution is not None:
                return solution
            shifts = certificate.shifts
            middle = (shifts.lower + shifts.upper) / 2
            if continuing and abs(middle) > shifts.upper - shifts.lower:
                value = value + middle
            value = _evaluated(table, value, task.gamma, task.residual)


def _evaluated(mdp: TabularMDP, value: Array, gamma: float, residual: float) -> Array:
    """A better value function of the policy greedy to ``value [N]``, ``[N]``."""
    from scipy.sparse.linalg import bicgstab

    reward, continuation = policy_chain(mdp, greedy(q_backup(mdp, value, gamma)))
    matrix = (sparse.eye_array(mdp.num_states, format="csr") - gamma * continuation).tocsr()
    before = reward - matrix @ value
    # The Krylov method solves for the correction, so that its rounding errors are relative to the correction, not to V.
    enough = max(REDUCTION * float(np.linalg.norm(before, axis=0)), 0.1 * residual)
    with np.errstate(all="ignore"):
        correction, _ = bicgstab(matrix, before, rtol=0.0, atol=enough, maxiter=KRYLOV_STEPS)
        after = before - matrix @ correction
    if float(np.abs(after).max(axis=0)) < 0.5 * float(np.abs(before).max(axis=0)):
        return np.asarray(value + correction)
    for _ in range(100):
        value = reward + gamma * (continuation @ value)
    return np.asarray(value)
