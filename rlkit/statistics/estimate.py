"""An estimate: a number with its interval, its coverage and the method."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

import numpy as np

Value = TypeVar("Value")

ONE_SEED = "one seed: no interval"
HOLDS_FOR_ONE = ("Clopper-Pearson", "Wilson", "DKW", "Hoeffding")  # first words of methods that need no spread


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
        """Whether the interval says anything: one seed has no spread, so only methods that need none do for it."""
        width = np.asarray(self.upper, dtype=np.float64) - np.asarray(self.lower, dtype=np.float64)
        known = self.n > 1 or self.method.startswith(HOLDS_FOR_ONE)
        return known and bool(np.isfinite(width).all())

    def __str__(self) -> str:
        """For example ``481.2 [475.0, 487.4]``, or ``481.2 (one seed: no interval)``."""
        numbers = [f"{number:.4g}" if isinstance(number, float) else str(number) for number in self[:3]]
        if self.has_interval:
            return f"{numbers[0]} [{numbers[1]}, {numbers[2]}]"
        return f"{numbers[0]} ({ONE_SEED if self.n == 1 else 'no interval'})"
