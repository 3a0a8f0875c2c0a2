"""Returns to estimates: a number with its interval, how sure it is, and by which method.

The unit of replication is the training seed: average a seed's evaluation episodes first, then pass one number per
seed. Intervals with few seeds are wide because little is known; resampling few seeds only hides that (a nominal
95 % bootstrap interval of 5 seeds covers about 56 %), so every interval here has a closed form.
"""

from __future__ import annotations

import math
from typing import Generic, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]
Value = TypeVar("Value")


class Estimate(NamedTuple, Generic[Value]):
    """A number measured from a sample, with the interval that holds the true one.

    ``Estimate[float]`` for one sample; ``Estimate[NDArray]`` for one sample per element along an axis.
    """

    value: Value
    lower: Value
    upper: Value
    n: int  # the size of the sample; of the smaller one for a difference
    confidence: float  # the coverage of [lower, upper], which is what was asked for unless the method says otherwise
    method: str

    def __str__(self) -> str:
        """For example ``481.2 [475.0, 487.4]``."""
        if isinstance(self.value, float):
            return f"{self.value:.4g} [{self.lower:.4g}, {self.upper:.4g}]"
        return f"{self.value} [{self.lower}, {self.upper}]"


@overload
def mean_interval(x: ArrayLike, confidence: float = ..., axis: None = ...) -> Estimate[float]: ...
@overload
def mean_interval(x: ArrayLike, confidence: float = ..., *, axis: int) -> Estimate[Floats]: ...
def mean_interval(x: ArrayLike, confidence: float = 0.95, axis: int | None = None) -> Estimate:
    """The mean with Student's interval, ``mean ± t(n - 1) s / sqrt(n)``.

    Args:
        x: the sample ``[n]``, or samples along ``axis`` of an array of any shape.
        confidence: wanted coverage, exact for normal data.
        axis: where the n values of each sample lie; None for a plain ``[n]``.

    Returns:
        Floats, or arrays of x's shape without ``axis``. A sample of one knows no spread: its interval is
        (-inf, inf). A constant sample has an interval of width 0, which is what the formula gives and no more.

    Raises:
        ValueError: no value, a value that is not finite, or a confidence outside (0, 1).

    Source: Student 1908, "The probable error of a mean".
    """
    sample = _samples(x, "x") if axis is None else np.moveaxis(_finite(x, "x"), axis, -1)
    n = sample.shape[-1]
    mean = sample.mean(axis=-1)
    if n == 1:
        half = np.full_like(mean, np.inf)
    else:
        half = _t_quantile(n - 1, confidence) * sample.std(axis=-1, ddof=1) / math.sqrt(n)
    lower, upper = mean - half, mean + half
    if axis is None:
        return Estimate(float(mean), float(lower), float(upper), n, _checked(confidence), "Student t")
    return Estimate(mean, lower, upper, n, _checked(confidence), "Student t")


def share_interval(x: ArrayLike, confidence: float = 0.95) -> Estimate[float]:
    """The mean of shares, one per seed, with Student's interval cut to [0, 1], where alone it can be.

    Args:
        x: ``[n]``, each in [0, 1].
        confidence: wanted coverage; the cut takes nothing of it away.

    Raises:
        ValueError: as ``mean_interval``, or a number outside [0, 1].
    """
    shares = _samples(x, "x")
    if shares.min() < 0.0 or shares.max() > 1.0:
        raise ValueError(f"shares must be in [0, 1], got {shares.min():g} to {shares.max():g}: use mean_interval")
    mean = mean_interval(shares, confidence)
    return mean._replace(lower=max(mean.lower, 0.0), upper=min(mean.upper, 1.0), method="Student t within [0, 1]")


def median_interval(x: ArrayLike, confidence: float = 0.95) -> Estimate[float]:
    """The median between two order statistics, for any continuous distribution.

    ``P(x_(l) < median < x_(n+1-l)) = 1 - 2 P(Binomial(n, 1/2) < l)``, with the largest l that covers at least
    ``confidence``. Where none does (below 6 values at 95 %) the interval is the whole range of the sample.

    Returns:
        The estimate with its true coverage as ``confidence``: at least what was asked for, or less where the
        sample is too small (one value: 0). Ties only raise the coverage.

    Raises:
        ValueError: no value, a value that is not finite, or a confidence outside (0, 1).

    Source: David & Nagaraja 2003, "Order Statistics", section 7.1.
    """
    sample = np.sort(_samples(x, "x"))
    n = len(sample)
    ranks = np.arange(1, n // 2 + 1)  # l, counted from 1 as order statistics are
    coverages = 1.0 - 2.0 * stats.binom.cdf(ranks - 1, n, 0.5)
    wide_enough = np.flatnonzero(coverages >= _checked(confidence))
    if n == 1:
        rank, coverage = 1, 0.0
    else:
        chosen = wide_enough[-1] if len(wide_enough) else 0
        rank, coverage = int(ranks[chosen]), float(coverages[chosen])
    lower, upper = float(sample[rank - 1]), float(sample[n - rank])
    return Estimate(float(np.median(sample)), lower, upper, n, coverage, "order statistics")


def proportion_interval(solved: ArrayLike, confidence: float = 0.95) -> Estimate[float]:
    """The fraction of successes with the interval that covers at least ``confidence`` whatever the true fraction.

    With k of n: lower is the p at which k or more successes have probability (1 - confidence) / 2, upper the p at
    which k or fewer have; quantiles of Beta(k, n-k+1) and Beta(k+1, n-k).

    Args:
        solved: ``[n]`` booleans (or 0 and 1), for example whether each seed reached the target.
        confidence: wanted coverage.

    Raises:
        ValueError: no value, a value other than 0 and 1, or a confidence outside (0, 1).

    Source: Clopper & Pearson 1934, "The use of confidence or fiducial limits illustrated in the case of the binomial".
    """
    sample = _samples(solved, "solved")
    if not np.isin(sample, (0.0, 1.0)).all():
        raise ValueError(f"solved must hold booleans, got {sample[~np.isin(sample, (0.0, 1.0))][0]}: compare first")
    n, k = len(sample), int(sample.sum(axis=0))
    tail = (1.0 - _checked(confidence)) / 2.0
    lower = float(stats.beta.ppf(tail, k, n - k + 1)) if k > 0 else 0.0
    upper = float(stats.beta.isf(tail, k + 1, n - k)) if k < n else 1.0
    return Estimate(k / n, lower, upper, n, confidence, "Clopper-Pearson")


def difference_interval(x: ArrayLike, y: ArrayLike, confidence: float = 0.95, paired: bool = False) -> Estimate[float]:
    """The difference of means, ``mean(x) - mean(y)``.

    Unpaired is Welch's: each arm has its own variance, ``se² = s_x²/n_x + s_y²/n_y``, and Student's t with
    Satterthwaite's degrees of freedom. Paired is Student's interval of ``x - y``, for values that belong together
    one by one (the same seed under two settings); arms that only share a seed's number are not paired.

    Returns:
        The estimate; n is the smaller arm's. An arm of one value gives (-inf, inf).

    Raises:
        ValueError: an empty arm, a value that is not finite, a confidence outside (0, 1), or paired arms of
            different lengths.

    Source: Welch 1947, "The generalization of Student's problem when several different population variances are
    involved".
    """
    a, b = _samples(x, "x"), _samples(y, "y")
    if paired:
        if len(a) != len(b):
            raise ValueError(f"paired samples must have one length, got {len(a)} and {len(b)}")
        return mean_interval(a - b, confidence)._replace(method="paired Student t")
    n = min(len(a), len(b))
    difference = float(a.mean(axis=0) - b.mean(axis=0))
    if n == 1:
        half = math.inf
    else:
        square_errors = np.array([a.var(axis=0, ddof=1) / len(a), b.var(axis=0, ddof=1) / len(b)])
        half = _welch_quantile(square_errors, len(a), len(b), confidence) * math.sqrt(square_errors.sum(axis=0))
    return Estimate(difference, difference - half, difference + half, n, _checked(confidence), "Welch t")


def _welch_quantile(square_errors: Floats, n: int, m: int, confidence: float) -> float:
    """Student's t at Satterthwaite's degrees of freedom, (u + v)² / (u²/(n-1) + v²/(m-1)) of squared errors u, v."""
    largest = square_errors.max(axis=0)
    if largest == 0.0:
        return 0.0  # two constant arms: the interval has no width whatever the quantile
    u, v = square_errors / largest  # the ratio does not depend on the scale, which may be tiny
    return _t_quantile(float((u + v) ** 2 / (u**2 / (n - 1) + v**2 / (m - 1))), confidence)


def _t_quantile(degrees: float, confidence: float) -> float:
    """The t that Student's distribution stays within, on both sides, with probability ``confidence``."""
    return float(stats.t.isf((1.0 - _checked(confidence)) / 2.0, degrees))


def _checked(confidence: float) -> float:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}: write 95 % as 0.95")
    return confidence


def _finite(x: ArrayLike, name: str) -> Floats:
    """x as float64, refused if it is empty or holds a value that is not finite."""
    sample = np.asarray(x, dtype=np.float64)
    if sample.size == 0:
        raise ValueError(f"{name} holds no value: an estimate needs at least one")
    if not np.isfinite(sample).all():
        index = np.argwhere(~np.isfinite(sample))[0].tolist()
        value = sample[tuple(index)]
        raise ValueError(f"{name} holds {value} at {index}: report diverged runs apart, then leave them out")
    return sample


def _samples(x: ArrayLike, name: str) -> Floats:
    """``_finite`` for one sample ``[n]``."""
    sample = _finite(x, name)
    if sample.ndim != 1:
        raise ValueError(f"{name} must be one sample [n], got shape {sample.shape}: average a seed's episodes first")
    return sample
