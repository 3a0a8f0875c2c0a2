"""Elementwise operations on rows of arrays in compiled loops.

numpy's own assignments ``target[:] = source`` and ``target[m] += 1`` do the same. For them numba compiles the text of a
message about shapes that differ, which takes a process several seconds.
"""

from __future__ import annotations

from numpy.typing import NDArray

from .jit import compiled


@compiled
def copy(source: NDArray, target: NDArray) -> None:
    """Write ``source [N]`` into ``target [N]``."""
    for i in range(len(target)):
        target[i] = source[i]


@compiled
def shift(target: NDArray, amount: float) -> None:
    """Add a number to ``target [N]`` in place."""
    for i in range(len(target)):
        target[i] += amount
