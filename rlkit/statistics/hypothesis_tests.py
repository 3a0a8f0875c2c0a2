"""Tests: p-values of paired differences by flipped signs, and of two samples by Welch's t."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .core.checks import Alternative, Floats, checked_alternative, checked_generator, checked_resamples, one_sample
from .core.student import standard_error, tail_probability

MOST_FLIPPED = 16  # differences whose signs are enumerated
FLIP_SLACK = 1e-12  # of the sum of the sizes of the differences, for rounding
FLIPPED_AT_ONCE = 1000  # draws of signs in memory


def sign_flip_test(
    differences: ArrayLike,
    generator: np.random.Generator | None = None,
    alternative: Alternative = "two-sided",
    resamples: int = 10_000,
) -> float:
    """Return the p-value of paired differences: how often random signs give a mean as far from zero.

    It is the paired permutation test: under the null hypothesis either result of a pair could have been either arm's.
    All ``2^n`` choices of signs are enumerated for at most 16 differences, so it is exact if the differences are
    symmetric about zero under the null hypothesis. The smallest value for n differences is ``2^(1 - n)``, and half of
    that for one side. For more differences signs are drawn, and p is ``(1 + count) / (1 + resamples)``, which is exact
    too: the observed signs are one of the draws.

    Args:
        differences: ``[n]``; at most 16 without a generator.
        generator: source of the signs of more than 16 differences; fewer do not use it.
        alternative: "two-sided", or the sign of the mean that is tested for: "greater" than zero, "less" than zero.
        resamples: choices of signs that are drawn of more than 16 differences.

    Raises:
        ValueError: there is no difference, more than 16 and no generator, one is not finite, alternative is unknown or
            resamples is below 1.

    Source: Fisher 1935, "The design of experiments", section 21; Phipson & Smyth 2010, "Permutation p-values should
    never be zero".
    """
    sample = one_sample(differences, "differences")
    side = {"two-sided": 0, "greater": 1, "less": -1}[checked_alternative(alternative)]
    n = len(sample)
    observed = _extremeness(sample.sum(keepdims=True), side)[0]
    least = observed - FLIP_SLACK * np.abs(sample).sum(axis=0)
    if n <= MOST_FLIPPED:
        flipped = np.arange(2**n)[:, None] >> np.arange(n) & 1  # [2^n, n]
        return float(np.mean(_extremeness(np.where(flipped == 1, -sample, sample).sum(axis=1), side) >= least))
    if generator is None:
        raise ValueError(
            f"differences must be at most {MOST_FLIPPED}, whose signs can be enumerated, got {n}: "
            "pass generator=numpy.random.default_rng(seed) to draw signs"
        )
    checked_generator(generator)
    count, left = 0, checked_resamples(resamples)
    while left > 0:
        flipped = generator.integers(2, size=(min(left, FLIPPED_AT_ONCE), n))
        sums = np.where(flipped == 1, -sample, sample).sum(axis=1)
        count += int((_extremeness(sums, side) >= least).sum(axis=0))
        left -= len(flipped)
    return (1 + count) / (1 + resamples)


def welch_test(x: ArrayLike, y: ArrayLike, alternative: Alternative = "two-sided") -> float:
    """Return the p-value of Welch's test that ``mean(x) = mean(y)``.

    ``t = (mean(x) - mean(y)) / sqrt(s_x²/n_x + s_y²/n_y)`` has Student's distribution with Satterthwaite's degrees of
    freedom, nearly. It rejects at level alpha if and only if ``difference_interval`` at confidence ``1 - alpha``
    excludes zero.

    Args:
        x: first sample ``[n]``.
        y: second sample ``[m]``.
        alternative: "two-sided", or what is tested for: mean(x) is "greater" than mean(y), or "less".

    Raises:
        ValueError: a sample has fewer than two values, a value is not finite, alternative is unknown, or both samples
            are constant: their spread is unknown, and no t follows.

    Source: Welch 1947, "The generalization of Student's problem when several different population variances are
    involved".
    """
    a, b = one_sample(x, "x"), one_sample(y, "y")
    error, degrees = standard_error(a, b, paired=False)
    t = float(a.mean(axis=0) - b.mean(axis=0)) / error
    return tail_probability(t, degrees, checked_alternative(alternative))


def _extremeness(sums: Floats, side: int) -> Floats:
    """Return how far sums lie toward the alternative: up (1), down (-1), or either way (0)."""
    return np.abs(sums) if side == 0 else side * sums
