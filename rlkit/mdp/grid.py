"""A finite MDP that lives on a grid map, kept as the map instead of a table.

A table of a million tiles takes 300 MB; the map takes 26 MB. The outcome of a move is read from the neighboring tiles
(a stencil), so the speed of memory limits a sweep over all states.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .tabular import TabularMDP, frozen, verified_limit, verify_start

MOVES = np.array([(0, -1), (1, 0), (0, 1), (-1, 0)])  # left, down, right, up: (row, column); a turn is +-1 modulo 4
SUM_TOLERANCE = 1e-9
NO_STATE = -1


class Move(NamedTuple):
    """The outcome of one step in one of the four directions, from every state."""

    successor: NDArray[np.int32]  # [N]
    reward: NDArray[np.float64]  # [N]
    terminated: NDArray[np.bool_]  # [N]


@dataclass(frozen=True, eq=False, repr=False, init=False)
class GridMDP:
    """A walk on a grid of ``rows x columns`` tiles; states are the open tiles, numbered row by row from the top left.

    Actions are 0 left, 1 down, 2 right, 3 up. A move goes ahead, to either side or back with the given ``chances``
    (ahead, each side, behind). It pays ``step_reward`` of the tile it leaves and ``entry_reward`` of the tile it
    enters; a move into a wall or over the border stays, and pays ``bump_reward`` instead of the entry. Entering a
    ``terminal`` tile ends the episode. ``to_tabular()`` is the same problem as a table, entry by entry.

    Rewards are numbers or arrays ``[rows, columns]``. The arrays are copied, verified and read-only. ``name`` is for
    reports.

    Raises:
        ValueError: no open tile, shapes that disagree, chances that are negative, do not sum to one or go back more
            likely than ahead, a reward that is not finite, a start that is no distribution, a ``max_steps`` that is
            not a positive integer.
    """

    open: NDArray[np.bool_]  # [rows, columns], False for walls
    terminal: NDArray[np.bool_]  # [rows, columns]
    entry_reward: NDArray[np.float64]  # [rows, columns]
    step_reward: NDArray[np.float64]  # [rows, columns]
    bump_reward: float
    chances: tuple[float, float, float]  # ahead, each side, behind
    start: NDArray[np.float64]  # [N]
    max_steps: int | None
    name: str

    def __init__(
        self,
        open: ArrayLike,
        terminal: ArrayLike,
        entry_reward: ArrayLike = 0.0,
        step_reward: ArrayLike = 0.0,
        bump_reward: float = 0.0,
        chances: tuple[float, float, float] = (1.0, 0.0, 0.0),
        start: ArrayLike | None = None,
        max_steps: int | None = None,
        name: str = "",
    ) -> None:
        """Copy, verify and freeze; ``start=None`` means uniform over the open tiles that end nothing."""
        tiles = frozen(open, np.bool_, "open")
        if tiles.ndim != 2 or not tiles.any():
            raise ValueError(f"open has shape {tiles.shape} and {np.count_nonzero(tiles)} open tiles: expected a map")
        ends = frozen(terminal, np.bool_, "terminal")
        if ends.shape != tiles.shape:
            raise ValueError(f"terminal has shape {ends.shape}: expected {tiles.shape}, to agree with open")
        object.__setattr__(self, "open", tiles)
        object.__setattr__(self, "terminal", ends)
        for field, given in (("entry_reward", entry_reward), ("step_reward", step_reward)):
            object.__setattr__(self, field, _verified_rewards(given, tiles, field))
        if not np.isfinite(bump_reward):
            raise ValueError(f"bump_reward {bump_reward}: give a finite number")
        object.__setattr__(self, "bump_reward", float(bump_reward))
        object.__setattr__(self, "chances", _verified_chances(chances))
        going_on = (tiles & ~ends)[tiles]  # [N]
        if start is None:
            weights = going_on if going_on.any() else np.ones_like(going_on)
            start = weights / np.count_nonzero(weights)
        first = frozen(start, np.float64, "start")
        if first.shape != going_on.shape:
            raise ValueError(f"start has shape {first.shape}: expected {going_on.shape}, one entry per open tile")
        verify_start(first)
        object.__setattr__(self, "start", first)
        object.__setattr__(self, "max_steps", verified_limit(max_steps))
        object.__setattr__(self, "name", name)

    @property
    def num_states(self) -> int:
        """N, the number of open tiles."""
        return len(self.start)

    @property
    def num_actions(self) -> int:
        """Four."""
        return len(MOVES)

    @cached_property
    def state_of(self) -> NDArray[np.int32]:
        """The state of a tile, -1 for a wall, with a border of walls: ``[rows + 2, columns + 2]``."""
        states = np.full(self.open.shape, NO_STATE, np.int32)
        states[self.open] = np.arange(self.num_states, dtype=np.int32)
        bordered: NDArray[np.int32] = np.pad(states, 1, constant_values=NO_STATE)
        bordered.flags.writeable = False
        return bordered

    def of_states(self, per_tile: NDArray) -> NDArray:
        """Take the entries of the open tiles: ``[rows, columns]`` -> ``[N]``."""
        return np.asarray(per_tile[self.open])

    def to_map(self, per_state: ArrayLike, wall: float = np.nan) -> NDArray:
        """Lay out entries of the states as the map: ``[..., N]`` -> ``[..., rows, columns]``.

        Raises:
            ValueError: ``per_state`` has another shape.
        """
        given = np.asarray(per_state)
        if given.ndim < 1 or given.shape[-1] != self.num_states:
            raise ValueError(f"per_state has shape {given.shape}: expected [..., {self.num_states}]")
        laid_out = np.full((*given.shape[:-1], *self.open.shape), wall, np.result_type(given, wall))
        laid_out[..., self.open] = given
        return laid_out

    @cached_property
    def tabular(self) -> TabularMDP:
        """The same problem as a table ``[N, 4, K]``, made once. ``map_of`` finds the map of this table. A terminal tile
        leads to itself and pays nothing."""
        moves = (self.move(direction) for direction in range(len(MOVES)))
        table = slipping_table(moves, self.chances, self.start, self.max_steps, self.name)
        object.__setattr__(table, "_grid", self)
        return table

    def move(self, direction: int) -> Move:
        """Compute the outcome of a step in ``direction`` (an index of ``MOVES``), from every state."""
        rows, columns = self.open.shape
        down, right = MOVES[direction]
        neighbor = self.state_of[1 + down : 1 + down + rows, 1 + right : 1 + right + columns][self.open]  # [N]
        here = np.arange(self.num_states, dtype=np.int32)
        over, blocked = self.of_states(self.terminal), neighbor < 0  # [N]
        entered = np.where(blocked, here, neighbor)
        gain = np.where(blocked, self.bump_reward, self.of_states(self.entry_reward)[entered])
        reward = np.where(over, 0.0, self.of_states(self.step_reward) + gain)
        successor = np.where(over, here, entered)
        return Move(successor, reward, over | over[successor])

    def to_tabular(self) -> TabularMDP:
        """Give ``tabular``, the same problem as a table."""
        return self.tabular

    def __repr__(self) -> str:
        """Sizes, limit and name; not the map."""
        rows, columns = self.open.shape
        return (
            f"GridMDP({rows} x {columns}, num_states={self.num_states}, chances={self.chances}, "
            f"max_steps={self.max_steps}, name={self.name!r})"
        )


def slipping_table(
    moves: Iterable[Move],
    chances: tuple[float, float, float],
    start: NDArray[np.float64],
    max_steps: int | None,
    name: str,
) -> TabularMDP:
    """Make the table ``[N, 4, K]`` of actions that go ahead, to either side or back with the given ``chances``.

    Outcome k of an action is the move in the k-th direction that it may slip to, in the order side, ahead, side,
    behind, which is gymnasium's, so the same uniform number slips the same way in both; directions of chance 0 are left
    out.

    Args:
        moves: moves in the four directions, in the order of ``MOVES``.
        chances: probabilities (ahead, each side, behind).
        start: probabilities of first states, ``[N]``.
        max_steps: step limit of an episode; None for none.
        name: name of the problem.
    """
    ahead, side, behind = chances
    turns = [(turn, chance) for turn, chance in ((-1, side), (0, ahead), (1, side), (2, behind)) if chance > 0]
    directions = (np.arange(len(MOVES))[:, None] + np.array([turn for turn, _ in turns])) % len(MOVES)  # [A, K]
    shape = (len(start), len(MOVES), len(turns))
    successor, reward = np.empty(shape, np.int32), np.empty(shape)
    terminated, probability = np.empty(shape, np.bool_), np.empty(shape)
    probability[:] = [chance for _, chance in turns]
    for direction, move in enumerate(moves):
        where = directions == direction  # [A, K]
        successor[:, where], reward[:, where] = move.successor[:, None], move.reward[:, None]
        terminated[:, where] = move.terminated[:, None]
    for array in (successor, probability, reward, terminated):
        array.flags.writeable = False  # so that the table takes them without a copy
    return TabularMDP(successor, probability, reward, terminated, start=start, max_steps=max_steps, name=name)


def map_of(mdp: TabularMDP | GridMDP) -> GridMDP | None:
    """Find the map of a problem: itself, or the map that its table was made from by ``GridMDP.to_tabular``; else None.

    A table changed by ``dataclasses.replace`` has no map.
    """
    return mdp if isinstance(mdp, GridMDP) else vars(mdp).get("_grid")


def _verified_rewards(given: ArrayLike, tiles: NDArray[np.bool_], field: str) -> NDArray[np.float64]:
    """Rewards of every tile, ``[rows, columns]``; those of walls are set to zero, they are never paid."""
    array = np.asarray(given, dtype=np.float64)
    if array.shape not in ((), tiles.shape):
        raise ValueError(f"{field} has shape {array.shape}: expected a number or {tiles.shape}, to agree with open")
    rewards = np.where(tiles, array, 0.0)
    if not np.isfinite(rewards).all():
        row, column = np.argwhere(~np.isfinite(rewards))[0]
        raise ValueError(f"{field} {rewards[row, column]} at row {row}, column {column}: rewards are finite")
    rewards.flags.writeable = False
    return rewards


def _verified_chances(chances: tuple[float, float, float]) -> tuple[float, float, float]:
    """(ahead, each side, behind) as floats, else a ValueError."""
    ahead, side, behind = (float(chance) for chance in chances)
    if not min(ahead, side, behind) >= 0 or abs(ahead + 2 * side + behind - 1) > SUM_TOLERANCE or behind > ahead:
        raise ValueError(
            f"chances {chances} of going ahead, to each side and behind: they must not be negative, ahead + 2 side + "
            "behind must be 1, and behind must not exceed ahead (else name the actions the other way round)"
        )
    return ahead, side, behind
