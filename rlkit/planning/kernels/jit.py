"""Compilation of the loops that have no array form.

With numba the decorated functions are compiled on first use and kept on disk; without it they stay Python, slow and
equal to the bit, and ``solve`` chooses methods made of array operations instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

try:
    import numba  # type: ignore[import-untyped,import-not-found,unused-ignore]

    COMPILED = True
except ImportError:
    COMPILED = False


def compiled(function: Function) -> Function:
    """``function`` as machine code where numba is installed. No fast-math: every operation rounds as written."""
    if not COMPILED:
        return function
    machine_code: Function = numba.njit(function, cache=True, nogil=True, error_model="numpy")
    return machine_code


def inlined(function: Function) -> Function:
    """``function``, written out wherever a compiled function calls it: calls made sweeps up to 3.6 times as long."""
    if not COMPILED:
        return function
    written_out: Function = numba.njit(function, inline="always", nogil=True, error_model="numpy")
    return written_out
