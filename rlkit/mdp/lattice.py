"""A continuous control problem on a lattice of its states, as a finite MDP.

From a point of the lattice a step of the dynamics leads into some cell. The corners of the cell are the successors, and
the weights of multilinear interpolation are their probabilities, because they are not negative and sum to one (Kushner
& Dupuis 2001, "Numerical Methods for Stochastic Control Problems in Continuous Time", chapter 5; Munos & Moore 2002,
"Variable Resolution Discretization in Optimal Control"). This finite problem is solved exactly. Finer lattices show how
far its values are from those of the continuous problem.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .tabular import TabularMDP, chunks

Floats = NDArray[np.float64]
Array = Any  # numpy's or torch's: ``interpolated`` answers in the kind it is given
Step = Callable[[Floats, NDArray[np.int64]], tuple[ArrayLike, ArrayLike, ArrayLike]]

CHUNK = 2**16  # states looked at together


class Cells(NamedTuple):
    """Where states lie on a lattice."""

    corner: NDArray[np.int32]  # [...], the number of the lowest corner of the cell
    fraction: Floats  # [d, ...], in [0, 1], how far along each axis of the cell


@dataclass(frozen=True, eq=False, init=False)
class Lattice:
    """All combinations of the points of d axes, numbered with the last axis fastest: N points of a box.

    Raises:
        ValueError: no axis, an axis that is not two or more finite numbers in increasing order, or more points than a
            32-bit number counts.
    """

    axes: tuple[Floats, ...]

    def __init__(self, axes: Sequence[ArrayLike]) -> None:
        """Copy and verify the axes."""
        points = tuple(np.array(axis, dtype=np.float64) for axis in axes)
        if not points:
            raise ValueError("axes is empty: give the points of one axis or more")
        for number, axis in enumerate(points):
            if axis.ndim != 1 or len(axis) < 2 or not np.isfinite(axis).all() or not (np.diff(axis) > 0).all():
                raise ValueError(f"axis {number} is {axis}: give two or more finite numbers in increasing order")
            axis.flags.writeable = False
        object.__setattr__(self, "axes", points)
        if self.num_points > np.iinfo(np.int32).max:
            raise ValueError(f"{self.num_points:,} points: a lattice holds at most {np.iinfo(np.int32).max:,}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Points of every axis."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def num_points(self) -> int:
        """N."""
        return prod(self.shape)

    @property
    def strides(self) -> tuple[int, ...]:
        """Differences of the numbers of neighboring points, one for each axis."""
        return tuple(prod(self.shape[axis + 1 :]) for axis in range(len(self.shape)))

    def points(self, first: int = 0, last: int | None = None) -> Floats:
        """Give the points with numbers from ``first`` to ``last - 1``, ``[M, d]``."""
        numbers = np.arange(first, self.num_points if last is None else last)
        places = np.unravel_index(numbers, self.shape)
        return np.stack([axis[place] for axis, place in zip(self.axes, places, strict=True)], axis=-1)

    def cells(self, state: ArrayLike) -> Cells:
        """Find the cells of states ``[..., d]``. A state outside the box counts as the nearest one inside.

        Raises:
            ValueError: states of another shape.
        """
        given = _verified_states(state, len(self.axes))
        corner = np.zeros(given.shape[:-1], np.int32)
        fraction = np.empty((len(self.axes), *corner.shape))
        for number, (axis, stride) in enumerate(zip(self.axes, self.strides, strict=True)):
            inside = np.clip(given[..., number], axis[0], axis[-1])
            below = np.minimum(np.searchsorted(axis, inside, side="right") - 1, len(axis) - 2)
            fraction[number] = (inside - axis[below]) / (axis[below + 1] - axis[below])
            corner += (below * stride).astype(np.int32)
        return Cells(corner, fraction)

    def value_at(self, value: ArrayLike, state: ArrayLike) -> Floats:
        """Interpolate ``value [N]`` at states ``[..., d]``: ``[...]``.

        Raises:
            ValueError: values or states of another shape.
        """
        given = _verified_values(value, self.num_points)
        corner, fraction = self.cells(state)
        return np.asarray(interpolated(given, corner, fraction, self.strides))


def interpolated(value: Array, corner: Array, fraction: Array, strides: Sequence[int]) -> Array:
    """Interpolate multilinearly, ``[...]``, for arrays of numpy and of torch.

    It computes ``(1 - f) low + f high`` along one axis after the other: three roundings per axis. With ``value [N, B]``
    fractions are ``[d, ..., 1]``.

    Args:
        value: at the points of the lattice, ``[N]``.
        corner: number of the lowest corner of every cell, ``[...]`` int64.
        fraction: position within the cell along every axis, in [0, 1], ``[d, ...]``.
        strides: distance of neighboring points along every axis, in numbers of points.
    """
    if not strides:
        return value[corner]
    low = interpolated(value, corner, fraction[1:], strides[1:])
    high = interpolated(value, corner + strides[0], fraction[1:], strides[1:])
    return (1 - fraction[0]) * low + fraction[0] * high


@dataclass(frozen=True, eq=False, repr=False, init=False)
class LatticeMDP:
    """Deterministic dynamics on a lattice: states are its N points, and a step leads to the corners of a cell.

    ``step(state [M, d], action [M])`` gives the next states ``[M, d]``, the rewards ``[M]`` and whether the episode
    ends there ``[M]``. The cell of each successor and its place in the cell take about ``13 + 8 d`` bytes for a state
    and action, where the table of ``2^d`` successors (``tabular``) takes ``29 * 2^d``. A next state outside the box
    counts as the nearest one inside, so choose a box that holds all states of interest.

    Args:
        lattice: the points.
        step: see above.
        num_actions: number of actions A.
        name: for reports.

    Raises:
        ValueError: no action, or a step of other shapes or with a number that is not finite.
    """

    lattice: Lattice
    step: Step
    corner: NDArray[np.int32]  # [A, N]
    fraction: Floats  # [d, A, N]
    reward: Floats  # [A, N]
    going_on: NDArray[np.bool_]  # [A, N]
    name: str

    def __init__(self, lattice: Lattice, step: Step, num_actions: int, name: str = "") -> None:
        """Take one step from every point with every action."""
        if num_actions < 1:
            raise ValueError(f"num_actions {num_actions}: give a positive number")
        size = (num_actions, lattice.num_points)
        corner, fraction = np.empty(size, np.int32), np.empty((len(lattice.shape), *size))
        reward, going_on = np.empty(size), np.empty(size, np.bool_)
        for part in chunks(lattice.num_points, CHUNK):
            points = lattice.points(part.start, part.stop)
            for action in range(num_actions):
                outcome = _verified_step(step, points, action)
                corner[action, part], fraction[:, action, part] = lattice.cells(outcome.state)
                reward[action, part], going_on[action, part] = outcome.reward, ~outcome.terminated
        arrays: dict[str, NDArray[Any]] = {
            "corner": corner,
            "fraction": fraction,
            "reward": reward,
            "going_on": going_on,
        }
        for field, array in arrays.items():
            array.flags.writeable = False
            object.__setattr__(self, field, array)
        object.__setattr__(self, "lattice", lattice)
        object.__setattr__(self, "step", step)
        object.__setattr__(self, "name", name)

    @property
    def num_states(self) -> int:
        """N."""
        return self.lattice.num_points

    @property
    def num_actions(self) -> int:
        """A."""
        return len(self.reward)

    def backup(self, value: ArrayLike, gamma: float) -> Floats:
        """Compute ``q(s, a) = r + gamma V(s')``, V interpolated: ``[N]`` -> ``[N, A]``.

        Raises:
            ValueError: values of another shape.
        """
        value = _verified_values(value, self.num_states)
        q = np.empty((self.num_states, self.num_actions))
        strides = self.lattice.strides
        for part in chunks(self.num_states, CHUNK):
            ahead = interpolated(value, self.corner[:, part], self.fraction[:, :, part], strides)  # [A, M]
            q[part] = (self.reward[:, part] + gamma * (self.going_on[:, part] * ahead)).T
        return q

    def q_at(self, value: ArrayLike, state: ArrayLike, gamma: float) -> Floats:
        """Compute the action values of any states: ``[..., d]`` -> ``[..., A]``.

        They follow from a true step of the dynamics and the interpolated ``value`` after it. The best action is that of
        the greedy policy of ``value`` in the continuous problem.

        Args:
            value: value function at the points, ``[N]``.
            state: states ``[..., d]``.
            gamma: discount, in [0, 1].

        Raises:
            ValueError: values or states of another shape.
        """
        given = _verified_states(state, len(self.lattice.axes))
        rows = given.reshape(-1, given.shape[-1])
        q = np.empty((len(rows), self.num_actions))
        for action in range(self.num_actions):
            outcome = _verified_step(self.step, rows, action)
            ahead = self.lattice.value_at(value, outcome.state)
            q[:, action] = outcome.reward + gamma * np.where(outcome.terminated, 0.0, ahead)
        return q.reshape(*given.shape[:-1], -1)

    @cached_property
    def tabular(self) -> TabularMDP:
        """The same problem as a table ``[N, A, 2^d]``, made once; weights are products, each rounded."""
        corners = list(product((0, 1), repeat=len(self.lattice.shape)))
        shape = (self.num_states, self.num_actions, len(corners))
        successor, probability = np.empty(shape, np.int32), np.empty(shape)
        for k, sides in enumerate(corners):
            successor[..., k] = (self.corner + int(np.dot(sides, self.lattice.strides))).T
            weight = prod(f if side else 1 - f for side, f in zip(sides, self.fraction, strict=True))
            probability[..., k] = np.asarray(weight).T
        reward = np.repeat(self.reward.T[..., None], shape[2], axis=2)
        ends = np.repeat(~self.going_on.T[..., None], shape[2], axis=2)
        return TabularMDP(successor, probability, reward, ends, name=self.name)

    def __repr__(self) -> str:
        """Sizes and name; not the arrays."""
        points = " x ".join(map(str, self.lattice.shape))
        return f"LatticeMDP({points}, num_states={self.num_states}, num_actions={self.num_actions}, name={self.name!r})"


def _verified_values(value: ArrayLike, num_points: int) -> Floats:
    """Values ``[N]``, else a ValueError."""
    given = np.asarray(value, dtype=np.float64)
    if given.shape != (num_points,):
        raise ValueError(f"value has shape {given.shape}: expected {(num_points,)}, one entry per point")
    return given


def _verified_states(state: ArrayLike, num_axes: int) -> Floats:
    """States ``[..., d]``, else a ValueError."""
    given = np.asarray(state, dtype=np.float64)
    if given.ndim < 1 or given.shape[-1] != num_axes:
        raise ValueError(f"state has shape {given.shape}: expected [..., {num_axes}], one entry per axis")
    return given


class _Outcome(NamedTuple):
    """One step of M states."""

    state: Floats  # [M, d]
    reward: Floats  # [M]
    terminated: NDArray[np.bool_]  # [M]


def _verified_step(step: Step, state: Floats, action: int) -> _Outcome:
    """A step of ``state [M, d]``, else a ValueError."""
    outcome = step(state, np.full(len(state), action))
    next_state, reward, terminated = (np.asarray(part) for part in outcome)
    if next_state.shape != state.shape or {reward.shape, terminated.shape} != {(len(state),)}:
        raise ValueError(
            f"step gives shapes {next_state.shape}, {reward.shape} and {terminated.shape} for states {state.shape}: "
            f"expected next states {state.shape}, rewards and terminated {(len(state),)}"
        )
    wrong = ~np.isfinite(next_state).all(axis=1) | ~np.isfinite(reward)  # [M]
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"action {action} leads from {state[row]} to {next_state[row]} with reward {reward[row]}: give a step of "
            "finite numbers, or a smaller box"
        )
    return _Outcome(next_state.astype(np.float64), reward.astype(np.float64), terminated.astype(np.bool_))
