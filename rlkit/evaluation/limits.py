"""Where evaluations start and where they stop."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from rlkit.arrays import as_whole_number

EVALUATION_SEED = 10_000  # of the first paired evaluation episode, by default; training uses small seeds
STEP_CAP = 10_000  # steps of an episode whose environment has no time limit


def step_cap(max_steps: int | None, limit: int | None) -> int:
    """Return the steps that an episode may take: ``max_steps``, else the environment's limit, else 10,000.

    Raises:
        ValueError: max_steps is below 1 or not a whole number.
    """
    if max_steps is not None:
        return as_whole_number(max_steps, "max_steps")
    return limit or STEP_CAP


def warn_capped(capped: NDArray[np.bool_], cap: int) -> None:
    """Warn the caller's caller that episodes were stopped at the step cap, if any was."""
    if capped.any():
        warnings.warn(
            f"{capped.sum()} of {capped.size} episodes were still running after {cap} steps and count with the return "
            "they had by then: pass a larger max_steps, or give the environment a time limit",
            RuntimeWarning,
            stacklevel=3,
        )
