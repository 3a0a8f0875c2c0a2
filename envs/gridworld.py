"""Grid worlds: a text map becomes a finite MDP, and the simulator samples that MDP's table.

There is no second description of the dynamics: agents walk on the table that ``rlkit.planning`` solves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from .dynamics import Array
from .gridtable import Board, grid_mdp
from .maps import CHARACTERS, GOAL, HOLE, WALL, Rules, SlipKind, Tile, named_map, parse_map
from .tabular import TabularDynamics

if TYPE_CHECKING:  # matplotlib takes long to import and only pictures need it
    from .render import GridPicture

ObservationKind = Literal["index", "onehot", "coordinates", "planes"]
PlaneDtype = Literal["uint8", "float32"]

FEATURE_LIMIT = 2**30  # bytes; a larger one-hot or image table is more often a mistake than a wish


class GridWorld(TabularDynamics):
    """A grid world: the dynamics of ``mdp``, the ``TabularMDP`` that its map describes.

    ``map`` is the name of a map (``rlkit.envs.maps.MAPS``) or a text map: a text of lines, or a sequence of lines, as
    ``rlkit.envs.maps`` explains. Actions are 0 left, 1 down, 2 right, 3 up, gymnasium FrozenLake's order. States are
    the tiles that are not walls, row by row from the top left: ``tile_of[state]`` is (row, column), and
    ``state_of[row, column]`` the state, -1 for a wall.

    A move pays ``step_reward``, plus ``bump_reward`` if wall or border blocks it, plus the reward of the tile that it
    enters; a blocked move enters nothing. ``slip`` and ``slip_kind`` are explained in ``Rules``. Goals, holes and
    terminal tiles end the episode on entry; ``continuing=True`` is for maps without any of them. ``tiles`` says what
    the letters mean: a ``Tile``, or a number for ``Tile(reward=number)``. ``starts`` are places (row, column) that
    replace the map's own starts. ``goal_reward`` and ``hole_reward`` are the rewards of entering a goal and a hole. A
    rule left at None is that of the named map, and so is ``max_steps="map"``; text maps have no slip, goal reward 1,
    other rewards 0 and no step limit unless given.

    The observation of a state, ``observation``:

    - ``"index"``: its number, Discrete(N);
    - ``"onehot"``: float32 ``[N]``;
    - ``"coordinates"``: float32 ``[2]``, (row / (rows - 1), column / (columns - 1)), in [0, 1];
    - ``"planes"``: an image ``[C, rows, columns]``, one plane for each of ``plane_names``, of 0 and 255 (uint8) or,
      with ``plane_dtype="float32"``, of 0 and 1.

    Raises:
        ValueError: a map that is empty, ragged, of unknown name or with an unknown character; no goal without
            ``continuing=True``, or an ending with it; a goal that no start reaches; nowhere to start; a tile that
            carries the agent to no one place; rules out of range (see ``Rules`` and ``Tile``); an unknown observation,
            or a table of observations beyond 1 GiB.
    """

    render_modes = ("rgb_array", "ansi")
    render_fps = 8

    def __init__(
        self,
        map: str | Sequence[str] = "frozenlake-4x4",
        *,
        slip: float | None = None,
        slip_kind: SlipKind | None = None,
        step_reward: float | None = None,
        bump_reward: float | None = None,
        goal_reward: float | None = None,
        hole_reward: float | None = None,
        tiles: Mapping[str, Tile | float] | None = None,
        continuing: bool | None = None,
        starts: Sequence[tuple[int, int]] | None = None,
        max_steps: int | Literal["map"] | None = "map",
        observation: ObservationKind = "index",
        plane_dtype: PlaneDtype = "uint8",
    ) -> None:
        own_tiles = {key: tile if isinstance(tile, Tile) else Tile(float(tile)) for key, tile in (tiles or {}).items()}
        self.name, rows, usual = _look_up(map, own_tiles)
        given: dict[str, Any] = {
            "slip": slip,
            "slip_kind": slip_kind,
            "step_reward": step_reward,
            "bump_reward": bump_reward,
            "goal_reward": goal_reward,
            "hole_reward": hole_reward,
            "continuing": continuing,
        }
        self.rules = replace(
            usual,
            **{rule: value for rule, value in given.items() if value is not None},
            tiles={**usual.tiles, **own_tiles},
            max_steps=usual.max_steps if max_steps == "map" else max_steps,
        )
        board = Board.of(parse_map(rows, self.rules.tiles), self.rules)
        self.letters, self.tile_of, self.state_of = board.letters, board.tile_of, board.state_of
        self.observation = observation
        super().__init__(grid_mdp(board, starts, self.name), *self._seen(observation, plane_dtype))

    @property
    def plane_names(self) -> tuple[str, ...]:
        """The planes of ``observation="planes"``: agent, wall, hole, goal, then every letter of the map in order."""
        own = sorted(set(self.letters.ravel().tolist()) - set(CHARACTERS))
        return ("agent", "wall", "hole", "goal", *own)

    def to_map(self, values: ArrayLike, wall: float = np.nan) -> NDArray:
        """Values of the states laid out as the map: ``[..., N]`` -> ``[..., rows, columns]``, ``wall`` in the walls."""
        of_state = np.asarray(values)
        laid_out = np.full((*of_state.shape[:-1], *self.letters.shape), wall, np.result_type(of_state, wall))
        laid_out[..., self.tile_of[:, 0], self.tile_of[:, 1]] = of_state
        return laid_out

    def render(self, state: Array, mode: str = "ansi") -> str | NDArray[np.uint8]:
        """The map with the agent at ``state`` ``[1]``.

        ``"ansi"``: a text of lines, the agent's tile in brackets. ``"rgb_array"``: an image ``[H, W, 3]`` uint8.

        Raises:
            ValueError: another mode.
        """
        if mode not in self.render_modes:
            raise ValueError(f"render mode {mode!r}: choose one of {', '.join(self.render_modes)}")
        row, column = self.tile_of[int(state[0])]
        if mode == "ansi":
            return "\n".join(
                "".join(f"[{letter}]" if (i, j) == (row, column) else f" {letter} " for j, letter in enumerate(line))
                for i, line in enumerate(self.letters)
            )
        return self._picture.frame(row, column)

    def render_observation(self, observation: Array) -> NDArray[np.uint8]:
        """A picture of the state that an observation describes, true or not, ``[H, W, 3]`` uint8.

        Coordinates are the agent's place, which may lie between tiles; a code or an agent's plane draws the agent on
        every tile as opaque as its number there.
        """
        if self.observation == "index":
            return self._picture.frame(*self.tile_of[int(observation)])
        seen = np.asarray(observation, dtype=np.float64)
        if self.observation == "coordinates":
            row, column = seen * np.maximum(np.array(self.letters.shape) - 1, 1)
            return self._picture.frame(row, column)
        if self.observation == "onehot":
            return self._picture.discs(self.tile_of, seen)
        bright = 255.0 if self.observation_space.dtype == np.uint8 else 1.0
        return self._picture.discs(self.tile_of, seen[0][tuple(self.tile_of.T)] / bright)

    def __repr__(self) -> str:
        """Name, sizes and rules."""
        rows, columns = self.letters.shape
        return f"GridWorld({self.name!r}, {rows} x {columns}, {self.mdp.num_states} states, {self.rules})"

    @cached_property
    def _picture(self) -> GridPicture:
        """The drawing of the map, made once."""
        from .render import GridPicture

        return GridPicture(self)

    def _seen(
        self, observation: ObservationKind, plane_dtype: PlaneDtype
    ) -> tuple[NDArray | None, spaces.Space | None]:
        """Return the observation of every state and its space; None, None for the bare index."""
        if observation not in get_args(ObservationKind):
            raise ValueError(f"observation {observation!r}: choose one of {', '.join(get_args(ObservationKind))}")
        if plane_dtype not in get_args(PlaneDtype):
            raise ValueError(f"plane_dtype {plane_dtype!r}: choose one of {', '.join(get_args(PlaneDtype))}")
        if observation == "index":
            return None, None
        num_states, map_shape = len(self.tile_of), self.letters.shape
        dtype = np.dtype(plane_dtype if observation == "planes" else "float32")
        shape = {
            "onehot": (num_states,),
            "coordinates": (2,),
            "planes": (len(self.plane_names), *map_shape),
        }[observation]
        size = num_states * prod(shape) * dtype.itemsize
        if size > FEATURE_LIMIT:
            raise ValueError(
                f"observation {observation!r} of {num_states} states takes {size / 2**30:.1f} GiB, more than "
                f"{FEATURE_LIMIT / 2**30:.0f}: choose 'index' or 'coordinates' for a map of this size"
            )
        bright = 255 if dtype == np.uint8 else 1
        if observation == "onehot":
            features = np.eye(num_states, dtype=dtype)
        elif observation == "coordinates":
            features = (self.tile_of / np.maximum(np.array(map_shape) - 1, 1)).astype(dtype)
        else:
            shown = [WALL, HOLE, GOAL, *self.plane_names[4:]]
            features = np.zeros((num_states, *shape), dtype)
            features[:, 1:] = bright * np.stack([self.letters == letter for letter in shown])
            features[np.arange(num_states), 0, *self.tile_of.T] = bright
        features.flags.writeable = False
        return features, spaces.Box(0, bright, shape, dtype.type)


def _look_up(map: str | Sequence[str], tiles: Mapping[str, Tile]) -> tuple[str, str | Sequence[str], Rules]:
    """Name, lines and usual rules of what the caller gave. A single line of map characters is a map, not a name."""
    if not isinstance(map, str) or "\n" in map or set(map.strip()) <= {*CHARACTERS, *tiles}:
        return "GridWorld", map, Rules()
    named = named_map(map)
    return map, named.rows, named.rules
