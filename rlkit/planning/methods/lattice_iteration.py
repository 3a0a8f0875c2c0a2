"""Policy iteration by Gauss-Seidel sweeps over the cells of a lattice, without a table."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.mdp import LatticeMDP

from ..certify import bounds_from, concluded, verified_iterations, verified_task
from ..kernels.jit import COMPILED, compiled
from ..kernels.sweeps import Unrolled
from ..operators import Array
from ..solution import Solution
from .modified_policy_iteration import Progress, given_up, verified_initial

PAIRS = 3  # of sweeps to and fro, in an evaluation before the two that are extrapolated


def lattice_iteration(
    mdp: LatticeMDP,
    gamma: float,
    tolerance: float = 1e-9,
    max_iterations: int | None = None,
    initial: Array | None = None,
) -> Solution:
    """The optimum by improvements and evaluations in turn, as in ``modified_policy_iteration``, read from the cells.

    Each value is replaced as soon as it is backed up, points in order and then in reverse (Gauss-Seidel). What is left
    after some sweeps is nearly one mode, the common value of all points between which a policy goes to and fro for
    ever, and it fades by gamma a sweep only: so an evaluation ends with a leap to where two pairs of sweeps point
    (Aitken's extrapolation). A leap that did not help makes the next ones rarer, and the bounds hold in any case.

    ``initial [N]`` is a value function to start from, such as a coarser lattice's (Chow & Tsitsiklis 1991).
    ``iterations`` counts sweeps; ``max_iterations`` limits them as in ``modified_policy_iteration``.

    Raises:
        ValueError: gamma outside [0, 1); a tolerance that is not positive, or below what rounding allows; an
            ``initial`` of another shape; numba is not installed.
        NotConverged: ``max_iterations`` sweeps were not enough; its ``solution`` holds valid bounds.
    """
    if not COMPILED:
        raise ValueError("lattice_iteration needs numba: pip install 'rlkit-exact[fast]', or use device_iteration")
    task = verified_task("lattice_iteration", mdp, gamma, tolerance)
    verified_iterations(max_iterations)
    limit = math.inf if max_iterations is None else max_iterations
    value = np.zeros(mdp.num_states) if initial is None else verified_initial(task, initial).copy()
    policy = np.zeros(mdp.num_states, np.int32)
    cells = cells_of(mdp)
    work = 4 * value.nbytes + policy.nbytes
    seen: list[Progress] = []
    leaps = Leaps()
    enough, done = task.residual, 0

    def to_and_fro(pairs: int) -> None:
        evaluate_cells(cells, value, task.gamma, policy, pairs)

    while True:
        change = improve_cells(cells, value, task.gamma, policy, len(seen) % 2 == 1)
        done += 1
        leaps.look(change)
        seen.append(Progress(done, change))
        tired = given_up(seen, enough, limit)
        if change <= enough or tired:
            solution = concluded(task, bounds_from(task, value), done, work, stuck=change == 0, tired=tired)
            if solution is not None:
                return solution
            enough = change / 2
        to_and_fro(PAIRS)
        leaps.take(value, to_and_fro, task.gamma)
        done += 2 * (PAIRS + 2)


class Leaps:
    """Extrapolations of a policy's evaluation, as long as they help: one that did not doubles the pause after it."""

    def __init__(self) -> None:
        self.last, self.rest, self.pause = math.inf, 0, 1

    def look(self, change: float) -> None:
        """What the next improvement changed after it."""
        if change >= self.last:
            self.rest, self.pause = self.pause, 2 * self.pause
        self.last = change

    def take(self, value: Array, to_and_fro: Callable[[int], None], gamma: float) -> None:
        """Two pairs of sweeps of ``value [N]``, in place, and the limit of the series that their changes begin.

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


class CellArrays(NamedTuple):
    """A problem on a lattice as the compiled loops read it."""

    corner: NDArray[Any]  # [A, N], the lowest of the cell that an action leads to
    fraction: Array  # [d, A, N], how far into the cell
    reward: Array  # [A, N]
    going_on: NDArray[np.bool_]  # [A, N]
    corners: NDArray[np.int64]  # [2^d], how far each corner is from the lowest one, the last axis fastest
    axes: Unrolled  # d zeros, as the compiler knows how many they are


def cells_of(mdp: LatticeMDP) -> CellArrays:
    """The cells that every action of every point leads to."""
    axes = len(mdp.lattice.shape)
    corners = np.array([np.dot(side, mdp.lattice.strides) for side in product((0, 1), repeat=axes)])
    return CellArrays(mdp.corner, mdp.fraction, mdp.reward, mdp.going_on, corners, (0,) * axes)


@compiled
def _worth(
    cells: CellArrays,
    value: Array,
    gamma: float,
    state: int,
    action: int,
    around: Array,
) -> float:
    """``q(s, a)`` to the bit of ``LatticeMDP.backup``; ``around [2^d]`` is work space, halved axis by axis."""
    paid = float(cells.reward[action, state])
    if not cells.going_on[action, state]:
        return paid
    num_axes = len(cells.axes)
    size = 1 << num_axes
    for k in range(size):
        around[k] = value[cells.corner[action, state] + cells.corners[k]]
    for number in range(num_axes):
        size >>= 1
        f = cells.fraction[num_axes - 1 - number, action, state]
        for k in range(size):
            around[k] = (1 - f) * around[2 * k] + f * around[2 * k + 1]
    return paid + gamma * float(around[0])


@compiled
def improve_cells(
    cells: CellArrays,
    value: Array,
    gamma: float,
    policy: NDArray[Any],
    backwards: bool,
) -> float:
    """As ``sweeps.improve_in_place``: one sweep over all actions; the largest change."""
    num_actions, num_states = cells.corner.shape
    around = np.empty(len(cells.corners))
    largest = 0.0
    for index in range(num_states):
        state = num_states - 1 - index if backwards else index
        highest, chosen = -np.inf, 0
        for action in range(num_actions):
            q = _worth(cells, value, gamma, state, action, around)
            if q > highest:
                highest, chosen = q, action
        largest = max(largest, abs(highest - value[state]))
        value[state], policy[state] = highest, chosen
    return largest


@compiled
def evaluate_cells(
    cells: CellArrays,
    value: Array,
    gamma: float,
    policy: NDArray[Any],
    pairs: int,
) -> None:
    """``pairs`` of sweeps to and fro for ``policy [N]``."""
    num_states = cells.corner.shape[1]
    around = np.empty(len(cells.corners))
    for sweep in range(2 * pairs):
        for index in range(num_states):
            state = num_states - 1 - index if sweep % 2 == 1 else index
            value[state] = _worth(cells, value, gamma, state, policy[state], around)
