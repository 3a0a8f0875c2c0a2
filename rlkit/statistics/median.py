"""The median of any continuous distribution, between order statistics."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .core.checks import checked_confidence, one_sample
from .estimate import Estimate


def median_interval(x: ArrayLike, confidence: float = 0.95) -> Estimate[float]:
    """Estimate the median with an interval between two order statistics, for any continuous distribution.

    The coverage is ``P(x_(l) < median < x_(n+1-l)) = 1 - 2 P(Binomial(n, 1/2) < l)``. The largest l is used whose
    coverage is at least ``confidence``. If there is none (below 6 values at 95 %), the interval is the range of the
    sample.

    Args:
        x: the sample ``[n]``.
        confidence: wanted coverage.

    Returns:
        The estimate with its true coverage as ``confidence``: at least the wanted one, or less if the sample is too
        small (0 for one value). Ties can only raise the coverage.

    Raises:
        ValueError: there is no value, a value is not finite, or confidence is outside (0, 1).

    Source: David & Nagaraja 2003, "Order Statistics", section 7.1.
    """
    from scipy.special import bdtr  # the distribution function of the binomial

    sample = np.sort(one_sample(x, "x"))
    n = len(sample)
    ranks = np.arange(1, n // 2 + 1)  # l, counted from 1 as order statistics are
    coverages = 1.0 - 2.0 * bdtr(ranks - 1.0, n, 0.5)
    wide_enough = np.flatnonzero(coverages >= checked_confidence(confidence))
    if n == 1:
        rank, coverage = 1, 0.0
    else:
        chosen = wide_enough[-1] if len(wide_enough) else 0
        rank, coverage = int(ranks[chosen]), float(coverages[chosen])
    lower, upper = float(sample[rank - 1]), float(sample[n - rank])
    return Estimate(float(np.median(sample)), lower, upper, n, coverage, "order statistics")
