"""Grid maps as text: the characters, the rules a map is played by, named maps, and a seeded generator.

    S  start (several: one of them, uniformly; none: uniform over the free tiles)
    .  free
    #  wall
    H  hole: entering it ends the episode
    G  goal: entering it ends the episode
    any other letter: a ``Tile`` with its own reward, that ends the episode, or that moves the agent to another tile

Places are (row, column), counted from 0 at the top left.
"""

from __future__ import annotations

import difflib
import textwrap
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rlkit.mdp import MOVES

START, FREE, WALL, HOLE, GOAL = "S", ".", "#", "H", "G"
CHARACTERS = START + FREE + WALL + HOLE + GOAL

SlipKind = Literal["perpendicular", "uniform"]


def _is_letter(character: str) -> bool:
    """Whether a character may stand for a tile of its own."""
    return len(character) == 1 and character.isascii() and character.isalpha() and character not in CHARACTERS


@dataclass(frozen=True)
class Tile:
    """The meaning of a letter on the map.

    Without ``to`` the reward is paid on entry, and ``terminal=True`` ends the episode there. With ``to``, a place
    (row, column) or a character that occurs once on the map, the tile moves the agent there. With ``when="entry"``
    this happens in the same step (the cliff of Sutton & Barto, Example 6.6). With ``when="exit"`` it happens at the
    next step for every action, and that step pays the reward (A and B of their Example 3.5).

    Raises:
        ValueError: a reward that is not finite, a terminal tile that carries elsewhere, ``when`` unknown or without
            a place to go.
    """

    reward: float = 0.0
    terminal: bool = False
    to: str | tuple[int, int] | None = None
    when: Literal["entry", "exit"] = "entry"

    def __post_init__(self) -> None:
        if not isfinite(self.reward):
            raise ValueError(f"tile reward {self.reward}: give a finite number")
        if self.when not in ("entry", "exit"):
            raise ValueError(f"tile when={self.when!r}: choose 'entry' or 'exit'")
        if self.terminal and self.to is not None:
            raise ValueError(f"a terminal tile that carries the agent to {self.to!r}: choose one of the two")
        if self.when == "exit" and self.to is None:
            raise ValueError("a tile with when='exit' and nowhere to go: name the place in `to`")


@dataclass(frozen=True)
class Rules:
    """How a map is played. A move pays ``step_reward``, plus ``bump_reward`` if wall or border blocks it, plus the
    reward of the tile that it enters.

    ``slip=p`` with ``slip_kind="perpendicular"``: the intended direction with probability 1 - p, each of the two
    perpendicular ones with p/2 (FrozenLake is p = 2/3, Russell & Norvig's world 0.2). With ``"uniform"``: with
    probability p a direction drawn uniformly from all four, the intended one included.

    Raises:
        ValueError: slip outside [0, 1], an unknown slip kind, a reward that is not finite, a tile under a key that is
            no letter of its own.
    """

    slip: float = 0.0
    slip_kind: SlipKind = "perpendicular"
    step_reward: float = 0.0
    bump_reward: float = 0.0
    goal_reward: float = 1.0
    hole_reward: float = 0.0
    tiles: Mapping[str, Tile] = field(default_factory=dict)
    continuing: bool = False
    max_steps: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.slip <= 1:
            raise ValueError(f"slip {self.slip}: a probability, give a number from 0 to 1")
        if self.slip_kind not in get_args(SlipKind):
            raise ValueError(f"slip_kind {self.slip_kind!r}: choose one of {', '.join(get_args(SlipKind))}")
        for name in ("step_reward", "bump_reward", "goal_reward", "hole_reward"):
            if not isfinite(getattr(self, name)):
                raise ValueError(f"{name} {getattr(self, name)}: give a finite number")
        for letter in self.tiles:
            if not _is_letter(letter):
                raise ValueError(f"tile {letter!r}: use one letter other than S, H and G, which have their meaning")


@dataclass(frozen=True)
class NamedMap:
    """A map with the rules it is usually played by and where it comes from."""

    rows: tuple[str, ...]
    rules: Rules
    source: str


MAPS: dict[str, NamedMap] = {
    "frozenlake-4x4": NamedMap(
        rows=(
            "S...",
            ".H.H",
            "...H",
            "H..G",
        ),
        rules=Rules(slip=2 / 3, max_steps=100),
        source="gymnasium FrozenLake-v1",
    ),
    "frozenlake-8x8": NamedMap(
        rows=(
            "S.......",
            "........",
            "...H....",
            ".....H..",
            "...H....",
            ".HH...H.",
            ".H..H.H.",
            "...H...G",
        ),
        rules=Rules(slip=2 / 3, max_steps=200),
        source="gymnasium FrozenLake8x8-v1",
    ),
    "cliff": NamedMap(
        rows=(
            "............",
            "............",
            "............",
            "SCCCCCCCCCCG",
        ),
        rules=Rules(
            step_reward=-1.0, goal_reward=0.0, tiles={"C": Tile(reward=-99.0, to="S")}, max_steps=200
        ),  # a step over the cliff pays -100 in all; rlkit added the step limit
        source="Sutton & Barto 2018, Example 6.6",
    ),
    "sutton-barto-5x5": NamedMap(
        rows=(
            ".A.B.",
            ".....",
            "...b.",
            ".....",
            ".a...",
        ),
        rules=Rules(
            bump_reward=-1.0,
            tiles={
                "A": Tile(reward=10.0, to="a", when="exit"),
                "B": Tile(reward=5.0, to="b", when="exit"),
                "a": Tile(),
                "b": Tile(),
            },
            continuing=True,
        ),
        source="Sutton & Barto 2018, Examples 3.5 and 3.8",
    ),
    "russell-norvig-4x3": NamedMap(
        rows=(
            "...G",
            ".#.H",
            "S...",
        ),
        rules=Rules(slip=0.2, step_reward=-0.04, hole_reward=-1.0, max_steps=100),  # rlkit added the step limit
        source="Russell & Norvig 2010, section 17.1",
    ),
    "four-rooms": NamedMap(
        rows=(
            "#############",
            "#.....#.....#",
            "#.....#.....#",
            "#...........#",
            "#.....#.....#",
            "#.....#.....#",
            "##.####.....#",
            "#.....###G###",
            "#.....#.....#",
            "#.....#.....#",
            "#...........#",
            "#.....#.....#",
            "#############",
        ),
        # The primitive moves fail with probability 1/3, which leaves 1/9 for each other direction: uniform slip 4/9.
        rules=Rules(slip=4 / 9, slip_kind="uniform", max_steps=500),
        source="layout and slip of Sutton, Precup & Singh 1999, section 3; goal in the east hallway and a uniform "
        "start as in Bacon, Harb & Precup 2017; rlkit added the step limit",
    ),
    "two-goal": NamedMap(
        rows=(
            ".........",
            ".###.###.",
            "g..S....G",
            ".###.###.",
            ".........",
        ),
        # Near 1/2 after 3 steps, far 1 after 5: the far goal is better where gamma^2 > 1/2.
        rules=Rules(tiles={"g": Tile(reward=0.5, terminal=True)}, max_steps=50),
        source="rlkit: a small reward near by and a large one farther away",
    ),
}


def named_map(name: str) -> NamedMap:
    """The named map.

    Raises:
        ValueError: no map of that name; the nearest one is suggested.
    """
    if name in MAPS:
        return MAPS[name]
    near = [known for known in MAPS if name and name.lower() in known]
    near += difflib.get_close_matches(name.lower(), MAPS, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(
        f"unknown map {name!r}: {hint}The named maps are {', '.join(MAPS)}; "
        f"a map of your own is a list of lines made of '{CHARACTERS}' and letters"
    )


def parse_map(rows: str | Sequence[str], tiles: Mapping[str, Tile] | None = None) -> NDArray[np.str_]:
    """The characters of a text map, ``[rows, columns]``: a text of several lines or a sequence of lines.

    Indentation and empty lines around a text do not count.

    Raises:
        ValueError: an empty map, a line that is no text, lines of different lengths, a character without meaning, a
            letter that ``tiles`` does not define. The message names the place.
    """
    if not isinstance(rows, Sequence):
        raise ValueError(f"the map is {rows!r}: give a text, or a list of one text per row")
    lines = textwrap.dedent(rows).strip().splitlines() if isinstance(rows, str) else list(rows)
    for row, line in enumerate(lines):
        if not isinstance(line, str):
            raise ValueError(f"row {row} of the map is {line!r}: give a text, or a list of one text per row")
    lines = [line.strip() for line in lines]
    if not any(lines):
        raise ValueError(f"the map is empty: give at least one line of '{CHARACTERS}' and letters")
    width = len(lines[0])
    for row, line in enumerate(lines):
        if len(line) != width:
            raise ValueError(
                f"the map is ragged: row {row} ({line!r}) has {len(line)} tiles and row 0 has {width}: "
                f"fill short rows with '{WALL}'"
            )
        for column, character in enumerate(line):
            _verify_character(character, row, column, tiles or {})
    return np.array([list(line) for line in lines])


def random_map(
    rows: int, columns: int, seed: int, holes: float = 0.2, walls: float = 0.0, attempts: int = 1000
) -> tuple[str, ...]:
    """Draw a map with the start top left and the goal bottom right, which can be reached without entering a hole.

    Maps are drawn until one is solvable, so the result is a draw from the solvable maps. It depends on the arguments
    alone (Philox, Salmon et al. 2011). The map is for ``GridWorld``:

    >>> random_map(3, 6, seed=1)
    ('SHH...', '.....H', '.....G')
    >>> from rlkit.envs import GridWorld
    >>> GridWorld(random_map(3, 6, seed=1), slip=0.1).mdp.num_states
    18

    Args:
        rows: height of the map.
        columns: width of the map.
        seed: seed of the draws.
        holes: probability that a tile, other than start and goal, is a hole.
        walls: probability that it is a wall.
        attempts: maximum number of maps to draw.

    Raises:
        ValueError: fewer than two tiles; probabilities that are negative or sum to more than one; a seed
            that is no integer, or negative.
        RuntimeError: no solvable map in ``attempts`` draws.
    """
    if rows < 1 or columns < 1 or rows * columns < 2:
        raise ValueError(f"a map of {rows} x {columns} tiles: start and goal need at least two")
    if not (holes >= 0 and walls >= 0 and holes + walls <= 1):
        raise ValueError(f"holes {holes} and walls {walls}: probabilities, give numbers from 0 that sum to at most 1")
    try:
        generator = np.random.Generator(np.random.Philox(seed))
    except (TypeError, ValueError) as error:
        raise ValueError(f"seed must be an integer at least 0, got {seed!r:.80}") from error
    for _ in range(attempts):
        u = generator.random((rows, columns))
        letters = np.where(u < holes, HOLE, np.where(u < holes + walls, WALL, FREE))
        letters[0, 0], letters[-1, -1] = START, GOAL
        if is_solvable(letters):
            return tuple("".join(line) for line in letters)
    raise RuntimeError(
        f"no solvable map of {rows} x {columns} with holes {holes} and walls {walls} in {attempts} draws: "
        "lower them or raise `attempts`"
    )


def is_solvable(letters: NDArray[np.str_]) -> bool:
    """Whether a goal can be reached from every start (every free tile if there is no S) around walls and holes.

    Breadth-first search from the goals: moves are reversible here, so the tiles that reach a goal are those that the
    goals reach. Letters count as free.
    """
    starts = letters == (START if (letters == START).any() else FREE)
    rows, columns = letters.shape
    queue = deque((int(row), int(column)) for row, column in np.argwhere(letters == GOAL))
    seen = set(queue)
    while queue:
        row, column = queue.popleft()
        for down, right in MOVES.tolist():
            place = (row + down, column + right)
            inside = 0 <= place[0] < rows and 0 <= place[1] < columns
            if inside and place not in seen and letters[place] not in (WALL, HOLE):
                seen.add(place)
                queue.append(place)
    return all((int(row), int(column)) in seen for row, column in np.argwhere(starts))


def _verify_character(character: str, row: int, column: int, tiles: Mapping[str, Tile]) -> None:
    """Raise ValueError unless the character means something on a map."""
    if character in CHARACTERS or character in tiles:
        return
    if _is_letter(character):
        raise ValueError(
            f"letter {character!r} at row {row}, column {column} is not defined: use one of "
            f"'{CHARACTERS}', or define it in Python by tiles={{{character!r}: Tile(reward=...)}}"
        )
    raise ValueError(
        f"unknown map character {character!r} at row {row}, column {column}: "
        f"use '{START}' start, '{FREE}' free, '{WALL}' wall, '{HOLE}' hole, '{GOAL}' goal, or a letter defined in tiles"
    )
