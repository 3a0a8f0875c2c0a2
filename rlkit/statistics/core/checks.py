"""Checks of arguments: every function of the package refuses bad input here, with the value and the remedy."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Alternative = Literal["two-sided", "greater", "less"]
ALTERNATIVES = ("two-sided", "greater", "less")


def checked_confidence(confidence: float) -> float:
    """Return the confidence; refuse one outside (0, 1)."""
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}: write 95 % as 0.95")
    return confidence


def checked_alpha(alpha: float) -> float:
    """Return the level of a test; refuse one outside (0, 0.5)."""
    if not 0.0 < alpha < 0.5:
        raise ValueError(f"alpha must be in (0, 0.5), got {alpha}: write 5 % as 0.05")
    return alpha


def checked_margin(margin: float) -> float:
    """Return the margin of equivalence; refuse one that is not positive and finite."""
    if not 0.0 < margin < math.inf:
        raise ValueError(
            f"margin must be positive and finite, got {margin}: state the largest difference of no interest"
        )
    return margin


def checked_alternative(alternative: str) -> str:
    """Return the alternative hypothesis; refuse an unknown name."""
    if alternative not in ALTERNATIVES:
        raise ValueError(f"alternative must be one of {', '.join(ALTERNATIVES)}, got {alternative!r}")
    return alternative


def checked_generator(generator: object) -> np.random.Generator:
    """Return the generator; refuse a seed or a module, so that every draw has a generator that the caller made."""
    if not isinstance(generator, np.random.Generator):
        raise ValueError(f"generator must be a numpy Generator, got {generator!r}: use numpy.random.default_rng(seed)")
    return generator


def checked_resamples(resamples: int) -> int:
    """Return the number of resamples; refuse one below 1."""
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    return resamples


def finite(x: ArrayLike, name: str) -> Floats:
    """Convert x to float64; refuse it if it is empty or holds a value that is not finite."""
    sample = np.asarray(x, dtype=np.float64)
    if sample.size == 0:
        raise ValueError(f"{name} holds no value: an estimate needs at least one")
    if not np.isfinite(sample).all():
        index = np.argwhere(~np.isfinite(sample))[0].tolist()
        value = sample[tuple(index)]
        raise ValueError(f"{name} holds {value} at {index}: report diverged runs separately, then leave them out")
    return sample


def one_sample(x: ArrayLike, name: str) -> Floats:
    """Apply ``finite`` to one sample ``[n]``."""
    sample = finite(x, name)
    if sample.ndim != 1:
        raise ValueError(f"{name} must be one sample [n], got shape {sample.shape}: average a seed's episodes first")
    return sample


def paired_differences(x: Floats, y: Floats) -> Floats:
    """Return ``x - y`` of paired samples; refuse different lengths."""
    if len(x) != len(y):
        raise ValueError(f"paired samples must have one length, got {len(x)} and {len(y)}")
    return x - y


def runs_and_tasks(scores: ArrayLike, name: str) -> Floats:
    """Apply ``finite`` to scores of runs on tasks ``[n, M]``; a sample ``[n]`` is one task."""
    sample = finite(scores, name)
    if sample.ndim not in (1, 2):
        raise ValueError(f"{name} must be [runs] or [runs, tasks], got shape {sample.shape}: average episodes first")
    return sample if sample.ndim == 2 else sample[:, None]


def zeros_and_ones(solved: ArrayLike) -> Floats:
    """Apply ``one_sample`` to booleans; refuse a value that is neither 0 nor 1."""
    sample = one_sample(solved, "solved")
    if not np.isin(sample, (0.0, 1.0)).all():
        raise ValueError(f"solved must hold booleans, got {sample[~np.isin(sample, (0.0, 1.0))][0]}: compare first")
    return sample


def within(x: ArrayLike, name: str, low: float, high: float) -> Floats:
    """Apply ``finite`` to values that are known to be in [low, high]; refuse others."""
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"bounds must be finite with low < high, got [{low}, {high}]")
    sample = finite(x, name)
    if sample.min() < low or sample.max() > high:
        raise ValueError(
            f"{name} must be in [{low:g}, {high:g}], got {sample.min():g} to {sample.max():g}: "
            "give the bounds of every possible return, not those of the sample"
        )
    return sample
