"""The interquartile mean: the mean of the middle half."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .core.checks import finite


def interquartile_mean(scores: ArrayLike) -> float:
    """Return the interquartile mean (IQM): leave out the lowest and the highest quarter, and average the others.

    ``floor(N / 4)`` of the N values are left out at either end, as in the package rliable. Runs of several tasks are
    pooled, so tasks of different scales are normalized first. It is less sensitive to single seeds than the mean, and
    uses more of them than the median. Its interval is that of ``bootstrap_interval(scores, interquartile_mean,
    generator)``. A quarter of failed seeds does not change it, so report failures separately.

    Args:
        scores: N values in an array of any shape, such as ``[runs]`` or ``[runs, tasks]``.

    Raises:
        ValueError: there is no value, or one is not finite.

    Source: Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice", section 4.3.
    """
    ordered = np.sort(finite(scores, "scores"), axis=None)
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean(axis=0))
