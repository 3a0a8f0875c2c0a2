"""Equivalence: two one-sided tests that a difference is smaller than a margin stated before."""

from __future__ import annotations

from typing import NamedTuple

from numpy.typing import ArrayLike

from .core.checks import checked_alpha, checked_margin, one_sample
from .core.student import standard_error, tail_probability
from .estimate import Estimate
from .mean import difference_interval


class Equivalence(NamedTuple):
    """The answer of ``equivalence_test``."""

    difference: Estimate[float]  # mean(x) - mean(y) with its interval at confidence 1 - 2 alpha
    margin: float  # the largest difference of no interest, stated before the data were seen
    alpha: float  # level of the test
    p_value: float  # the larger of the two one-sided tests

    @property
    def equivalent(self) -> bool:
        """Whether the difference is shown to be within the margin: the interval lies within ±margin."""
        return self.p_value <= self.alpha

    @property
    def answer(self) -> str:
        """ "equivalent", "different" where the interval lies outside the margin, "undecided" otherwise."""
        if self.equivalent:
            return "equivalent"
        beyond = self.difference.lower > self.margin or self.difference.upper < -self.margin
        return "different" if beyond else "undecided"

    def __str__(self) -> str:
        """For example ``2 [-8, 13], margin 25: equivalent (p = 0.0031)``."""
        return f"{self.difference}, margin {self.margin:g}: {self.answer} (p = {self.p_value:.2g})"


def equivalence_test(
    x: ArrayLike, y: ArrayLike, *, margin: float, alpha: float = 0.05, paired: bool = False
) -> Equivalence:
    """Test whether ``|mean(x) - mean(y)|`` is smaller than a margin: Schuirmann's two one-sided tests (TOST).

    One test has the null hypothesis ``mean(x) - mean(y) <= -margin``, the other ``>= margin``. Both are rejected at
    level alpha if and only if the interval of the difference at confidence ``1 - 2 alpha`` lies within ±margin. The
    tests are Welch's, or Student's for paired samples. A difference that is not significant is no evidence of
    equivalence; this test is.

    State the margin before the data are seen, and choose the number of seeds with ``seeds_needed(..., margin=margin)``.

    Args:
        x: first sample ``[n]``.
        y: second sample ``[m]``.
        margin: the largest difference that does not matter, in the units of x and y, positive.
        alpha: level of the test, in (0, 0.5).
        paired: whether x[i] and y[i] belong together, as in ``difference_interval``.

    Raises:
        ValueError: a sample has fewer than two values, a value is not finite, margin or alpha is out of range, paired
            samples have different lengths, or there is no spread at all: then no t follows, and
            ``bounded_difference_interval`` says what bounded returns show.

    Source: Schuirmann 1987, "A comparison of the two one-sided tests procedure and the power approach for assessing the
    equivalence of average bioavailability".
    """
    a, b = one_sample(x, "x"), one_sample(y, "y")
    checked_margin(margin)
    error, degrees = standard_error(a, b, paired)
    difference = difference_interval(a, b, 1.0 - 2.0 * checked_alpha(alpha), paired)
    above = tail_probability((difference.value + margin) / error, degrees, "greater")  # than -margin
    below = tail_probability((difference.value - margin) / error, degrees, "less")  # than margin
    return Equivalence(difference, margin, alpha, max(above, below))
