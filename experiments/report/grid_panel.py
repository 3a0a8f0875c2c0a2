"""The frames of a report's interactive panel: values and policies on a map, one frame for all positions of sliders."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

MOST_CELLS = 2_000_000  # numbers of a panel that is read
DIGITS = 4  # significant digits of a value that is kept

Floats = NDArray[np.float64]


class Slider(NamedTuple):
    """A slider of a panel: its name and its positions."""

    name: str  # with its unit
    positions: tuple[float, ...]


class GridPanel(NamedTuple):
    """Values and action shares of N states at every position of one or two sliders, beside a fixed solution.

    T and L are the numbers of positions of the first and the second slider; without a second one there is no axis L.
    """

    title: str
    map: tuple[str, ...]  # rows of letters
    tiles: Floats  # [N, 2], row and column of every state
    sliders: tuple[Slider, ...]
    value: Floats  # [T, L?, N], mean over seeds; NaN at ends
    policy: Floats  # [T, L?, N, A], share of seeds that choose the action
    shown: str  # name of the left map
    reference: str  # name of the right map
    reference_value: Floats  # [N]
    reference_policy: Floats  # [N, A], shares of the optimal actions

    def as_json(self) -> dict[str, Any]:
        """Return the panel as JSON's types, rounded."""
        numbers = {name: _rounded(array) for name, array in self._asdict().items() if isinstance(array, np.ndarray)}
        sliders = [{"name": each.name, "positions": list(each.positions)} for each in self.sliders]
        return {**self._asdict(), **numbers, "map": list(self.map), "sliders": sliders}


def read_panel(saved: Mapping[str, Any]) -> GridPanel:
    """Read a panel from a record.

    Raises:
        TypeError: a part that is missing, or of another type or shape.
    """
    if set(saved) != set(GridPanel._fields):
        raise TypeError(f"a panel has the parts {sorted(saved)[:20]}")
    sliders = tuple(map(_read_slider, saved["sliders"]))
    texts = [saved["title"], saved["shown"], saved["reference"], *saved["map"], *(each.name for each in sliders)]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a panel has a number where a text is expected")
    tiles, value, policy = (_numbers(saved[name]) for name in ("tiles", "value", "policy"))
    best, best_policy = _numbers(saved["reference_value"]), _numbers(saved["reference_policy"])
    moved, n = tuple(len(each.positions) for each in sliders), len(tiles)
    actions = policy.shape[-1] if policy.ndim == len(moved) + 2 else 0
    shapes = [array.shape for array in (tiles, value, policy, best, best_policy)]
    if not 1 <= len(moved) <= 2 or 0 in moved or shapes != [
        (n, 2), (*moved, n), (*moved, n, actions), (n,), (n, actions),
    ]:  # fmt: skip
        raise TypeError(f"the arrays of a panel have the shapes {shapes}")
    rows, columns = len(saved["map"]), len(saved["map"][0]) if saved["map"] else 0
    inside = (tiles >= 0) & (tiles < [rows, columns])
    if not inside.all() or any(len(row) != columns for row in saved["map"]):
        raise TypeError("a panel has a state outside its map")
    return GridPanel(
        saved["title"], tuple(saved["map"]), tiles, sliders, value, policy, saved["shown"], saved["reference"],
        best, best_policy,
    )  # fmt: skip


def _read_slider(saved: Mapping[str, Any]) -> Slider:
    """Read a slider; a TypeError for anything else."""
    if not isinstance(saved, Mapping) or set(saved) != set(Slider._fields):
        raise TypeError(f"a slider has a name and positions, got {str(saved)[:100]}")
    positions = _numbers(saved["positions"])
    if positions.ndim != 1:
        raise TypeError(f"the positions of a slider have the shape {positions.shape}")
    return Slider(saved["name"], tuple(positions.tolist()))


def shares(policy: ArrayLike, num_actions: int) -> Floats:
    """Return the share of seeds that choose each action, ``[..., S, N]`` int -> ``[..., N, A]``."""
    chosen = np.asarray(policy)[..., None] == np.arange(num_actions)
    return np.asarray(chosen.mean(axis=-3), dtype=np.float64)


def _numbers(values: Any) -> Floats:
    """Lists of numbers as an array; None becomes NaN."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except ValueError as error:
        raise TypeError(f"a panel has {str(values)[:100]} where numbers are expected") from error
    if array.size > MOST_CELLS:
        raise TypeError(f"a panel has {array.size} numbers, more than {MOST_CELLS}")
    return array


def _rounded(array: Floats) -> list[Any]:
    """Numbers with the digits that are kept, as nested lists; NaN becomes None."""

    def short(number: Any) -> Any:
        if isinstance(number, list):
            return [short(each) for each in number]
        return float(f"{number:.{DIGITS}g}") if math.isfinite(number) else None

    whole = bool((array == np.rint(array)).all())
    return array.astype(int).tolist() if whole else [short(each) for each in array.tolist()]
