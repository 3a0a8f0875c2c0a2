"""From a grid map and its rules to the finite MDP: numpy arrays in, a ``TabularMDP`` out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.mdp import MOVES, GridMDP, Move, TabularMDP, slipping_table

from .maps import FREE, GOAL, HOLE, START, WALL, Rules, Tile

ACTIONS = ("left", "down", "right", "up")  # gymnasium FrozenLake's order: a - 1 and a + 1 are perpendicular to a

Places = Sequence[tuple[int, int]]  # (row, column) each


class Board(NamedTuple):
    """A map with its rules. States are the tiles that are not walls, numbered row by row from the top left."""

    letters: NDArray[np.str_]  # [rows, columns]
    tile_of: NDArray[np.int64]  # [N, 2] the (row, column) of a state
    state_of: NDArray[np.int64]  # [rows, columns] the state of a tile, -1 for a wall
    rules: Rules

    @classmethod
    def of(cls, letters: NDArray[np.str_], rules: Rules) -> Board:
        """Number the tiles."""
        tile_of = np.argwhere(letters != WALL)
        state_of = np.full(letters.shape, -1)
        state_of[tuple(tile_of.T)] = np.arange(len(tile_of))
        return cls(letters, tile_of, state_of, rules)


def grid_mdp(board: Board, starts: Places | None = None, name: str = "") -> TabularMDP:
    """The MDP of a board. An episode starts uniformly in ``starts``, else the S tiles, else the free tiles.

    Raises:
        ValueError: no goal on a map that is not continuing, or an ending on one that is; nowhere to start; a goal
            that no start reaches; a tile that carries the agent to no one place.
    """
    _verify_endings(board)
    start = _start_distribution(board, starts)
    tiles = _tiles(board)
    walk = _walk(board, tiles, start, name)
    if (tiles.exit < 0).all() and (tiles.landing == np.arange(len(tiles.landing))).all():
        mdp = walk.tabular
    else:
        moves = (_carried(walk.move(direction), tiles, board.rules) for direction in range(len(MOVES)))
        mdp = slipping_table(moves, walk.chances, walk.start, walk.max_steps, name)
    _verify_goals_reached(board, mdp)
    return mdp


def reachable(mdp: TabularMDP) -> NDArray[np.bool_]:
    """The states that an episode may visit, ``[N]``: breadth-first search from the start distribution along outcomes
    of positive probability. A terminated transition visits its successor and goes no further."""
    seen = mdp.start > 0
    expanded = np.zeros_like(seen)
    frontier: NDArray[Any] = np.flatnonzero(seen)
    while len(frontier):
        expanded[frontier] = True
        possible = mdp.probability[frontier] > 0  # [F, A, K]
        entered, ended = mdp.successor[frontier][possible], mdp.terminated[frontier][possible]
        seen[entered] = True
        ahead = np.unique(entered[~ended])
        frontier = ahead[~expanded[ahead]]
    return seen


class _Tiles(NamedTuple):
    """What entering a tile, and leaving it, does."""

    entry_reward: NDArray[np.float64]  # [N]
    terminal: NDArray[np.bool_]  # [N]
    landing: NDArray[np.int64]  # [N] where an agent that enters ends up in the same step: mostly the tile itself
    exit: NDArray[np.int64]  # [N] where every action from here leads, -1 where actions are moves
    exit_reward: NDArray[np.float64]  # [N]


def _walk(board: Board, tiles: _Tiles, start: NDArray[np.float64], name: str) -> GridMDP:
    """The board as a map on which no tile carries the agent elsewhere; entering one that does pays as if it did."""
    rules = board.rules
    here = np.arange(len(tiles.landing))
    carried = np.where(tiles.landing != here, tiles.entry_reward[tiles.landing], 0.0)
    entry_reward, terminal = np.zeros(board.letters.shape), np.zeros(board.letters.shape, np.bool_)
    entry_reward[tuple(board.tile_of.T)] = tiles.entry_reward + carried
    terminal[tuple(board.tile_of.T)] = tiles.terminal
    p = rules.slip
    return GridMDP(
        open=board.letters != WALL,
        terminal=terminal,
        entry_reward=entry_reward,
        step_reward=rules.step_reward,
        bump_reward=rules.bump_reward,
        chances=(1 - p, p / 2, 0.0) if rules.slip_kind == "perpendicular" else (1 - 3 * p / 4, p / 4, p / 4),
        start=start,
        max_steps=rules.max_steps,
        name=name,
    )


def _carried(move: Move, tiles: _Tiles, rules: Rules) -> Move:
    """A move of the walk, with the tiles that carry the agent elsewhere."""
    here, over = np.arange(len(tiles.landing)), tiles.terminal  # [N]
    landing = np.where(move.successor == here, here, tiles.landing[move.successor])
    leaving = tiles.exit >= 0  # [N]; here every action does the same
    successor = np.where(leaving, tiles.exit, landing)
    exit_reward = rules.step_reward + (tiles.exit_reward + tiles.entry_reward[tiles.exit])
    reward = np.where(leaving, exit_reward, move.reward)
    return Move(successor, reward, over | over[successor])


def _tiles(board: Board) -> _Tiles:
    """Look up what every tile does."""
    letter_of = board.letters[tuple(board.tile_of.T)]  # [N]
    num_states = len(letter_of)
    tiles = _Tiles(
        entry_reward=np.zeros(num_states),
        terminal=(letter_of == GOAL) | (letter_of == HOLE),
        landing=np.arange(num_states),
        exit=np.full(num_states, -1),
        exit_reward=np.zeros(num_states),
    )
    tiles.entry_reward[letter_of == GOAL] = board.rules.goal_reward
    tiles.entry_reward[letter_of == HOLE] = board.rules.hole_reward
    for letter in sorted(set(board.rules.tiles) & set(letter_of.tolist())):
        here, tile = letter_of == letter, board.rules.tiles[letter]
        tiles.terminal[here] = tile.terminal
        if tile.when == "exit":
            tiles.exit[here] = _destination(board, letter, tile)
            tiles.exit_reward[here] = tile.reward
        else:
            tiles.entry_reward[here] = tile.reward
        if tile.when == "entry" and tile.to is not None:
            tiles.landing[here] = _destination(board, letter, tile)
    return tiles


def _destination(board: Board, letter: str, tile: Tile) -> int:
    """The state a tile carries the agent to, or a ValueError that names what is wrong with it."""
    row, column = np.argwhere(board.letters == letter)[0]
    sentence = f"tile {letter!r} at row {row}, column {column} carries the agent to {tile.to!r}"
    places = np.argwhere(board.letters == tile.to) if isinstance(tile.to, str) else np.array([tile.to])
    if len(places) != 1:
        raise ValueError(f"{sentence}, which occurs {len(places)} times on the map: name a place (row, column)")
    place = (int(places[0][0]), int(places[0][1]))
    if not _is_open(board, place):
        raise ValueError(f"{sentence}, which is a wall or outside the map: name a tile that can be entered")
    onward = board.rules.tiles.get(str(board.letters[place]))
    if onward is not None and onward.to is not None and onward.when == "entry":
        raise ValueError(f"{sentence}, which carries it on at once: name the last tile of the chain")
    return int(board.state_of[place])


def _is_open(board: Board, place: tuple[int, int]) -> bool:
    """Whether the place is on the map and no wall."""
    rows, columns = board.letters.shape
    return 0 <= place[0] < rows and 0 <= place[1] < columns and bool(board.state_of[place] >= 0)


def _start_distribution(board: Board, starts: Places | None) -> NDArray[np.float64]:
    """Uniform over the given starts, else the S tiles, else the free tiles, ``[N]``."""
    letters = board.letters
    if starts is None:
        at = letters == (START if (letters == START).any() else FREE)
    else:
        at = np.zeros(letters.shape, np.bool_)
        for place in starts:
            if not _is_open(board, place) or bool(_endings(board)[place]):
                raise ValueError(f"start {place} is a wall, an ending or outside the map: choose another (row, column)")
            at[place] = True
    if not at.any():
        raise ValueError(f"the map has no start: mark one with '{START}', or leave a tile free with '{FREE}'")
    weight: NDArray[np.float64] = at[tuple(board.tile_of.T)] / np.count_nonzero(at)
    return weight


def _goals(board: Board) -> NDArray[np.bool_]:
    """Where the goals are, ``[rows, columns]``: G and the letters that end an episode."""
    ending_letters = [letter for letter, tile in board.rules.tiles.items() if tile.terminal]
    return np.isin(board.letters, [GOAL, *ending_letters])


def _endings(board: Board) -> NDArray[np.bool_]:
    """Where an episode ends, ``[rows, columns]``: the goals and the holes."""
    endings: NDArray[np.bool_] = _goals(board) | (board.letters == HOLE)
    return endings


def _verify_endings(board: Board) -> None:
    """Raise ValueError for a map without a goal that is not continuing, or a continuing one with an ending."""
    endings = np.argwhere(_endings(board))
    if board.rules.continuing and len(endings):
        row, column = endings[0]
        raise ValueError(
            f"continuing=True, and {str(board.letters[row, column])!r} at row {row}, column {column} ends the "
            "episode: drop one of the two"
        )
    if not board.rules.continuing and not _goals(board).any():
        raise ValueError(f"the map has no goal: mark one with '{GOAL}', or pass continuing=True if nothing ends it")


def _verify_goals_reached(board: Board, mdp: TabularMDP) -> None:
    """Raise ValueError if no start reaches some goal, slips and carrying tiles included."""
    unreached = board.tile_of[_goals(board)[tuple(board.tile_of.T)] & ~reachable(mdp)]
    if len(unreached):
        row, column = unreached[0]
        raise ValueError(
            f"no start reaches the goal {str(board.letters[row, column])!r} at row {row}, column {column}: "
            "open a way to it or remove it"
        )
