"""Power: how likely a test of two arms shows what is claimed, and how many seeds that needs."""

from __future__ import annotations

import math

import numpy as np

from .core.checks import checked_alpha, checked_margin
from .core.student import t_quantile

MOST_SEEDS = 10_000_000
SPREADS = 2000  # values of the estimated standard error, equally likely


def achieved_power(
    seeds: int,
    difference: float,
    spread: float | tuple[float, float],
    *,
    alpha: float = 0.05,
    margin: float | None = None,
    paired: bool = False,
) -> float:
    """Return the probability that ``seeds`` runs of each arm show a true difference of means, or an equivalence.

    Without a margin the test is ``welch_test``, two-sided. With one it is ``equivalence_test``. For normal data the
    difference d of the means and its estimated standard error e are independent, and e² has a chi-square distribution,
    so the power is the mean over e of

    - ``P(|d| > t e)``, with ``t = t(1 - alpha/2)``,
    - ``P(-margin + t e < d < margin - t e)``, with ``t = t(1 - alpha)``.

    Welch's degrees of freedom are those of the true spreads.

    Args:
        seeds: runs of each arm, 2 or more; pairs if paired.
        difference: true difference of means.
        spread: standard deviation of a run, of both arms or a pair (first, second); that of the differences if paired.
        alpha: level of the test.
        margin: margin of equivalence, or None to test for a difference.
        paired: whether the runs are pairs.

    Raises:
        ValueError: seeds is below 2, spread or margin is not positive and finite, two spreads of pairs are given,
            difference is not finite, or alpha is outside (0, 0.5).

    Source: Phillips 1990, "Power of the two one-sided tests procedure in bioequivalence"; Cohen 1988, "Statistical
    power analysis for the behavioral sciences", chapter 2.
    """
    from scipy.special import chdtri, ndtr  # quantiles of chi-square from above; the normal distribution function

    if seeds < 2:
        raise ValueError(f"seeds must be at least 2, got {seeds}: one seed has no spread")
    if not math.isfinite(difference):
        raise ValueError(f"difference must be finite, got {difference}")
    variances = _variances(spread, paired)
    error = math.sqrt(variances.sum(axis=0) / seeds)
    u = variances / variances.max(axis=0)
    degrees = (seeds - 1) * float(u.sum(axis=0) ** 2 / (u**2).sum(axis=0))
    shares = (np.arange(SPREADS) + 0.5) / SPREADS
    estimated = np.sqrt(chdtri(degrees, shares) / degrees)  # estimated standard error / true one
    if margin is None:
        t = t_quantile(degrees, 1.0 - checked_alpha(alpha)) * estimated
        rejected = ndtr(difference / error - t) + ndtr(-difference / error - t)
    else:
        t = t_quantile(degrees, 1.0 - 2.0 * checked_alpha(alpha)) * estimated
        limit = checked_margin(margin)
        rejected = np.maximum(ndtr((limit - difference) / error - t) - ndtr(t - (limit + difference) / error), 0.0)
    return float(rejected.mean(axis=0))


def seeds_needed(
    power: float,
    difference: float,
    spread: float | tuple[float, float],
    *,
    alpha: float = 0.05,
    margin: float | None = None,
    paired: bool = False,
) -> int:
    """Return the least number of runs of each arm whose ``achieved_power`` is at least ``power``.

    The spread must come from earlier runs, and one of few runs is uncertain itself: the true one may be 1.8 times that
    of 10 runs (the upper end of its 95 % interval for normal data).

    Args:
        power: wanted probability that the test shows it, such as 0.8.
        difference: true difference of means; within the margin if there is one, and not zero without.
        spread: standard deviation of a run, of both arms or a pair.
        alpha: level of the test.
        margin: margin of equivalence, or None to test for a difference.
        paired: whether the runs are pairs.

    Raises:
        ValueError: power is outside (alpha, 1), the difference can never be shown, more than ten million seeds are
            needed, or ``achieved_power`` refuses an argument.
    """
    if not checked_alpha(alpha) < power < 1.0:
        raise ValueError(f"power must be in ({alpha}, 1), got {power}: write 80 % as 0.8")
    if margin is None and difference == 0.0:
        raise ValueError("a difference of 0 cannot be shown: give the margin of an equivalence")
    if margin is not None and abs(difference) >= checked_margin(margin):
        raise ValueError(f"a difference of {difference} is not within the margin {margin}: no number of seeds shows it")

    def enough(seeds: int) -> bool:
        return achieved_power(seeds, difference, spread, alpha=alpha, margin=margin, paired=paired) >= power

    most = 2
    while not enough(most):
        most *= 2
        if most > MOST_SEEDS:
            raise ValueError(f"more than {MOST_SEEDS} seeds are needed: ask for a larger difference or margin")
    least = most // 2  # not enough, or 1
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if enough(middle) else (middle, most)
    return most


def _variances(spread: float | tuple[float, float], paired: bool) -> np.ndarray:
    """Return the variances of a run of each arm ``[2]``, or of a difference ``[1]``."""
    spreads = np.atleast_1d(np.asarray(spread, dtype=np.float64))
    if spreads.shape not in ((1,), (2,)) or (paired and len(spreads) == 2):
        raise ValueError(f"spread must be one number, or two of arms that are not paired, got {spread}")
    if not ((spreads > 0.0) & np.isfinite(spreads)).all():
        raise ValueError(f"spread must be positive and finite, got {spread}: take it from earlier runs")
    return spreads**2 if paired or len(spreads) == 2 else np.repeat(spreads**2, 2)
