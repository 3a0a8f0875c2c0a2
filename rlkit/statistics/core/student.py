"""Student's distribution, and Welch's standard error with its degrees of freedom."""

from __future__ import annotations

import math

import numpy as np

from .checks import Floats, checked_confidence, paired_differences


def t_quantile(degrees: float, confidence: float) -> float:
    """Return the t with P(|T| < t) = ``confidence`` for Student's distribution."""
    from scipy.special import stdtrit  # quantiles of Student's t; importing it takes as long as the rest of this file

    return -float(stdtrit(degrees, (1.0 - checked_confidence(confidence)) / 2.0))


def tail_probability(t: float, degrees: float, alternative: str) -> float:
    """Return the probability under the null hypothesis of a statistic that is at least as extreme as t.

    "greater" counts the statistics above t, "less" those below, "two-sided" those farther from zero.
    """
    from scipy.special import stdtr  # the distribution function of Student's t

    if alternative == "two-sided":
        return 2.0 * float(stdtr(degrees, -abs(t)))
    return float(stdtr(degrees, -t if alternative == "greater" else t))


def square_errors(*samples: Floats) -> Floats:
    """Return the squared standard errors of the means, such as ``[s_x²/n_x, s_y²/n_y]``, of two values or more each."""
    return np.array([each.var(axis=0, ddof=1) / len(each) for each in samples])


def welch_degrees(errors: Floats, n: int, m: int) -> float:
    """Return Satterthwaite's degrees of freedom, (u + v)² / (u²/(n-1) + v²/(m-1)), of squared errors, not both zero."""
    u, v = errors / errors.max(axis=0)  # the ratio does not depend on the scale, which may be tiny
    return float((u + v) ** 2 / (u**2 / (n - 1) + v**2 / (m - 1)))


def standard_error(x: Floats, y: Floats, paired: bool) -> tuple[float, float]:
    """Return the standard error of ``mean(x) - mean(y)`` and its degrees of freedom.

    Raises:
        ValueError: a sample has one value, or there is no spread at all.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError(f"a test needs at least 2 values of each sample, got {len(x)} and {len(y)}: train more seeds")
    spreads = [paired_differences(x, y)] if paired else [x, y]
    errors = square_errors(*spreads)
    total = float(errors.sum(axis=0))
    constant = all(each.min() == each.max() for each in spreads)  # the mean of equal values may be rounded
    if constant or total == 0.0:
        what = "the differences are all equal" if paired else "both samples are constant"
        raise ValueError(f"{what}, so their spread is unknown: use bounded_difference_interval")
    return math.sqrt(total), len(x) - 1.0 if paired else welch_degrees(errors, len(x), len(y))
