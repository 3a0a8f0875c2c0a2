"""The environment of processes that work side by side, each on one thread."""

from __future__ import annotations

import os

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def one_thread_environment(**added: str) -> dict[str, str]:
    """The environment of a new process whose libraries compute on one thread, with other variables added."""
    return {**os.environ, **dict.fromkeys(VARIABLES, "1"), **added}
