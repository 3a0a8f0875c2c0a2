"""A fraction of successes, such as the seeds that solve a task: Clopper and Pearson's interval, and Wilson's."""

from __future__ import annotations

import math

from numpy.typing import ArrayLike

from .core.checks import checked_confidence, zeros_and_ones
from .estimate import Estimate


def proportion_interval(solved: ArrayLike, confidence: float = 0.95) -> Estimate[float]:
    """Estimate a fraction of successes with an interval that covers at least ``confidence`` for every true fraction.

    For k successes of n, lower is the p at which k or more successes have probability (1 - confidence) / 2, and upper
    is the p at which k or fewer have: quantiles of Beta(k, n-k+1) and Beta(k+1, n-k).

    Args:
        solved: ``[n]`` booleans (or 0 and 1), for example whether each seed reached the target.
        confidence: least coverage.

    Raises:
        ValueError: there is no value, a value is neither 0 nor 1, or confidence is outside (0, 1).

    Source: Clopper & Pearson 1934, "The use of confidence or fiducial limits illustrated in the case of the binomial".
    """
    from scipy.special import betainccinv, betaincinv  # quantiles of Beta, from above and from below

    sample = zeros_and_ones(solved)
    n, k = len(sample), int(sample.sum(axis=0))
    tail = (1.0 - checked_confidence(confidence)) / 2.0
    lower = float(betaincinv(k, n - k + 1, tail)) if k > 0 else 0.0
    upper = float(betainccinv(k + 1, n - k, tail)) if k < n else 1.0
    return Estimate(k / n, lower, upper, n, confidence, "Clopper-Pearson")


def wilson_interval(solved: ArrayLike, confidence: float = 0.95) -> Estimate[float]:
    """Estimate a fraction of successes with Wilson's interval, whose coverage is near ``confidence`` on average.

    It holds the fractions p that the normal test of ``k = n p`` does not reject, whose standard error is that at p:
    ``(k + z²/2) / (n + z²) ± z sqrt(k (n - k) / n + z²/4) / (n + z²)`` for k successes of n. It is narrower than
    ``proportion_interval``, and covers less than ``confidence`` for some fractions.

    Args:
        solved: ``[n]`` booleans (or 0 and 1), for example whether each seed reached the target.
        confidence: wanted coverage.

    Raises:
        ValueError: there is no value, a value is neither 0 nor 1, or confidence is outside (0, 1).

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    from scipy.special import ndtri  # quantiles of the normal distribution

    sample = zeros_and_ones(solved)
    n, k = len(sample), int(sample.sum(axis=0))
    z = -float(ndtri((1.0 - checked_confidence(confidence)) / 2.0))
    middle = (k + z * z / 2.0) / (n + z * z)
    half = z * math.sqrt(k * (n - k) / n + z * z / 4.0) / (n + z * z)
    lower = middle - half if k > 0 else 0.0  # rounding could give -1e-17
    upper = middle + half if k < n else 1.0
    return Estimate(k / n, lower, upper, n, confidence, "Wilson")
