"""Value iteration on a grid map, which reads neighboring tiles instead of a table."""

from __future__ import annotations

import math

from rlkit.compiled.jit import COMPILED
from rlkit.mdp import GridMDP

from ..certify import best_backup, bounds_from, conclude, kept_on_interrupt, verified_iterations, verified_task
from ..kernels.stencil import back_up, stencil, sweep, values_of
from ..solution import Solution
from .modified_policy_iteration import CONTINUING, Progress, given_up

SWEEPS = 40  # between two looks at the residual; even


def stencil_iteration(
    grid: GridMDP, gamma: float, tolerance: float = 1e-9, max_iterations: int | None = None
) -> Solution:
    """Find the optimum by sweeps over the map, row by row down and up, each row from the newest rows beside it.

    A row at a time is Gauss-Seidel across rows and Jacobi along them, which the processor computes for eight tiles at
    once and which takes about half the sweeps of Jacobi. Where nothing ends and staying pays as arriving does, sweeps
    are Jacobi's and all values are moved to the middle of their bounds every 40 sweeps, as in
    ``modified_policy_iteration``. The bounds are proved by one backup of the final values. ``iterations`` counts
    sweeps.

    Args:
        grid: the map.
        gamma: discount, in [0, 1).
        tolerance: largest distance of the bounds, in units of return.
        max_iterations: maximum number of sweeps, as in ``modified_policy_iteration``.

    Raises:
        ValueError: gamma outside [0, 1); a tolerance that is not positive, or below what rounding allows; numba is
            not installed.
        NotConverged: ``max_iterations`` sweeps were not enough; its ``solution`` holds valid bounds.
    """
    if not COMPILED:
        raise ValueError(
            "stencil_iteration needs numba: pip install 'rlkit-exact[fast]', or use another method on grid.to_tabular()"
        )
    if not isinstance(grid, GridMDP):
        raise ValueError(f"grid is a {type(grid).__name__}: pass a GridMDP, or use solve(mdp, gamma, method='stencil')")
    task = verified_task("stencil_iteration", grid, gamma, tolerance)
    verified_iterations(max_iterations)
    limit = math.inf if max_iterations is None else max_iterations
    table = stencil(grid, task.gamma)
    enough, done = task.residual, 0
    together = task.size.continuation_low >= CONTINUING and table.stay is None and task.gamma > 0
    other = table.worth.copy() if together else table.worth
    seen: list[Progress] = []
    with kept_on_interrupt(task, lambda: (values_of(grid, table), done)):
        while True:
            now = int(min(SWEEPS, max(limit - done, 2)))
            now += now % 2
            least, largest = back_up(table, other, now) if together else sweep(table, now)
            change = largest - least if together else max(largest, 0.0) - min(least, 0.0)
            done += now
            seen.append(Progress(done, change))
            limit_reached = given_up(seen, enough, limit)
            if change <= enough or limit_reached:
                certificate = bounds_from(task, best_backup(grid, values_of(grid, table), task.gamma))
                solution = conclude(
                    task, certificate, done, settled=change == 0, limit_reached=limit_reached, work=table.nbytes
                )
                if solution is not None:
                    return solution
                enough = change / 2
            if together and abs(least + largest) > 2 * change:
                # In V the values go to the middle of their bounds, gamma (least + largest) / 2 / (1 - gamma) further on
                table.worth[:] += task.gamma**2 * (least + largest) / 2 / (1 - task.gamma)
