"""From values to a certified solution: the task of a solver, the bounds from one backup, and the ends of a solve."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import numpy as np

from rlkit.compiled.jit import COMPILED
from rlkit.mdp import GridMDP, LatticeMDP, TabularMDP

from .bounds import Shifts, doubt, macqueen_shifts, shifted, widest
from .discount import verified_contraction
from .kernels.stencil import TILE_OUTCOMES
from .kernels.sweeps import back_up_best
from .kernels.work import WORK
from .operators import Array, Extents, Problem, choices, ended_by_zero, extents, highest, q_backup, table_arrays
from .solution import NotConverged, Solution, SolverInterrupted

MOST_KEPT = 4 * WORK  # outcomes; an interrupted solver proves bounds before it leaves if the problem has no more


class SolverTask(NamedTuple):
    """What a solver was asked, verified, and when it began."""

    mdp: Problem
    size: Extents
    gamma: float
    tolerance: float
    method: str
    began: float

    @property
    def residual(self) -> float:
        """The change of every value in a backup below which the bounds are within the tolerance, rounding aside."""
        return self.tolerance * (1 - self.gamma * self.size.continuation_high)


def verified_task(method: str, mdp: Problem, gamma: float, tolerance: float) -> SolverTask:
    """The verified task, else a ValueError."""
    began = time.perf_counter()
    size = extents(mdp)
    gamma = verified_contraction(method, gamma, size)
    if not 0 < tolerance < math.inf:
        raise ValueError(f"tolerance {tolerance}: give a positive number, the largest upper - lower to accept")
    return SolverTask(mdp, size, gamma, float(tolerance), method, began)


def verified_iterations(max_iterations: int | None) -> None:
    """Raise ValueError unless None or positive."""
    if max_iterations is not None and max_iterations < 1:
        raise ValueError(f"max_iterations {max_iterations}: give a positive integer, or None for as many as it takes")


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
        best, policy = np.zeros(mdp.num_states + 1), np.empty(mdp.num_states, np.int32)
        back_up_best(table_arrays(mdp), ended_by_zero(value), gamma, best, policy)
        return best[:-1]
    return highest(q_backup(mdp, value, gamma))


def bounds_from(task: SolverTask, value: Array) -> Certificate:
    """The bounds that one backup of ``value [N]`` proves."""
    return proved(task, value, best_backup(task.mdp, value, task.gamma))


def proved(task: SolverTask, value: Array, backed_up: Array) -> Certificate:
    """The bounds that ``backed_up [N]``, the backup of ``value [N]``, proves."""
    shifts = macqueen_shifts(task.size, value, backed_up, task.gamma)
    return Certificate(*shifted(value, shifts), shifts)


def conclude(
    task: SolverTask,
    certificate: Certificate,
    iterations: int,
    *,
    settled: bool = False,
    limit_reached: bool = False,
    work: int = 0,
    unit: str = "sweeps",
) -> Solution | None:
    """End a solver's loop in one of three ways, or return None if it must continue.

    1. The bounds are close enough: the solution.
    2. More iterations cannot bring them closer, because rounding keeps them apart: ValueError.
    3. No more iterations are allowed: NotConverged.

    Args:
        task: the problem and the wanted tolerance.
        certificate: the bounds that the current values prove.
        iterations: done so far, counted in ``unit``.
        settled: the values no longer change, or are known to change by rounding alone.
        limit_reached: the iteration limit is reached, or known to be too low.
        work: bytes of the method's own arrays.
        unit: name of an iteration, for the message.

    Raises:
        ValueError: the second case; the message names the smallest tolerance that can be certified.
        NotConverged: the third case; its ``solution`` has valid bounds.
    """
    if certificate.width <= task.tolerance:
        return certified_from_below(task, certificate, iterations, work)
    if settled or rounding_dominates(certificate.shifts):
        raise below_rounding(task, certificate.width)
    if limit_reached:
        raise out_of_iterations(task, certified_from_below(task, certificate, iterations, work), unit)
    return None


class SolverProgress:
    """The progress of the solver that runs within ``followed``; another thread may read it."""

    def __init__(self) -> None:
        self._method = ""
        self._so_far: Callable[[], tuple[Array, int]] | None = None

    def begin(self, method: str, so_far: Callable[[], tuple[Array, int]]) -> None:
        """Follow a method, whose iterations ``so_far`` counts."""
        self._method, self._so_far = method.replace("_", " "), so_far

    def end(self) -> None:
        """Follow no method."""
        self._so_far = None

    def __str__(self) -> str:
        """Give the iterations done and the method; empty while none runs."""
        so_far = self._so_far
        return "" if so_far is None else f"{so_far()[1]:,} iterations of {self._method}"


_follower: ContextVar[SolverProgress | None] = ContextVar("follower", default=None)


@contextmanager
def followed() -> Iterator[SolverProgress]:
    """Yield a progress that solvers of this thread update within the context.

    Policy iteration, interval iteration and solvers on devices do not update it.
    """
    progress = SolverProgress()
    token = _follower.set(progress)
    try:
        yield progress
    finally:
        _follower.reset(token)


@contextmanager
def kept_on_interrupt(task: SolverTask, so_far: Callable[[], tuple[Array, int]]) -> Iterator[None]:
    """Turn a ``KeyboardInterrupt`` into one that carries the solution so far, with its bounds; see also ``followed``.

    Bounds follow from a backup of any values, those of an unfinished sweep included. This costs a few sweeps, so
    problems of more than ``MOST_KEPT`` outcomes end at once.

    Args:
        task: the problem and the wanted tolerance.
        so_far: the current values ``[N]``, and the iterations done.

    Raises:
        SolverInterrupted: the context was interrupted.
    """
    follower = _follower.get()
    if follower is not None:
        follower.begin(task.method, so_far)
    try:
        yield
    except SolverInterrupted:
        raise
    except KeyboardInterrupt as interrupt:
        if num_outcomes(task.mdp) > MOST_KEPT:
            raise
        value, iterations = so_far()
        raise SolverInterrupted(certified_from_below(task, bounds_from(task, value), iterations)) from interrupt
    finally:
        if follower is not None:
            follower.end()


def num_outcomes(mdp: Problem) -> int:
    """The number of outcomes of all states and actions, which is the work of a backup."""
    if isinstance(mdp, GridMDP):
        return int(TILE_OUTCOMES * mdp.open.size)
    if isinstance(mdp, LatticeMDP):
        return int(mdp.corner.size * 2 ** len(mdp.lattice.shape))
    return int(mdp.probability.size)


def rounding_dominates(shifts: Shifts) -> bool:
    """Whether rounding is at least half of the distance between the bounds, so that further backups gain little."""
    return shifts.upper - shifts.lower <= 2 * shifts.rounding


def certified_from_below(task: SolverTask, certificate: Certificate, iterations: int, work: int = 0) -> Solution:
    """The solution whose policy is greedy to the lower bound; ``work`` is the bytes of the method's own arrays.

    With L the lower bound the policy earns at least ``L + min(BL - L) / (1 - gamma m)``, as ``macqueen_shifts`` says.
    """
    lower, upper, _ = certificate
    width, uncertain = certificate.width, doubt(task.size, lower, lower, upper, task.gamma)
    value, policy, optimal = choices(task.mdp, lower, task.gamma, uncertain)
    earned = macqueen_shifts(task.size, lower, value, task.gamma).lower
    return Solution(
        value=value,
        ahead=lower,
        policy=policy,
        optimal_actions=optimal,
        lower=lower,
        upper=upper,
        policy_loss_bound=math.nextafter(width - earned, math.inf),
        iterations=iterations,
        seconds=time.perf_counter() - task.began,
        converged=width <= task.tolerance,
        gamma=task.gamma,
        tolerance=task.tolerance,
        mdp=task.mdp,
        method=task.method.replace("_", " "),
        bytes=problem_bytes(task.mdp) + work + optimal.nbytes + 5 * value.nbytes,
    )


def problem_bytes(mdp: Problem) -> int:
    """Bytes of the arrays of a problem, those derived from it included."""
    held = [array for array in vars(mdp).values() if isinstance(array, np.ndarray)]
    return sum(array.nbytes if array.flags.c_contiguous else _bytes_once(array) for array in held)


def _bytes_once(view: np.ndarray) -> int:
    """Bytes of an array; memory that a view repeats is counted once."""
    first, last = np.lib.array_utils.byte_bounds(view)
    return last - first


def out_of_iterations(task: SolverTask, solution: Solution, unit: str) -> NotConverged:
    """The error to raise where the iteration limit came before the tolerance."""
    return NotConverged(
        f"the bounds are {solution.width:.3g} apart after {solution.iterations} {unit}, more than the tolerance "
        f"{task.tolerance:g}: allow more iterations or a larger tolerance (the solution so far is in .solution)",
        solution,
    )


def below_rounding(task: SolverTask, width: float) -> ValueError:
    """The error to raise where rounding does not allow the tolerance."""
    return ValueError(
        f"tolerance {task.tolerance:g} is below what rounding allows at gamma {task.gamma}: the smallest that "
        f"{task.method} can certify for this problem is {two_digits_up(width)}"
    )


def two_digits_up(number: float) -> str:
    """``number`` with two significant digits, not below it."""
    step = 10.0 ** (math.floor(math.log10(number)) - 1)
    return f"{math.ceil(number / step + 1e-6) * step:.1e}"
