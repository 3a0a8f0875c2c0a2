"""One thread for the matrix products of compiled loops.

Their matrices are small: a second thread costs more than it gains, and many times as much where other processes want
the same cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped,unused-ignore]


@cache
def _libraries() -> tuple[Any, ...]:
    """Return the BLAS libraries of this process, numba's among them."""
    import scipy.linalg.cython_blas  # noqa: F401 - numba's products call it  # type: ignore[import-untyped,unused-ignore]

    return tuple(ThreadpoolController().select(user_api="blas").lib_controllers)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Multiply matrices on one thread while in the context."""
    several = [(library, threads) for library in _libraries() if (threads := library.get_num_threads()) != 1]
    for library, _ in several:
        library.set_num_threads(1)
    try:
        yield
    finally:
        for library, threads in several:
            library.set_num_threads(threads)
