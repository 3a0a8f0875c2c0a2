"""Performance profiles: the share of runs above each score."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .bootstrap import RESAMPLES
from .bounded import dkw_band
from .core.checks import (
    Floats,
    checked_confidence,
    checked_generator,
    checked_resamples,
    one_sample,
    runs_and_tasks,
)
from .core.resampling import percentile_interval, resampled
from .estimate import Estimate


def performance_profile(
    scores: ArrayLike,
    thresholds: ArrayLike,
    confidence: float = 0.95,
    generator: np.random.Generator | None = None,
    resamples: int = RESAMPLES,
) -> Estimate[Floats]:
    """Estimate the share of runs whose score is above each threshold, averaged over tasks, with a band.

    ``profile(z) = mean over tasks and runs of 1[score > z]``. A profile that is nowhere below another belongs to a
    stochastically larger distribution of scores.

    Without a generator the band is that of Dvoretzky, Kiefer and Wolfowitz: it holds the whole true profile with
    probability ``confidence`` at least, for every number of runs. M tasks share the error probability, so its half
    width is ``sqrt(log(2 M / (1 - confidence)) / (2 runs))``. With a generator it is the interval of percentiles of the
    stratified bootstrap at each threshold by itself, as in the package rliable; it is narrower and covers less.

    Args:
        scores: ``[runs]`` of one task, or ``[runs, tasks]`` with one row for each training seed.
        thresholds: scores z ``[T]``.
        confidence: coverage of the band.
        generator: source of the resamples, or None for the band of DKW.
        resamples: number of resamples, with a generator.

    Returns:
        Arrays ``[T]`` within [0, 1]; n is the number of runs. One run cannot be resampled: with a generator its band
        is [0, 1].

    Raises:
        ValueError: there is no score or no threshold, one is not finite, scores has more than two axes, generator is no
            numpy Generator, resamples is below 1, or confidence is outside (0, 1).

    Source: Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice", section 4.2;
    Dolan & Moré 2002, "Benchmarking optimization software with performance profiles".
    """
    sample, levels = runs_and_tasks(scores, "scores"), one_sample(thresholds, "thresholds")
    checked_confidence(confidence)
    checked_resamples(resamples)
    runs, tasks = sample.shape
    value = _shares_above(sample, levels)
    if generator is None:
        half = dkw_band(runs, 1.0 - (1.0 - confidence) / tasks)
        return Estimate(value, np.maximum(value - half, 0.0), np.minimum(value + half, 1.0), runs, confidence, "DKW")
    checked_generator(generator)
    if runs == 1:
        return Estimate(value, np.zeros_like(value), np.ones_like(value), runs, confidence, "stratified bootstrap")
    lower, upper = percentile_interval(
        lambda: _shares_above(resampled(sample, generator), levels), resamples, confidence
    )
    return Estimate(value, lower, upper, runs, confidence, "stratified bootstrap")


def _shares_above(scores: Floats, levels: Floats) -> Floats:
    """Return the share of all scores that are greater than each level: every task has equally many runs."""
    ordered = np.sort(scores, axis=None)
    return (len(ordered) - np.searchsorted(ordered, levels, side="right")) / len(ordered)
