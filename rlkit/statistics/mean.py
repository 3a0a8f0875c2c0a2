"""The mean of normal data, of shares, and the difference of two means: Student's and Welch's intervals."""

from __future__ import annotations

import math
from typing import overload

import numpy as np
from numpy.typing import ArrayLike

from .core.checks import Floats, checked_confidence, finite, one_sample, paired_differences
from .core.student import square_errors, t_quantile, welch_degrees
from .estimate import Estimate


@overload
def mean_interval(x: ArrayLike, confidence: float = ..., axis: None = ...) -> Estimate[float]: ...
@overload
def mean_interval(x: ArrayLike, confidence: float = ..., *, axis: int) -> Estimate[Floats]: ...
def mean_interval(x: ArrayLike, confidence: float = 0.95, axis: int | None = None) -> Estimate:
    """Estimate the mean with Student's interval, ``mean ± t(n - 1) s / sqrt(n)``.

    Args:
        x: the sample ``[n]``, or samples along ``axis`` of an array of any shape.
        confidence: wanted coverage, exact for normal data.
        axis: axis of the n values of each sample; None for a plain ``[n]``.

    Returns:
        Floats, or arrays of the shape of x without ``axis``. A sample of one value has no spread: its interval is
        (-inf, inf). A constant sample has an interval of width 0, as the formula gives.

    Raises:
        ValueError: there is no value, a value is not finite, or confidence is outside (0, 1).

    Source: Student 1908, "The probable error of a mean".
    """
    sample = one_sample(x, "x") if axis is None else np.moveaxis(finite(x, "x"), axis, -1)
    n = sample.shape[-1]
    mean = sample.mean(axis=-1)
    if n == 1:
        half = np.full_like(mean, np.inf)
    else:
        half = t_quantile(n - 1, confidence) * sample.std(axis=-1, ddof=1) / math.sqrt(n)
    lower, upper = mean - half, mean + half
    if axis is None:
        return Estimate(float(mean), float(lower), float(upper), n, checked_confidence(confidence), "Student t")
    return Estimate(mean, lower, upper, n, checked_confidence(confidence), "Student t")


def share_interval(x: ArrayLike, confidence: float = 0.95) -> Estimate[float]:
    """Estimate the mean of shares, one per seed, with Student's interval clipped to [0, 1].

    Args:
        x: shares ``[n]``, each in [0, 1].
        confidence: wanted coverage; clipping does not reduce it.

    Raises:
        ValueError: a number is outside [0, 1], or ``mean_interval`` refuses an argument.
    """
    shares = one_sample(x, "x")
    if shares.min() < 0.0 or shares.max() > 1.0:
        raise ValueError(f"shares must be in [0, 1], got {shares.min():g} to {shares.max():g}: use mean_interval")
    mean = mean_interval(shares, confidence)
    return mean._replace(lower=max(mean.lower, 0.0), upper=min(mean.upper, 1.0), method="Student t within [0, 1]")


def difference_interval(x: ArrayLike, y: ArrayLike, confidence: float = 0.95, paired: bool = False) -> Estimate[float]:
    """Estimate the difference of means, ``mean(x) - mean(y)``.

    The unpaired interval is Welch's: each sample has its own variance, ``se² = s_x²/n_x + s_y²/n_y``, and Student's t
    has Satterthwaite's degrees of freedom. The paired interval is Student's for ``x - y``.

    Args:
        x: first sample ``[n]``.
        y: second sample ``[m]``.
        confidence: wanted coverage.
        paired: whether x[i] and y[i] belong together, such as results of one seed under two settings. Runs of different
            algorithms with equal seed numbers do not.

    Returns:
        The estimate; its n is that of the smaller sample. A sample of one value gives the interval (-inf, inf).

    Raises:
        ValueError: a sample is empty, a value is not finite, confidence is outside (0, 1), or paired samples have
            different lengths.

    Source: Welch 1947, "The generalization of Student's problem when several different population variances are
    involved".
    """
    a, b = one_sample(x, "x"), one_sample(y, "y")
    if paired:
        return mean_interval(paired_differences(a, b), confidence)._replace(method="paired Student t")
    n = min(len(a), len(b))
    difference = float(a.mean(axis=0) - b.mean(axis=0))
    if n == 1:
        half = math.inf
    else:
        errors = square_errors(a, b)
        largest = errors.max(axis=0)  # of two constant samples 0: the interval has width 0 for every quantile
        quantile = t_quantile(welch_degrees(errors, len(a), len(b)), confidence) if largest > 0.0 else 0.0
        half = quantile * math.sqrt(errors.sum(axis=0))
    return Estimate(difference, difference - half, difference + half, n, checked_confidence(confidence), "Welch t")
