"""p-values where several tests are read."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def holm(probabilities: ArrayLike) -> list[float]:
    """Return p-values corrected for several tests, so that any false rejection at level alpha has probability alpha.

    The i-th smallest of m is multiplied by m + 1 - i. The order of the values is kept, and no value is above 1.

    Args:
        probabilities: p-values ``[m]``; the result for an empty list is empty.

    Raises:
        ValueError: a value outside [0, 1].

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if not ((p >= 0.0) & (p <= 1.0)).all():
        raise ValueError(f"probabilities must be in [0, 1], got {p.tolist()}")
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))), 1.0)
    return [float(each) for each in corrected]
