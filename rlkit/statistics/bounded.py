"""Means of bounded returns: intervals that hold for every distribution and every number of seeds, by DKW."""

from __future__ import annotations

import math
from typing import overload

import numpy as np
from numpy.typing import ArrayLike

from .core.checks import Floats, checked_confidence, one_sample, within
from .estimate import Estimate


@overload
def bounded_mean_interval(
    x: ArrayLike, low: float, high: float, confidence: float = ..., axis: None = ...
) -> Estimate[float]: ...
@overload
def bounded_mean_interval(
    x: ArrayLike, low: float, high: float, confidence: float = ..., *, axis: int
) -> Estimate[Floats]: ...
def bounded_mean_interval(
    x: ArrayLike, low: float, high: float, confidence: float = 0.95, axis: int | None = None
) -> Estimate:
    """Estimate the mean of values in [low, high] with an interval that covers at least ``confidence`` always.

    The empirical distribution function is nowhere farther than ``e = sqrt(log(2 / (1 - confidence)) / (2 n))`` from the
    true one, with probability ``confidence`` (the inequality of Dvoretzky, Kiefer and Wolfowitz with Massart's
    constant). The mean is ``low + ∫ (1 - F(z)) dz`` over [low, high], so F is replaced by ``F_n + e`` for the lower end
    and by ``F_n - e`` for the upper end, both within [0, 1]. In words: a share e of the largest values moves to low,
    or of the smallest to high.

    The width is at least ``e (high - low)`` if e < 1: seeds that all reach the highest return give
    ``[high - e (high - low), high]``, not width 0.

    Args:
        x: the sample ``[n]``, or samples along ``axis`` of an array of any shape.
        low: the least value that is possible, whether it was seen or not, such as 0 for a return of CartPole-v1.
        high: the greatest value that is possible, such as 500.
        confidence: least coverage, for every n and every distribution on [low, high].
        axis: axis of the n values of each sample; None for a plain ``[n]``.

    Returns:
        Floats, or arrays of the shape of x without ``axis``. One seed has an interval too, which is wide.

    Raises:
        ValueError: there is no value, a value is not finite or outside [low, high], the bounds are not finite with
            low < high, or confidence is outside (0, 1).

    Source: Anderson 1969, "Confidence limits for the expected value of an arbitrary bounded random variable with a
    continuous distribution function"; Massart 1990, "The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality".
    """
    values = within(x, "x", low, high)
    sample = np.sort(one_sample(values, "x") if axis is None else np.moveaxis(values, axis, -1), axis=-1)
    n = sample.shape[-1]
    band = dkw_band(n, confidence)
    ends = (*sample.shape[:-1], 1)
    knots = np.concatenate([np.full(ends, low), sample, np.full(ends, high)], axis=-1)
    steps = np.diff(knots, axis=-1)  # [..., n + 1]; between the i-th value and the next F_n is i / n
    above = 1.0 - np.arange(n + 1) / n
    lower = np.clip(low + (steps * np.maximum(above - band, 0.0)).sum(axis=-1), low, high)
    upper = np.clip(low + (steps * np.minimum(above + band, 1.0)).sum(axis=-1), low, high)
    mean = sample.mean(axis=-1)
    if axis is None:
        return Estimate(float(mean), float(lower), float(upper), n, confidence, "DKW")
    return Estimate(mean, lower, upper, n, confidence, "DKW")


def bounded_difference_interval(
    x: ArrayLike, y: ArrayLike, low: float, high: float, confidence: float = 0.95
) -> Estimate[float]:
    """Estimate ``mean(x) - mean(y)`` of values in [low, high] with an interval that covers at least ``confidence``.

    Each mean has the interval of ``bounded_mean_interval`` at confidence ``(1 + confidence) / 2``. Both cover at once
    with probability ``confidence`` at least, paired samples included, and the ends are subtracted crosswise.

    Args:
        x: first sample ``[n]``.
        y: second sample ``[m]``.
        low: the least value that is possible.
        high: the greatest value that is possible.
        confidence: least coverage, for every n, m and every distribution on [low, high].

    Raises:
        ValueError: as ``bounded_mean_interval``, of either sample.
    """
    each = (1.0 + checked_confidence(confidence)) / 2.0
    a = bounded_mean_interval(one_sample(within(x, "x", low, high), "x"), low, high, each)
    b = bounded_mean_interval(one_sample(within(y, "y", low, high), "y"), low, high, each)
    return Estimate(a.value - b.value, a.lower - b.upper, a.upper - b.lower, min(a.n, b.n), confidence, "DKW")


def dkw_band(n: int, confidence: float) -> float:
    """Return the half width of the band of DKW around a distribution function, ``sqrt(log(2 / alpha) / (2 n))``.

    Args:
        n: size of the sample.
        confidence: ``1 - alpha``, the least coverage of the whole band.
    """
    return math.sqrt(math.log(2.0 / (1.0 - checked_confidence(confidence))) / (2.0 * n))
