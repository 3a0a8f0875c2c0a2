"""Sweeps over a grid map: the loops.

During sweeps a tile holds what arriving there is worth, ``W = entry_reward + gamma V``; a terminal tile holds its
entry reward and a wall minus infinity, which makes a mover stay. So one sweep reads two arrays and writes one: 24
bytes a state.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.compiled.jit import compiled
from rlkit.mdp import GridMDP

from .work import fits, pieces, repeats

Floats = NDArray[np.float64]

FIXED = -np.inf  # in ``base``: the worth of this tile never changes
TILE_OUTCOMES = 4  # of a tile: the neighbors that its backup looks at, whatever the number of actions
LANES = 8  # columns that the processor computes at once; the rest of a row is computed one by one, which is slow


class Stencil(NamedTuple):
    """A map as the sweeps read it, with a border of walls, wider on the right to make rows whole lanes; every array
    is ``[rows + 2, columns + 2 + more]``."""

    worth: Floats  # W of the current values; written by sweeps
    base: Floats  # entry_reward + gamma * step_reward; -inf at terminal tiles and walls
    stay: Floats | None  # bump_reward - entry_reward, what staying pays beyond W; None if it is zero everywhere
    ahead: float
    side: float
    behind: float
    gamma: float

    @property
    def outcomes(self) -> int:
        """Outcomes that a sweep looks at."""
        return TILE_OUTCOMES * self.worth.size

    def band(self, rows: slice) -> Stencil:
        """Some rows as a map of their own; its first and last row are read and not swept."""
        stay = None if self.stay is None else self.stay[rows]
        return self._replace(worth=self.worth[rows], base=self.base[rows], stay=stay)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.worth.nbytes + self.base.nbytes + (0 if self.stay is None else self.stay.nbytes)


def stencil(grid: GridMDP, gamma: float, value: Floats | None = None) -> Stencil:
    """The stencil of a map at ``value [N]``, zero unless given."""
    fixed = ~grid.open | grid.terminal
    worth = np.where(grid.open, grid.entry_reward, -np.inf)
    if value is not None:
        worth[~fixed] += gamma * value[~grid.of_states(grid.terminal)]
    base = np.where(fixed, FIXED, grid.entry_reward + gamma * grid.step_reward)
    stay = np.where(fixed, 0.0, grid.bump_reward - grid.entry_reward)
    border = ((1, 1), (1, 1 + -grid.open.shape[1] % LANES))
    return Stencil(
        worth=np.pad(worth, border, constant_values=-np.inf),
        base=np.pad(base, border, constant_values=FIXED),
        stay=np.pad(stay, border) if stay.any() else None,
        ahead=grid.chances[0],
        side=grid.chances[1],
        behind=grid.chances[2],
        gamma=gamma,
    )


@compiled
def _ahead(
    here: float, left: float, right: float, above: float, below: float, ahead: float, side: float, behind: float
) -> float:
    """What the best action is worth before its step reward; ``here`` is what staying is worth.

    Left and right have the sides above and below in common, so their better one goes ahead to the better neighbor
    and, as ``ahead >= behind``, slips back to the worse.
    """
    left = here if left == -np.inf else left
    right = here if right == -np.inf else right
    above = here if above == -np.inf else above
    below = here if below == -np.inf else below
    high = left if left > right else right
    low = right if left > right else left
    across = ahead * high + side * (above + below) + behind * low
    high = above if above > below else below
    low = below if above > below else above
    along = ahead * high + side * (left + right) + behind * low
    return across if across > along else along


@compiled
def _sweep_row(
    worth: Floats, base: Floats, row: int, old: Floats, ahead: float, side: float, behind: float, gamma: float
) -> None:
    """Replace one row by its backup, from the current rows above and below and the old entries of its own."""
    columns = worth.shape[1]
    for column in range(columns):
        old[column] = worth[row, column]
    for column in range(1, columns - 1):
        here = old[column]
        above, below = worth[row - 1, column], worth[row + 1, column]
        best = _ahead(here, old[column - 1], old[column + 1], above, below, ahead, side, behind)
        new = base[row, column] + gamma * best
        worth[row, column] = here if base[row, column] == -np.inf else new


@compiled
def _sweep_row_with_stay(
    worth: Floats,
    base: Floats,
    stay: Floats,
    row: int,
    old: Floats,
    ahead: float,
    side: float,
    behind: float,
    gamma: float,
) -> None:
    """``_sweep_row`` where staying is not worth what arriving is. One function for both would run at half speed,
    because the compiler would no longer compute several columns at once."""
    columns = worth.shape[1]
    for column in range(columns):
        old[column] = worth[row, column]
    for column in range(1, columns - 1):
        here = old[column]
        above, below = worth[row - 1, column], worth[row + 1, column]
        stays = here + stay[row, column]
        best = _ahead(stays, old[column - 1], old[column + 1], above, below, ahead, side, behind)
        new = base[row, column] + gamma * best
        worth[row, column] = here if base[row, column] == -np.inf else new


@compiled
def _sweep_rows(
    worth: Floats,
    base: Floats,
    sweeps: int,
    upwards: bool,
    measured: bool,
    ahead: float,
    side: float,
    behind: float,
    gamma: float,
) -> tuple[float, float]:
    """Sweeps over the rows but the first and the last, down and up in turn, each row from the newest rows beside it.

    If ``measured``, returns the least and the largest change of ``worth`` that a backup would then make in any tile.
    """
    rows, columns = worth.shape
    old = np.empty(columns)
    for _ in range(sweeps):
        if upwards:  # one loop for both directions would take half as long again
            for row in range(rows - 2, 0, -1):
                _sweep_row(worth, base, row, old, ahead, side, behind, gamma)
        else:
            for row in range(1, rows - 1):
                _sweep_row(worth, base, row, old, ahead, side, behind, gamma)
        upwards = not upwards
    least, largest = np.inf, -np.inf
    if measured:
        for row in range(1, rows - 1):
            _sweep_row(worth, base, row, old, ahead, side, behind, gamma)
            lowest, highest = _put_back(worth, base, row, old)
            least, largest = min(least, lowest), max(largest, highest)
    return least, largest


@compiled
def _sweep_rows_with_stay(
    worth: Floats,
    base: Floats,
    stay: Floats,
    sweeps: int,
    upwards: bool,
    measured: bool,
    ahead: float,
    side: float,
    behind: float,
    gamma: float,
) -> tuple[float, float]:
    """``_sweep_rows`` where staying is not worth what arriving is."""
    rows, columns = worth.shape
    old = np.empty(columns)
    for _ in range(sweeps):
        if upwards:  # one loop for both directions would take half as long again
            for row in range(rows - 2, 0, -1):
                _sweep_row_with_stay(worth, base, stay, row, old, ahead, side, behind, gamma)
        else:
            for row in range(1, rows - 1):
                _sweep_row_with_stay(worth, base, stay, row, old, ahead, side, behind, gamma)
        upwards = not upwards
    least, largest = np.inf, -np.inf
    if measured:
        for row in range(1, rows - 1):
            _sweep_row_with_stay(worth, base, stay, row, old, ahead, side, behind, gamma)
            lowest, highest = _put_back(worth, base, row, old)
            least, largest = min(least, lowest), max(largest, highest)
    return least, largest


@compiled
def _back_up_row(
    worth: Floats, other: Floats, base: Floats, row: int, ahead: float, side: float, behind: float, gamma: float
) -> None:
    """One row of the backup of ``worth``, written to ``other``."""
    for column in range(1, worth.shape[1] - 1):
        here = worth[row, column]
        above, below = worth[row - 1, column], worth[row + 1, column]
        best = _ahead(here, worth[row, column - 1], worth[row, column + 1], above, below, ahead, side, behind)
        new = base[row, column] + gamma * best
        other[row, column] = here if base[row, column] == -np.inf else new


@compiled
def _back_up_rows(
    worth: Floats,
    other: Floats,
    base: Floats,
    backups: int,
    measured: bool,
    ahead: float,
    side: float,
    behind: float,
    gamma: float,
) -> tuple[float, float]:
    """Backups of all tiles at once (Jacobi), there and back between ``worth`` and ``other``.

    If ``measured``, returns the least and the largest of ``worth - other``: the change by the last of an even number.
    """
    rows, columns = worth.shape
    for done in range(backups):
        if done % 2 == 0:
            for row in range(1, rows - 1):
                _back_up_row(worth, other, base, row, ahead, side, behind, gamma)
        else:
            for row in range(1, rows - 1):
                _back_up_row(other, worth, base, row, ahead, side, behind, gamma)
    least, largest = np.inf, -np.inf
    if measured:
        for row in range(1, rows - 1):
            for column in range(1, columns - 1):
                if base[row, column] != -np.inf:
                    change = worth[row, column] - other[row, column]
                    least, largest = min(least, change), max(largest, change)
    return least, largest


@compiled
def _put_back(worth: Floats, base: Floats, row: int, old: Floats) -> tuple[float, float]:
    """Undo a row's backup, so that all residuals are of one value function; the row's least and largest change."""
    least, largest = np.inf, -np.inf
    for column in range(1, worth.shape[1] - 1):
        if base[row, column] != -np.inf:
            change = worth[row, column] - old[column]
            least, largest = min(least, change), max(largest, change)
        worth[row, column] = old[column]
    return least, largest


def sweep(table: Stencil, sweeps: int) -> tuple[float, float]:
    """An even number of sweeps; the least and the largest change of V that one more backup would make.

    Zero and zero where gamma is zero, or every tile ends the episode.
    """
    if fits((sweeps + 1) * table.outcomes):
        least, largest = _sweep_band(table, sweeps, False, True)
    else:
        upwards, least, largest = False, np.inf, -np.inf
        for now, measured in _portions(table, sweeps):
            for rows in _bands(table, upwards):
                ends = _sweep_band(table.band(rows), now, upwards, measured)
                least, largest = min(least, ends[0]), max(largest, ends[1])
            upwards = upwards != (now % 2 == 1)
    if table.gamma == 0 or least > largest:
        return 0.0, 0.0
    return least / table.gamma, largest / table.gamma


def _sweep_band(table: Stencil, sweeps: int, upwards: bool, measured: bool) -> tuple[float, float]:
    """One call of the loop."""
    factors = (table.ahead, table.side, table.behind, table.gamma)
    if table.stay is None:
        return _sweep_rows(table.worth, table.base, sweeps, upwards, measured, *factors)
    return _sweep_rows_with_stay(table.worth, table.base, table.stay, sweeps, upwards, measured, *factors)


def back_up(table: Stencil, other: Floats, sweeps: int) -> tuple[float, float]:
    """An even number of Jacobi backups of a map without ``stay``; the least and the largest change of V by the last.

    ``other`` is work space, a copy of ``table.worth`` at the first call. Needs gamma > 0.
    """
    factors = (table.ahead, table.side, table.behind, table.gamma)
    if fits((sweeps + 1) * table.outcomes):
        least, largest = _back_up_rows(table.worth, other, table.base, sweeps, True, *factors)
    else:
        worth, least, largest = table.worth, np.inf, -np.inf
        for now, measured in _portions(table, sweeps):
            for rows in _bands(table):
                ends = _back_up_rows(worth[rows], other[rows], table.base[rows], now, measured, *factors)
                least, largest = min(least, ends[0]), max(largest, ends[1])
            if now % 2 == 1:
                worth, other = other, worth
    return least / table.gamma, largest / table.gamma


def _portions(table: Stencil, sweeps: int) -> Iterator[tuple[int, bool]]:
    """So many sweeps, and at the end a measurement, which costs one more, in calls of at most ``WORK`` outcomes."""
    left, together = sweeps + 1, repeats(table.outcomes)
    while left > 0:
        now = min(together, left)
        left -= now
        yield now - (left == 0), left == 0


def _bands(table: Stencil, upwards: bool = False) -> Iterator[slice]:
    """The rows of a map in bands, each with the row above it and the row below it."""
    rows, columns = table.worth.shape
    for band in pieces(rows - 2, TILE_OUTCOMES * columns, upwards):
        yield slice(band.start, band.stop + 2)


class MapArrays(NamedTuple):
    """A map as ``_back_up_map`` reads it; arrays are ``[rows, columns]`` unless it says otherwise."""

    state_of: NDArray[Any]  # [rows + 2, columns + 2], ``GridMDP.state_of``
    terminal: NDArray[np.bool_]
    entry_reward: Floats
    step_reward: Floats
    bump_reward: float
    ahead: float
    side: float
    behind: float


@compiled
def _back_up_map(grid: MapArrays, value: Floats, gamma: float, q: Floats, first: int, last: int) -> None:
    """``q [N, 4]`` becomes the backup of ``value [N]`` in the rows from ``first`` to ``last``, that one excluded.

    The values of terminal tiles are not read.

    ``q = step + (ahead x_a + side (x_(a-1) + x_(a+1)) + behind x_(a+2))``, ``x_d = entry + gamma V`` of the neighbor
    in direction d: at most eight roundings, the table's own of ``step + entry`` included.
    """
    state_of, terminal, entry_reward, step_reward = grid.state_of, grid.terminal, grid.entry_reward, grid.step_reward
    arriving = np.empty(4)
    for row in range(first + 1, last + 1):
        for column in range(1, state_of.shape[1] - 1):
            state = state_of[row, column]
            if state < 0:
                continue
            if terminal[row - 1, column - 1]:
                for action in range(4):
                    q[state, action] = 0.0
                continue
            for direction in range(4):
                to_row = row + (direction == 1) - (direction == 3)
                to_column = column + (direction == 2) - (direction == 0)
                neighbor = state_of[to_row, to_column]
                if neighbor < 0:
                    arriving[direction] = grid.bump_reward + gamma * value[state]
                elif terminal[to_row - 1, to_column - 1]:
                    arriving[direction] = entry_reward[to_row - 1, to_column - 1]
                else:
                    arriving[direction] = entry_reward[to_row - 1, to_column - 1] + gamma * value[neighbor]
            for action in range(4):
                sides = arriving[(action + 3) % 4] + arriving[(action + 1) % 4]
                expected = grid.ahead * arriving[action] + grid.side * sides + grid.behind * arriving[(action + 2) % 4]
                q[state, action] = step_reward[row - 1, column - 1] + expected


def map_backup(grid: GridMDP, value: Floats, gamma: float) -> Floats:
    """``q [N, 4]`` of ``value [N]`` on a map."""
    q = np.empty((grid.num_states, grid.num_actions))
    arrays = MapArrays(
        grid.state_of, grid.terminal, grid.entry_reward, grid.step_reward, grid.bump_reward, *grid.chances
    )
    contiguous = np.ascontiguousarray(value, dtype=np.float64)
    rows, columns = grid.open.shape
    if fits(TILE_OUTCOMES * grid.open.size):
        _back_up_map(arrays, contiguous, gamma, q, 0, rows)
        return q
    for band in pieces(rows, TILE_OUTCOMES * columns):
        _back_up_map(arrays, contiguous, gamma, q, band.start, band.stop)
    return q


def values_of(grid: GridMDP, table: Stencil) -> Floats:
    """V of every state, ``[N]``, from the worth of arriving there; 0 if gamma is 0, where W does not determine V."""
    if table.gamma == 0:
        return np.zeros(grid.num_states)
    rows, columns = grid.open.shape
    worth = table.worth[1 : rows + 1, 1 : columns + 1][grid.open]  # [N]
    value = (worth - grid.of_states(grid.entry_reward)) / table.gamma
    return np.where(grid.of_states(grid.terminal), 0.0, value)
