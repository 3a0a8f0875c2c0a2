"""The stratified bootstrap: percentiles of a statistic of resampled runs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from .core.checks import Floats, checked_confidence, checked_generator, checked_resamples, finite, runs_and_tasks
from .core.resampling import percentile_interval, resampled
from .estimate import Estimate

RESAMPLES = 2000


def bootstrap_interval(
    scores: ArrayLike,
    statistic: Callable[[Floats], float],
    generator: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Estimate[float]:
    """Estimate a statistic of scores with the percentile interval of the stratified bootstrap.

    A resample draws n runs with replacement within each task, independently of the other tasks. The interval lies
    between the percentiles of the statistic of all resamples. It is that of the package rliable.

    It covers less than ``confidence`` for few runs, and a constant sample gets width 0:
    ``python -m rlkit.experiments.benchmarks.coverage`` prints how much. ``bounded_mean_interval`` is an interval of the
    mean that holds for every number of seeds.

    Args:
        scores: ``[runs]`` of one task, or ``[runs, tasks]`` with one row for each training seed.
        statistic: function of an array of the shape ``[runs, tasks]`` (tasks is 1 for a plain ``[runs]``), such as
            ``interquartile_mean`` or ``np.mean``.
        generator: source of the resamples, for example ``numpy.random.default_rng(0)``.
        confidence: nominal coverage.
        resamples: number of resamples.

    Returns:
        The statistic of the scores, with n runs. One run cannot be resampled: its interval is (-inf, inf).

    Raises:
        ValueError: there is no score, one is not finite, scores has more than two axes, the statistic is not a finite
            number, generator is no numpy Generator, resamples is below 1, or confidence is outside (0, 1).

    Source: Efron 1979, "Bootstrap methods: another look at the jackknife"; Agarwal et al. 2021, "Deep reinforcement
    learning at the edge of the statistical precipice", section 4.1.
    """
    sample = runs_and_tasks(scores, "scores")
    checked_confidence(confidence)
    checked_generator(generator)
    checked_resamples(resamples)
    value = finite(statistic(sample), "the statistic")
    if value.ndim:
        raise ValueError(f"the statistic must be a number, got shape {value.shape}: reduce runs and tasks")
    if len(sample) == 1:
        return Estimate(float(value), -math.inf, math.inf, 1, confidence, "stratified bootstrap")
    lower, upper = percentile_interval(lambda: statistic(resampled(sample, generator)), resamples, confidence)
    return Estimate(float(value), float(lower), float(upper), len(sample), confidence, "stratified bootstrap")
