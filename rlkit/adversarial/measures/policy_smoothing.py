"""Certificates of policy smoothing: bounds on the expected return of a Gaussian-smoothed policy under attack.

The attacker shifts the observation of every step before the policy adds its noise. It may depend on everything that
happened before, the noise of earlier steps included, and all its shifts of an episode together have an l2 length of at
most B. Then an event of the episode that has probability p without attack has at least

    Phi(Phi^-1(p) - B / sigma)

under it, and no better bound holds for all events. The bounds are of the smoothed policy, and say nothing about the
policy without noise.

Source: Kumar, Levine & Feizi 2022, "Policy smoothing for provably robust reinforcement learning", theorems 1 and 2.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import beta

from rlkit.arrays import as_numbers

SampleBound = Literal["clopper-pearson", "dkw"]
MOST_THRESHOLDS = 500
COARSE = 200  # thresholds where returns are no whole numbers

Floats = NDArray[np.float64]


class SmoothedReturn(NamedTuple):
    """Bounds on the expected return of the smoothed policy under every attack of a total l2 size, for M sizes.

    Each side holds with probability at least 1 - alpha over the sample, for all sizes at once. At size 0 they enclose
    the expected return without attack.
    """

    totals: tuple[float, ...]  # M sizes, in the units of sigma
    lower: Floats  # [..., M]
    upper: Floats  # [..., M]
    mean: Floats  # [...], of the sample, without attack
    thresholds: int
    alpha: float


def shifted_probability(p: ArrayLike, total: ArrayLike, sigma: float) -> Floats:
    """Return ``Phi(Phi^-1(p) - total / sigma)``, the least probability of an event under attacks of this total l2 size.

    A negative total gives the largest probability. Arguments broadcast.

    Raises:
        ValueError: a probability outside [0, 1], or sigma that is not positive.

    Source: Kumar, Levine & Feizi 2022, theorem 1.
    """
    p = np.asarray(p, dtype=np.float64)
    if not ((p >= 0.0) & (p <= 1.0)).all():
        raise ValueError(f"probabilities must be in [0, 1], got {p}")
    if not sigma > 0.0:
        raise ValueError(f"sigma must be positive, got {sigma}")
    shifted: Floats = ndtr(ndtri(p) - np.asarray(total, dtype=np.float64) / sigma)
    return shifted


def even_thresholds(lowest: float, highest: float) -> Floats:
    """Return every whole number of a short range of whole numbers, else 200 even steps: ``(lowest, highest]``."""
    span = highest - lowest
    whole = span == round(span) and lowest == round(lowest) and 0 < span <= MOST_THRESHOLDS
    return np.linspace(lowest, highest, (int(span) if whole else COARSE) + 1)[1:]


def probability_at_least(successes: ArrayLike, n: int, alpha: float) -> Floats:
    """Return Clopper and Pearson's one-sided lower bound of a probability of ``successes`` of n, at level 1 - alpha.

    It is the p at which at least this number of successes has probability alpha, ``alpha^(1/n)`` if all succeed.
    """
    k = np.asarray(successes, dtype=np.float64)
    return np.where(k > 0, beta.ppf(alpha, np.maximum(k, 1.0), n - k + 1.0), 0.0)


def smoothed_return(
    returns: ArrayLike,
    sigma: float,
    totals: ArrayLike,
    lowest: float,
    highest: float,
    thresholds: ArrayLike | None = None,
    alpha: float = 0.05,
    method: SampleBound = "clopper-pearson",
) -> SmoothedReturn:
    """Bound the expected return of a smoothed policy under every attack of a total l2 size, from natural returns.

    With thresholds ``lowest = t_0 < t_1 < ... < t_m = highest`` the expectation is at least
    ``lowest + sum_i (t_i - t_(i-1)) P(R >= t_i)`` and at most ``lowest + sum_i (t_i - t_(i-1)) P(R > t_(i-1))``, with
    equality for returns that are thresholds. Each probability is bounded from the sample, then shifted.

    Args:
        returns: returns of independent episodes of the smoothed policy without attack, ``[..., n]``; every batch is
            bounded separately.
        sigma: standard deviation of its noise.
        totals: M sizes of an attack, the l2 length of all shifts of an episode, in the units of sigma.
        lowest, highest: no return lies outside, under any attack.
        thresholds: increasing, within (lowest, highest], chosen without looking at ``returns``; None for
            ``even_thresholds``.
        alpha: probability with which a side may be wrong. "clopper-pearson" splits it over the thresholds.
        method: "clopper-pearson" bounds each probability separately. "dkw" uses the band of the whole distribution,
            ``sqrt(log(1 / alpha) / 2n)`` wide (Massart 1990); it is better for few episodes and many thresholds.

    Raises:
        ValueError: a return outside the range, thresholds that do not increase or lie outside it, or a number out of
            range.
    """
    sample = np.asarray(returns, dtype=np.float64)
    sizes = np.asarray(as_numbers(totals, "totals"))
    if not lowest < highest or not math.isfinite(highest - lowest):
        raise ValueError(f"lowest must be below highest, both finite, got {lowest} and {highest}")
    if sample.size == 0 or not ((sample >= lowest) & (sample <= highest)).all():
        raise ValueError(f"returns must be at least one, and within [{lowest}, {highest}]: give the range of returns")
    if not 0.0 < alpha <= 0.5 or (sizes < 0).any() or not np.isfinite(sizes).all():
        raise ValueError(
            f"alpha must be in (0, 0.5] and totals finite and at least 0, got {alpha} and {sizes.tolist()}"
        )
    if method not in get_args(SampleBound):
        raise ValueError(f"method must be one of {', '.join(get_args(SampleBound))}, got {method!r}")
    inner = even_thresholds(lowest, highest) if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    grid = np.concatenate([[lowest], inner, [] if len(inner) and inner[-1] == highest else [highest]])
    if not (np.diff(grid) > 0).all():
        raise ValueError(f"thresholds must increase, within ({lowest}, {highest}]")
    n, steps = sample.shape[-1], np.diff(grid)
    ordered = np.sort(sample, axis=-1).reshape(-1, n)
    reached = n - np.stack([np.searchsorted(row, grid[1:], side="left") for row in ordered])  # R >= t_i
    exceeded = n - np.stack([np.searchsorted(row, grid[:-1], side="right") for row in ordered])  # R > t_(i-1)
    if method == "dkw":
        width = math.sqrt(math.log(1.0 / alpha) / (2.0 * n))
        at_least = np.maximum(reached / n - width, 0.0)
        at_most = np.minimum(exceeded / n + width, 1.0)
    else:
        at_least = probability_at_least(reached, n, alpha / len(steps))
        at_most = 1.0 - probability_at_least(n - exceeded, n, alpha / len(steps))
    shift = sizes[:, None]
    lower = lowest + (steps * shifted_probability(at_least[:, None], shift, sigma)).sum(axis=-1)
    upper = lowest + (steps * shifted_probability(at_most[:, None], -shift, sigma)).sum(axis=-1)
    shape = (*sample.shape[:-1], len(sizes))
    return SmoothedReturn(
        tuple(sizes.tolist()),
        lower.reshape(shape),
        upper.reshape(shape),
        sample.mean(axis=-1),
        len(steps),
        alpha,
    )
