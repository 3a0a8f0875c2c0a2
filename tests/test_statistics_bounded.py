"""Intervals of bounded means: closed forms, brute force over distributions, coverage by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from rlkit.statistics import bounded_difference_interval, bounded_mean_interval
from rlkit.statistics.bounded import dkw_band

returns = st.lists(st.floats(-50.0, 100.0, allow_nan=False), min_size=1, max_size=40)
LOW, HIGH = -50.0, 100.0


def test_the_band_by_hand() -> None:
    assert dkw_band(10, 0.95) == pytest.approx(math.sqrt(math.log(40.0) / 20.0))
    assert dkw_band(10, 0.95) == pytest.approx(0.42947, abs=1e-5)
    assert dkw_band(40, 0.95) == pytest.approx(dkw_band(10, 0.95) / 2.0)


def test_the_interval_by_hand() -> None:
    band = dkw_band(2, 0.5)  # .5887: more than the largest value, less than both
    assert 0.5 < band < 1.0
    estimate = bounded_mean_interval([2.0, 6.0], 0.0, 10.0, 0.5)
    # a share 1 - band is left of the value 2 for the lower end; for the upper end it is left of the value 6
    assert estimate.lower == pytest.approx(2.0 * (1.0 - band))
    assert estimate.upper == pytest.approx(6.0 * (1.0 - band) + 10.0 * band)
    assert (estimate.value, estimate.n, estimate.confidence, estimate.method) == (4.0, 2, 0.5, "DKW")


def test_seeds_that_all_reach_the_highest_return_have_an_interval() -> None:
    band = dkw_band(8, 0.95)
    assert bounded_mean_interval([500.0] * 8, 0.0, 500.0)[:3] == pytest.approx((500.0, 500.0 * (1.0 - band), 500.0))
    assert bounded_mean_interval([0.0] * 8, 0.0, 500.0)[:3] == pytest.approx((0.0, 0.0, 500.0 * band))


def test_one_seed_has_an_interval_that_is_printed() -> None:
    estimate = bounded_mean_interval([0.5], 0.0, 1.0, 0.5)
    assert dkw_band(1, 0.5) < 1.0
    assert estimate.has_interval
    assert 0.0 < estimate.lower < estimate.upper < 1.0
    assert bounded_mean_interval([0.5], 0.0, 1.0)[1:3] == (0.0, 1.0)  # at 95 % one value says nothing
    assert str(bounded_mean_interval([0.5], 0.0, 1.0)) == "0.50 [0.00, 1.00]"


@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_the_ends_are_the_extreme_means_of_all_distributions_within_the_band(confidence: float) -> None:
    """Linear programs over distributions on a grid whose distribution function is within the band of the sample's."""
    grid = np.arange(11.0)
    sample = np.array([1.0, 3.0, 3.0, 7.0, 8.0, 8.0, 8.0, 10.0])
    share = np.array([(sample <= point).mean(axis=0) for point in grid])
    band = dkw_band(len(sample), confidence)
    cumulative = np.tril(np.ones((11, 11)))
    # just left of a point the function of the sample is that at the point before, so bounds at points are enough
    limits = np.concatenate([share + band, band - share])
    for sign, end in ((1.0, 1), (-1.0, 2)):
        program = linprog(
            sign * grid,
            A_ub=np.concatenate([cumulative, -cumulative]),
            b_ub=limits,
            A_eq=np.ones((1, 11)),
            b_eq=[1.0],
        )
        estimate = bounded_mean_interval(sample, 0.0, 10.0, confidence)
        assert estimate[end] == pytest.approx(sign * program.fun, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(returns, st.floats(0.5, 0.98))
def test_laws_of_the_interval(x: list[float], confidence: float) -> None:
    estimate = bounded_mean_interval(x, LOW, HIGH, confidence)
    assert LOW <= estimate.lower <= estimate.value + 1e-9
    assert estimate.value - 1e-9 <= estimate.upper <= HIGH
    assert estimate.upper - estimate.lower >= min(dkw_band(len(x), confidence), 1.0) * (HIGH - LOW) - 1e-9
    mirrored = bounded_mean_interval(-np.array(x), -HIGH, -LOW, confidence)
    assert mirrored[1:3] == pytest.approx((-estimate.upper, -estimate.lower), abs=1e-9)
    scaled = bounded_mean_interval(2.0 * np.array(x) + 7.0, 2.0 * LOW + 7.0, 2.0 * HIGH + 7.0, confidence)
    assert scaled[1:3] == pytest.approx((2.0 * estimate.lower + 7.0, 2.0 * estimate.upper + 7.0), abs=1e-9)
    wider = bounded_mean_interval(x, LOW, HIGH, confidence + 0.01)
    assert wider.lower <= estimate.lower + 1e-9
    assert wider.upper >= estimate.upper - 1e-9


def test_samples_along_an_axis_are_each_sample_alone() -> None:
    x = np.random.default_rng(0).random(size=(3, 8, 2))
    estimate = bounded_mean_interval(x, 0.0, 1.0, axis=1)
    assert estimate.value.shape == (3, 2)
    for i, j in np.ndindex(3, 2):
        alone = bounded_mean_interval(x[i, :, j], 0.0, 1.0)
        assert (estimate.value[i, j], estimate.lower[i, j], estimate.upper[i, j]) == pytest.approx(alone[:3], rel=1e-12)


@pytest.mark.parametrize("solved", [0.01, 0.5, 0.97])
def test_it_covers_where_students_interval_does_not(solved: float) -> None:
    """Most seeds end at the same return: many samples are constant, and Student's interval has width 0 there."""
    x = np.random.default_rng(3).binomial(1, solved, size=(2000, 10)) * 500.0
    estimate = bounded_mean_interval(x, 0.0, 500.0, axis=1)
    covered = (estimate.lower <= 500.0 * solved) & (500.0 * solved <= estimate.upper)
    assert covered.mean(axis=0) >= 0.95


def test_a_difference_by_hand() -> None:
    x, y = [500.0] * 8, [0.0] * 8
    band = dkw_band(8, 0.975)
    estimate = bounded_difference_interval(x, y, 0.0, 500.0)
    assert estimate[:3] == pytest.approx((500.0, 500.0 - 1000.0 * band, 500.0))
    assert (estimate.n, estimate.confidence) == (8, 0.95)
    swapped = bounded_difference_interval(y, x, 0.0, 500.0)
    assert swapped[:3] == pytest.approx((-500.0, -500.0, 1000.0 * band - 500.0))


@settings(max_examples=30, deadline=None)
@given(returns, returns)
def test_a_difference_is_the_negative_of_the_other(x: list[float], y: list[float]) -> None:
    one, other = bounded_difference_interval(x, y, LOW, HIGH), bounded_difference_interval(y, x, LOW, HIGH)
    assert one[:3] == pytest.approx((-other.value, -other.upper, -other.lower), abs=1e-9)
    assert one.lower - 1e-9 <= one.value <= one.upper + 1e-9


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match=r"x must be in \[0, 500\], got 3 to 501"):
        bounded_mean_interval([3.0, 501.0], 0.0, 500.0)
    with pytest.raises(ValueError, match=r"y must be in \[0, 500\], got -1 to 3"):
        bounded_difference_interval([3.0], [-1.0, 3.0], 0.0, 500.0)
    with pytest.raises(ValueError, match="low < high"):
        bounded_mean_interval([3.0], 500.0, 0.0)
    with pytest.raises(ValueError, match="low < high"):
        bounded_mean_interval([3.0], 0.0, math.inf)
    with pytest.raises(ValueError, match=r"shape \(1, 2\)"):
        bounded_mean_interval([[1.0, 2.0]], 0.0, 3.0)
    with pytest.raises(ValueError, match=r"0\.95"):
        bounded_mean_interval([1.0, 2.0], 0.0, 3.0, 95)
