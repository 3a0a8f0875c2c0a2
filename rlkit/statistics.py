"""Estimates: a number with its interval, its coverage and the method.

The unit of replication is the training seed: average the evaluation episodes of a seed first, then pass one number per
seed. Intervals of few seeds are wide because little is known. Resampling few seeds hides this: a nominal 95 % bootstrap
interval of 5 seeds covers about 56 %. Therefore every interval here has a closed form.
"""

from __future__ import annotations

import math
from typing import Generic, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Value = TypeVar("Value")

ONE_SEED = "one seed: no interval"
MOST_FLIPPED = 16  # differences whose signs are enumerated
FLIP_SLACK = 1e-12  # of a sum of differences, for rounding


class Estimate(NamedTuple, Generic[Value]):
    """An estimate from a sample, with a confidence interval.

    It is ``Estimate[float]`` for one sample and ``Estimate[NDArray]`` for one sample per element along an axis.
    """

    value: Value
    lower: Value
    upper: Value
    n: int  # size of the sample; of the smaller one for a difference
    confidence: float  # coverage of [lower, upper]: the one asked for, unless the function says otherwise
    method: str  # how the interval was computed

    @property
    def has_interval(self) -> bool:
        """Whether the interval says anything: one seed has no spread, so only Clopper-Pearson's does for it."""
        width = np.asarray(self.upper, dtype=np.float64) - np.asarray(self.lower, dtype=np.float64)
        spread = self.n > 1 or self.method == "Clopper-Pearson"
        return spread and bool(np.isfinite(width).all())

    def __str__(self) -> str:
        """For example ``481.2 [475.0, 487.4]``, or ``481.2 (one seed: no interval)``."""
        numbers = [f"{number:.4g}" if isinstance(number, float) else str(number) for number in self[:3]]
        if self.has_interval:
            return f"{numbers[0]} [{numbers[1]}, {numbers[2]}]"
        return f"{numbers[0]} ({ONE_SEED if self.n == 1 else 'no interval'})"


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
    """Estimate the mean of shares, one per seed, with Student's interval clipped to [0, 1].

    Args:
        x: shares ``[n]``, each in [0, 1].
        confidence: wanted coverage; clipping does not reduce it.

    Raises:
        ValueError: a number is outside [0, 1], or ``mean_interval`` refuses an argument.
    """
    shares = _samples(x, "x")
    if shares.min() < 0.0 or shares.max() > 1.0:
        raise ValueError(f"shares must be in [0, 1], got {shares.min():g} to {shares.max():g}: use mean_interval")
    mean = mean_interval(shares, confidence)
    return mean._replace(lower=max(mean.lower, 0.0), upper=min(mean.upper, 1.0), method="Student t within [0, 1]")


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

    sample = np.sort(_samples(x, "x"))
    n = len(sample)
    ranks = np.arange(1, n // 2 + 1)  # l, counted from 1 as order statistics are
    coverages = 1.0 - 2.0 * bdtr(ranks - 1.0, n, 0.5)
    wide_enough = np.flatnonzero(coverages >= _checked(confidence))
    if n == 1:
        rank, coverage = 1, 0.0
    else:
        chosen = wide_enough[-1] if len(wide_enough) else 0
        rank, coverage = int(ranks[chosen]), float(coverages[chosen])
    lower, upper = float(sample[rank - 1]), float(sample[n - rank])
    return Estimate(float(np.median(sample)), lower, upper, n, coverage, "order statistics")


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

    sample = _samples(solved, "solved")
    if not np.isin(sample, (0.0, 1.0)).all():
        raise ValueError(f"solved must hold booleans, got {sample[~np.isin(sample, (0.0, 1.0))][0]}: compare first")
    n, k = len(sample), int(sample.sum(axis=0))
    tail = (1.0 - _checked(confidence)) / 2.0
    lower = float(betaincinv(k, n - k + 1, tail)) if k > 0 else 0.0
    upper = float(betainccinv(k + 1, n - k, tail)) if k < n else 1.0
    return Estimate(k / n, lower, upper, n, confidence, "Clopper-Pearson")


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


def sign_flip_test(differences: ArrayLike) -> float:
    """Return the two-sided p-value of paired differences: how often random signs give a mean as far from zero.

    All ``2^n`` choices of signs are enumerated, so it is exact if the differences are symmetric about zero under the
    null hypothesis. The smallest value for n differences is ``2^(1 - n)``.

    Args:
        differences: ``[n]``, at most 16.

    Raises:
        ValueError: there is no difference, more than 16, or one is not finite.

    Source: Fisher 1935, "The design of experiments", section 21.
    """
    sample = _samples(differences, "differences")
    n = len(sample)
    if n > MOST_FLIPPED:
        raise ValueError(f"differences must be at most {MOST_FLIPPED}, whose signs can be enumerated, got {n}")
    flipped = np.arange(2**n)[:, None] >> np.arange(n) & 1  # [2^n, n]
    sums = np.abs(np.where(flipped == 1, -sample, sample).sum(axis=1))
    return float(np.mean(sums >= sums[0] * (1.0 - FLIP_SLACK)))


def holm(probabilities: ArrayLike) -> list[float]:
    """Return p-values corrected for several tests: rejecting where one is at most alpha errs anywhere at rate alpha.

    The i-th smallest of m is multiplied by m + 1 - i, no value is below one that was smaller, and none is above 1.

    Args:
        probabilities: p-values ``[m]``; none give none.

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


def _welch_quantile(square_errors: Floats, n: int, m: int, confidence: float) -> float:
    """Return Student's t at Satterthwaite's degrees of freedom, (u + v)² / (u²/(n-1) + v²/(m-1)), of squared errors."""
    largest = square_errors.max(axis=0)
    if largest == 0.0:
        return 0.0  # two constant samples: the interval has width 0 for every quantile
    u, v = square_errors / largest  # the ratio does not depend on the scale, which may be tiny
    return _t_quantile(float((u + v) ** 2 / (u**2 / (n - 1) + v**2 / (m - 1))), confidence)


def _t_quantile(degrees: float, confidence: float) -> float:
    """Return the t with P(|T| < t) = ``confidence`` for Student's distribution."""
    from scipy.special import stdtrit  # quantiles of Student's t; importing it takes as long as the rest of this file

    return -float(stdtrit(degrees, (1.0 - _checked(confidence)) / 2.0))


def _checked(confidence: float) -> float:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}: write 95 % as 0.95")
    return confidence


def _finite(x: ArrayLike, name: str) -> Floats:
    """Convert x to float64; refuse it if it is empty or holds a value that is not finite."""
    sample = np.asarray(x, dtype=np.float64)
    if sample.size == 0:
        raise ValueError(f"{name} holds no value: an estimate needs at least one")
    if not np.isfinite(sample).all():
        index = np.argwhere(~np.isfinite(sample))[0].tolist()
        value = sample[tuple(index)]
        raise ValueError(f"{name} holds {value} at {index}: report diverged runs separately, then leave them out")
    return sample


def _samples(x: ArrayLike, name: str) -> Floats:
    """Apply ``_finite`` to one sample ``[n]``."""
    sample = _finite(x, name)
    if sample.ndim != 1:
        raise ValueError(f"{name} must be one sample [n], got shape {sample.shape}: average a seed's episodes first")
    return sample
