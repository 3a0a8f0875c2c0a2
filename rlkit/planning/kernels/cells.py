"""Sweeps over the points of a lattice, read as the cells that its steps lead to.

Letters: N points, A actions, d axes.
"""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.compiled.jit import compiled
from rlkit.mdp import LatticeMDP

from .work import pieces, repeats

Floats = NDArray[np.float64]


class CellArrays(NamedTuple):
    """A problem on a lattice as the compiled loops read it."""

    corner: NDArray[Any]  # [A, N], the lowest of the cell that an action leads to
    fraction: Floats  # [d, A, N], how far into the cell
    reward: Floats  # [A, N]
    going_on: NDArray[np.bool_]  # [A, N]
    corners: NDArray[np.int64]  # [2^d], how far each corner is from the lowest one, the last axis fastest
    axes: tuple[int, ...]  # d zeros: the compiler knows the length of a tuple


def cells_of(mdp: LatticeMDP) -> CellArrays:
    """The cells that every action of every point leads to."""
    axes = len(mdp.lattice.shape)
    corners = np.array([np.dot(side, mdp.lattice.strides) for side in product((0, 1), repeat=axes)])
    return CellArrays(mdp.corner, mdp.fraction, mdp.reward, mdp.going_on, corners, (0,) * axes)


@compiled
def _worth(
    cells: CellArrays,
    value: Floats,
    gamma: float,
    state: int,
    action: int,
    around: Floats,
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
def _improve_cells(
    cells: CellArrays, value: Floats, gamma: float, policy: NDArray[Any], backwards: bool, first: int, last: int
) -> float:
    around = np.empty(len(cells.corners))
    largest = 0.0
    for index in range(first, last):
        state = last - 1 - (index - first) if backwards else index
        highest, chosen = -np.inf, 0
        for action in range(cells.corner.shape[0]):
            q = _worth(cells, value, gamma, state, action, around)
            if q > highest:
                highest, chosen = q, action
        largest = max(largest, abs(highest - value[state]))
        value[state], policy[state] = highest, chosen
    return largest


@compiled
def _evaluate_cells(
    cells: CellArrays,
    value: Floats,
    gamma: float,
    policy: NDArray[Any],
    sweeps: int,
    backwards: bool,
    first: int,
    last: int,
) -> None:
    around = np.empty(len(cells.corners))
    for _ in range(sweeps):
        for index in range(first, last):
            state = last - 1 - (index - first) if backwards else index
            value[state] = _worth(cells, value, gamma, state, policy[state], around)
        backwards = not backwards


def improve_cells(cells: CellArrays, value: Floats, gamma: float, policy: NDArray[Any], backwards: bool) -> float:
    """One Gauss-Seidel sweep over all actions, as ``sweeps.improve_in_place``; returns the largest change."""
    num_actions, num_states = cells.corner.shape
    return max(
        _improve_cells(cells, value, gamma, policy, backwards, points.start, points.stop)
        for points in pieces(num_states, num_actions * len(cells.corners), backwards)
    )


def evaluate_cells(cells: CellArrays, value: Floats, gamma: float, policy: NDArray[Any], pairs: int) -> None:
    """Sweep ``pairs`` times to and fro for ``policy [N]`` (Gauss-Seidel)."""
    size, each = cells.corner.shape[1], len(cells.corners)
    together, left, backwards = repeats(size * each), 2 * pairs, False
    while left > 0:
        now = min(together, left)
        left -= now
        for points in pieces(size, each, backwards):
            _evaluate_cells(cells, value, gamma, policy, now, backwards, points.start, points.stop)
        backwards = backwards != (now % 2 == 1)
