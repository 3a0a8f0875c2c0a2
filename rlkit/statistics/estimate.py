"""An estimate: a number with its interval, its coverage and the method."""

from __future__ import annotations

import math
from typing import Generic, NamedTuple, TypeVar, cast

import numpy as np

Value = TypeVar("Value")

ONE_SEED = "one seed: no interval"
INTERVAL_DIGITS = 2  # significant digits of half an interval; more would be noise
MOST_DECIMALS = 8
ROUNDING = 1e-6  # half widths that are smaller, relative to the ends, are rounding and decide nothing
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
        return self.text()

    def text(self, digits: int = 4) -> str:
        """Write the estimate and its interval with the decimals that the interval supports.

        Args:
            digits: significant digits where the interval decides nothing; see ``interval_numbers``.
        """
        numbers = cast("tuple[float, float, float]", self[:3])
        single = isinstance(self.value, int | float)
        if not self.has_interval:
            value = number_text(numbers[0], digits) if single else str(self.value)
            return f"{value} ({ONE_SEED if self.n == 1 else 'no interval'})"
        value, lower, upper = interval_numbers(*numbers, digits) if single else map(str, numbers)
        return f"{value} [{lower}, {upper}]"


def interval_numbers(value: float, lower: float, upper: float, digits: int = 4) -> tuple[str, str, str]:
    """Write an estimate and its interval with equal decimals: half the width has two significant digits.

    Args:
        value: the estimate.
        lower: lower end of the interval.
        upper: upper end of the interval.
        digits: significant digits where the width is zero, not finite, or no more than rounding.
    """
    half = (upper - lower) / 2
    if not ROUNDING * max(abs(lower), abs(upper)) < half < math.inf:
        return number_text(value, digits), number_text(lower, digits), number_text(upper, digits)
    decimals = decimals_of(half, INTERVAL_DIGITS)
    return fixed_text(value, decimals), fixed_text(lower, decimals), fixed_text(upper, decimals)


def number_text(number: float, digits: int = 4) -> str:
    """Write integers whole, other numbers with this number of significant digits."""
    if isinstance(number, int) or (number.is_integer() and abs(number) < 1e6):
        return str(int(number))
    return f"{number:.{digits}g}"


def fixed_text(number: float, decimals: int) -> str:
    """Write a number with this number of decimals; zero has no sign."""
    return f"{round(number, decimals) + 0.0:.{decimals}f}"


def decimals_of(number: float, digits: int) -> int:
    """Count the decimals that show ``digits`` significant digits of a number that is not zero."""
    return min(max(digits - 1 - math.floor(math.log10(abs(number))), 0), MOST_DECIMALS)
