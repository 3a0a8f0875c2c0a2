"""Resampling within strata, and the interval of percentiles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from .checks import Floats, checked_confidence


def resampled(scores: Floats, generator: np.random.Generator) -> Floats:
    """Draw n runs with replacement within each task, independently across tasks: ``[n, M]`` gives ``[n, M]``."""
    return np.take_along_axis(scores, generator.integers(len(scores), size=scores.shape), axis=0)


def percentile_interval(draw: Callable[[], ArrayLike], resamples: int, confidence: float) -> tuple[Floats, Floats]:
    """Return the percentiles (1 - confidence) / 2 and (1 + confidence) / 2 of a statistic of ``resamples`` draws."""
    drawn = np.array([draw() for _ in range(resamples)], dtype=np.float64)
    tail = (1.0 - checked_confidence(confidence)) / 2.0
    lower, upper = np.quantile(drawn, (tail, 1.0 - tail), axis=0)
    return lower, upper
