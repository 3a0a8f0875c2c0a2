"""The frames of a report's interactive panel: values and policies on a map, one frame for every slider position."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

MOST_CELLS = 2_000_000  # numbers of a panel that is read
DIGITS = 4  # significant digits of a value that is kept

Floats = NDArray[np.float64]


class GridPanel(NamedTuple):
    """Values and action shares of N states at T positions of a slider, beside a fixed solution."""

    title: str
    map: tuple[str, ...]  # rows of letters
    tiles: Floats  # [N, 2], row and column of every state
    slider: str  # name and unit of the positions
    positions: tuple[float, ...]  # [T]
    value: Floats  # [T, N], mean over seeds; NaN at ends
    policy: Floats  # [T, N, A], share of seeds that choose the action
    shown: str  # name of the left map
    reference: str  # name of the right map
    reference_value: Floats  # [N]
    reference_policy: Floats  # [N, A], shares of the optimal actions

    def as_json(self) -> dict[str, Any]:
        """Return the panel as JSON's types, rounded."""
        numbers = {name: _rounded(array) for name, array in self._asdict().items() if isinstance(array, np.ndarray)}
        return {**self._asdict(), **numbers, "map": list(self.map), "positions": list(self.positions)}


def read_panel(saved: Mapping[str, Any]) -> GridPanel:
    """Read a panel from a record.

    Raises:
        TypeError: a part that is missing, or of another type or shape.
    """
    if set(saved) != set(GridPanel._fields):
        raise TypeError(f"a panel has the parts {sorted(saved)[:20]}")
    texts = [saved["title"], saved["slider"], saved["shown"], saved["reference"], *saved["map"]]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a panel has a number where a text is expected")
    tiles, value, policy = (_numbers(saved[name]) for name in ("tiles", "value", "policy"))
    positions = _numbers(saved["positions"])
    best, best_policy = _numbers(saved["reference_value"]), _numbers(saved["reference_policy"])
    t, n = len(positions), len(tiles)
    actions = policy.shape[-1] if policy.ndim == 3 else 0
    shapes = [array.shape for array in (positions, tiles, value, policy, best, best_policy)]
    if t == 0 or shapes != [(t,), (n, 2), (t, n), (t, n, actions), (n,), (n, actions)]:
        raise TypeError(f"the arrays of a panel have the shapes {shapes}")
    rows, columns = len(saved["map"]), len(saved["map"][0]) if saved["map"] else 0
    inside = (tiles >= 0) & (tiles < [rows, columns])
    if not inside.all() or any(len(row) != columns for row in saved["map"]):
        raise TypeError("a panel has a state outside its map")
    return GridPanel(
        saved["title"], tuple(saved["map"]), tiles, saved["slider"], tuple(positions.tolist()), value, policy,
        saved["shown"], saved["reference"], best, best_policy,
    )  # fmt: skip


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
