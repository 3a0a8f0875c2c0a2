"""The probability of improvement: how likely a run of one algorithm beats a run of another."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from .bootstrap import RESAMPLES
from .core.checks import Floats, checked_confidence, checked_generator, checked_resamples, runs_and_tasks
from .core.resampling import percentile_interval, resampled
from .estimate import Estimate


def probability_of_improvement(
    x: ArrayLike,
    y: ArrayLike,
    confidence: float = 0.95,
    generator: np.random.Generator | None = None,
    resamples: int = RESAMPLES,
) -> Estimate[float]:
    """Estimate ``P(X > Y) + P(X = Y) / 2`` of a random run of each algorithm on a random task.

    On each task it is Mann and Whitney's U divided by n m; tasks are averaged. It says how often x is better, not by
    how much.

    Without a generator the interval is Hoeffding's for U statistics, ``± sqrt(log(2 / (1 - confidence)) / (2 k M))``
    with k runs of the smaller sample on each of M tasks that are independent of each other. It covers at least
    ``confidence`` for every number of runs. With a generator it is that of percentiles of the stratified bootstrap, x
    and y resampled independently, as in the package rliable; it is narrower and covers less.

    Args:
        x: scores of the first algorithm, ``[n]`` or ``[n, M]``.
        y: scores of the second algorithm, ``[m]`` or ``[m, M]``, on the same tasks in the same order.
        confidence: coverage of the interval.
        generator: source of the resamples, or None for Hoeffding's interval.
        resamples: number of resamples, with a generator.

    Returns:
        The estimate within [0, 1]; its n is that of the smaller sample. One run cannot be resampled: with a generator
        the interval of a sample of one run is [0, 1].

    Raises:
        ValueError: there is no score, one is not finite, the numbers of tasks differ, generator is no numpy Generator,
            resamples is below 1, or confidence is outside (0, 1).

    Source: Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice", section 4.3;
    Mann & Whitney 1947; Hoeffding 1963, "Probability inequalities for sums of bounded random variables", section 5b.
    """
    a, b = runs_and_tasks(x, "x"), runs_and_tasks(y, "y")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"x and y must have the same tasks, got {a.shape[1]} and {b.shape[1]}")
    alpha = 1.0 - checked_confidence(confidence)
    checked_resamples(resamples)
    n = min(len(a), len(b))
    value = _share_of_wins(a, b)
    if generator is None:
        half = math.sqrt(math.log(2.0 / alpha) / (2.0 * n * a.shape[1]))
        return Estimate(value, max(value - half, 0.0), min(value + half, 1.0), n, confidence, "Hoeffding")
    checked_generator(generator)
    if n == 1:
        return Estimate(value, 0.0, 1.0, n, confidence, "stratified bootstrap")
    lower, upper = percentile_interval(
        lambda: _share_of_wins(resampled(a, generator), resampled(b, generator)), resamples, confidence
    )
    return Estimate(value, float(lower), float(upper), n, confidence, "stratified bootstrap")


def _share_of_wins(x: Floats, y: Floats) -> float:
    """Return the share of pairs ``[n, m, M]`` that x wins; a tie is half a win."""
    return 0.5 + 0.5 * float(np.sign(x[:, None] - y).mean(axis=(0, 1, 2)))
