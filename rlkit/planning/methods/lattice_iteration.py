"""Policy iteration by Gauss-Seidel sweeps over the cells of a lattice, without a table."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from rlkit.compiled.jit import COMPILED
from rlkit.mdp import LatticeMDP

from ..certify import bounds_from, conclude, kept_on_interrupt, verified_iterations, verified_task
from ..kernels.cells import cells_of, evaluate_cells, improve_cells
from ..operators import Array, verified_start
from ..solution import Solution
from .modified_policy_iteration import Progress, given_up

PAIRS = 3  # of sweeps to and fro before the two that are extrapolated


def lattice_iteration(
    mdp: LatticeMDP,
    gamma: float,
    tolerance: float = 1e-9,
    max_iterations: int | None = None,
    initial: ArrayLike | None = None,
) -> Solution:
    """Find the optimum by improvements and evaluations in turn, as in ``modified_policy_iteration``, without a table.

    Each value is replaced as soon as it is backed up, points in order and then in reverse (Gauss-Seidel). After some
    sweeps the error is nearly one mode, the common value of all points between which a policy moves for ever, and it
    shrinks by gamma a sweep only. So an evaluation ends with an extrapolation from two pairs of sweeps (Aitken 1926).
    An extrapolation that did not help makes the next ones rarer. The bounds hold in any case.

    ``iterations`` counts sweeps.

    Args:
        mdp: the lattice.
        gamma: discount, in [0, 1).
        tolerance: largest distance of the bounds, in units of return.
        max_iterations: maximum number of sweeps, as in ``modified_policy_iteration``.
        initial: value function ``[N]`` to start from, such as a coarser lattice's (Chow & Tsitsiklis 1991).

    Raises:
        ValueError: gamma outside [0, 1); a tolerance that is not positive, or below what rounding allows; an
            ``initial`` of another shape; numba is not installed.
        NotConverged: ``max_iterations`` sweeps were not enough; its ``solution`` holds valid bounds.
    """
    if not COMPILED:
        raise ValueError("lattice_iteration needs numba: pip install 'rlkit-exact[fast]', or use device_iteration")
    if not isinstance(mdp, LatticeMDP):
        raise ValueError(f"mdp is a {type(mdp).__name__}: pass a LatticeMDP, or use solve(mdp, gamma)")
    task = verified_task("lattice_iteration", mdp, gamma, tolerance)
    verified_iterations(max_iterations)
    limit = math.inf if max_iterations is None else max_iterations
    value = np.zeros(mdp.num_states) if initial is None else verified_start(mdp, initial)
    policy = np.zeros(mdp.num_states, np.int32)
    cells = cells_of(mdp)
    work = 4 * value.nbytes + policy.nbytes
    seen: list[Progress] = []
    leaps = Leaps()
    enough, done = task.residual, 0

    def to_and_fro(pairs: int) -> None:
        evaluate_cells(cells, value, task.gamma, policy, pairs)

    with kept_on_interrupt(task, lambda: (value, done)):
        while True:
            change = improve_cells(cells, value, task.gamma, policy, len(seen) % 2 == 1)
            done += 1
            leaps.look(change)
            seen.append(Progress(done, change))
            limit_reached = given_up(seen, enough, limit)
            if change <= enough or limit_reached:
                certificate = bounds_from(task, value)
                solution = conclude(
                    task, certificate, done, settled=change == 0, limit_reached=limit_reached, work=work
                )
                if solution is not None:
                    return solution
                enough = change / 2
            to_and_fro(PAIRS)
            leaps.take(value, to_and_fro, task.gamma)
            done += 2 * (PAIRS + 2)


class Leaps:
    """Extrapolations of a policy's evaluation. One that does not help doubles the pause before the next one."""

    def __init__(self) -> None:
        self.last, self.rest, self.pause = math.inf, 0, 1

    def look(self, change: float) -> None:
        """Record the largest ``change`` by the improvement after an extrapolation."""
        if change >= self.last:
            self.rest, self.pause = self.pause, 2 * self.pause
        self.last = change

    def take(self, value: Array, to_and_fro: Callable[[int], None], gamma: float) -> None:
        """Sweep ``value [N]`` twice to and fro, in place, and add the rest of the geometric series of the changes.

        No policy's changes fade slower than by gamma a sweep, so neither does the series.
        """
        if self.rest > 0:
            self.rest -= 1
            to_and_fro(2)
            return
        before = value.copy()
        to_and_fro(1)
        first = value - before
        before[:] = value
        to_and_fro(1)
        second = np.subtract(value, before, out=before)
        size = float(np.vdot(first, first))
        ratio = min(float(np.vdot(first, second)) / size, gamma**2) if size > 0 else 0.0
        value += max(ratio, 0.0) / (1 - ratio) * second
