"""Welch's test, equivalence and power against scipy, closed forms and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rlkit.statistics import achieved_power, difference_interval, equivalence_test, seeds_needed, welch_test

X = [481.0, 500.0, 475.5, 499.0, 488.25]
Y = [430.0, 470.0, 300.0, 499.0, 480.0, 500.0, 460.0]
samples = st.lists(st.integers(-100, 100), min_size=2, max_size=12).filter(lambda x: len(set(x)) > 1)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_welchs_test_is_scipys(alternative: str) -> None:
    theirs = stats.ttest_ind(X, Y, equal_var=False, alternative=alternative).pvalue
    assert welch_test(X, Y, alternative) == pytest.approx(theirs, rel=1e-12)


def test_the_tails_of_welchs_test() -> None:
    assert welch_test(X, Y, "greater") < 0.1 < 0.9 < welch_test(X, Y, "less")
    assert welch_test(X, Y, "greater") == pytest.approx(welch_test(Y, X, "less"))
    assert welch_test(X, Y) == pytest.approx(2.0 * welch_test(X, Y, "greater"))
    assert welch_test([1.0, 3.0], [2.0, 2.5, 1.5]) == 1.0


@settings(max_examples=50, deadline=None)
@given(samples, samples, st.floats(0.01, 0.4))
def test_welchs_test_rejects_where_the_interval_leaves_zero_out(x: list[int], y: list[int], alpha: float) -> None:
    p, estimate = welch_test(x, y), difference_interval(x, y, 1.0 - alpha)
    if abs(p - alpha) > 1e-9:
        assert (p < alpha) == (estimate.lower > 0.0 or estimate.upper < 0.0)


def test_equivalence_is_two_tests_of_scipy() -> None:
    for margin in (20.0, 100.0):
        above = stats.ttest_ind(np.array(X) + margin, Y, equal_var=False, alternative="greater").pvalue
        below = stats.ttest_ind(np.array(X) - margin, Y, equal_var=False, alternative="less").pvalue
        answer = equivalence_test(X, Y, margin=margin)
        assert answer.p_value == pytest.approx(max(above, below), rel=1e-9)
        assert answer.difference == difference_interval(X, Y, 0.9)
    other = [470.0, 499.0, 470.0, 490.0, 480.0]
    differences = np.subtract(X, other)
    paired = equivalence_test(X, other, margin=20.0, paired=True)
    above = stats.ttest_1samp(differences, -20.0, alternative="greater").pvalue
    below = stats.ttest_1samp(differences, 20.0, alternative="less").pvalue
    assert paired.p_value == pytest.approx(max(above, below), rel=1e-9)


def test_the_three_answers() -> None:
    near = [1.0, -1.0, 0.5, -0.5, 0.0, 0.2]
    far = [each + 10.0 for each in near]
    assert equivalence_test(near, near, margin=3.0).answer == "equivalent"
    assert equivalence_test(far, near, margin=3.0).answer == "different"
    assert equivalence_test(near, far, margin=3.0).answer == "different"
    assert equivalence_test(near, near, margin=0.1).answer == "undecided"
    assert equivalence_test(far, near, margin=10.0).answer == "undecided"
    assert not equivalence_test(far, near, margin=3.0).equivalent
    assert str(equivalence_test(near, near, margin=3.0)).endswith("margin 3: equivalent (p = 1.3e-05)")


@settings(max_examples=50, deadline=None)
@given(samples, samples, st.floats(1.0, 300.0), st.floats(0.01, 0.4))
def test_equivalence_is_an_interval_within_the_margin(x: list[int], y: list[int], margin: float, alpha: float) -> None:
    answer = equivalence_test(x, y, margin=margin, alpha=alpha)
    estimate = difference_interval(x, y, 1.0 - 2.0 * alpha)
    if abs(answer.p_value - alpha) > 1e-9:
        assert answer.equivalent == (-margin < estimate.lower and estimate.upper < margin)
    swapped = equivalence_test(y, x, margin=margin, alpha=alpha)
    assert swapped.p_value == pytest.approx(answer.p_value)
    assert swapped.answer == answer.answer


def test_equivalence_errs_at_most_at_its_level_where_the_difference_is_the_margin() -> None:
    draws = np.random.default_rng(2).normal(size=(1500, 2, 30))
    errors = [equivalence_test(x + 1.0, y, margin=1.0).equivalent for x, y in draws]
    assert np.mean(errors, axis=0) == pytest.approx(0.05, abs=0.017)  # 3 sigma


def test_constant_samples_say_nothing() -> None:
    for test in (welch_test, lambda x, y: equivalence_test(x, y, margin=1.0)):
        with pytest.raises(ValueError, match="both samples are constant"):
            test([500.0] * 4, [500.0] * 3)
        with pytest.raises(ValueError, match="both samples are constant"):
            test([0.1] * 3, [0.3] * 3)  # their means are rounded
        with pytest.raises(ValueError, match="got 1 and 2"):
            test([500.0], [500.0, 499.0])
    with pytest.raises(ValueError, match="all equal"):
        equivalence_test([1.0, 2.0], [0.0, 1.0], margin=2.0, paired=True)
    assert welch_test([500.0, 499.0], [500.0] * 3) == pytest.approx(0.5)  # one constant arm: 1 degree, t = 1


def test_power_of_equal_spreads_is_that_of_the_noncentral_t() -> None:
    for seeds, difference in ((5, 2.0), (20, 0.8), (64, 0.5)):
        t, shift = stats.t.isf(0.025, 2 * seeds - 2), difference / math.sqrt(2.0 / seeds)
        exact = stats.nct.sf(t, 2 * seeds - 2, shift) + stats.nct.cdf(-t, 2 * seeds - 2, shift)
        assert achieved_power(seeds, difference, 1.0) == pytest.approx(exact, abs=5e-5)
        assert achieved_power(seeds, -difference, 1.0) == pytest.approx(exact, abs=5e-5)
    t = stats.t.isf(0.025, 9)
    exact = stats.nct.sf(t, 9, math.sqrt(10)) + stats.nct.cdf(-t, 9, math.sqrt(10))
    assert achieved_power(10, 1.0, 1.0, paired=True) == pytest.approx(exact, abs=5e-5)


def test_power_where_the_null_holds_is_the_level() -> None:
    assert achieved_power(12, 0.0, 3.0) == pytest.approx(0.05, abs=1e-4)
    assert achieved_power(12, 0.0, 3.0, alpha=0.01) == pytest.approx(0.01, abs=1e-4)
    assert achieved_power(200, 1.0, 1.0, margin=1.0) == pytest.approx(0.05, abs=1e-4)


def test_power_by_simulation() -> None:
    draws = np.random.default_rng(6).normal(size=(1000, 2, 25))
    found = [welch_test(x + 1.0, 2.0 * y) < 0.05 for x, y in draws]
    assert np.mean(found, axis=0) == pytest.approx(achieved_power(25, 1.0, (1.0, 2.0)), abs=0.045)  # 3 sigma
    shown = [equivalence_test(x + 0.2, 2.0 * y, margin=1.5).equivalent for x, y in draws]
    expected = achieved_power(25, 0.2, (1.0, 2.0), margin=1.5)
    assert 0.3 < expected < 0.9
    assert np.mean(shown, axis=0) == pytest.approx(expected, abs=0.047)


def test_the_textbooks_sample_sizes() -> None:
    # Cohen 1988, table 2.4.1: 26, 64 and 394 of each arm for d = .8, .5 and .2 at power .8, two-sided .05;
    # his table says 26, 64 and 393, from an approximation
    assert [seeds_needed(0.8, d, 1.0) for d in (0.8, 0.5, 0.2)] == [26, 64, 394]
    # pairs: G*Power gives 34 for dz = .5
    assert seeds_needed(0.8, 0.5, 1.0, paired=True) == 34


def test_equivalence_of_normal_data_with_a_known_spread_is_the_limit() -> None:
    """n = (s_x² + s_y²) (z(.05) + z(.1))² / margin² for power .8 at no difference."""
    spreads = (141.84, 138.45)
    normal = sum(s**2 for s in spreads) * (stats.norm.isf(0.05) + stats.norm.isf(0.1)) ** 2 / 25.0**2
    seeds = seeds_needed(0.8, 0.0, spreads, margin=25.0)
    assert normal <= seeds <= normal + 2.0
    assert math.ceil(normal) == 539


@settings(max_examples=25, deadline=None)
@given(st.floats(0.3, 3.0), st.floats(0.5, 2.0), st.floats(0.5, 2.0), st.floats(0.3, 0.95), st.booleans())
def test_the_seeds_needed_are_enough_and_no_more(
    size: float, first: float, second: float, power: float, equivalent: bool
) -> None:
    difference, margin = (0.0, size) if equivalent else (size, None)
    seeds = seeds_needed(power, difference, (first, second), margin=margin)
    assert achieved_power(seeds, difference, (first, second), margin=margin) >= power
    if seeds > 2:
        assert achieved_power(seeds - 1, difference, (first, second), margin=margin) < power


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="margin must be positive"):
        equivalence_test(X, Y, margin=-1.0)
    with pytest.raises(ValueError, match=r"alpha must be in \(0, 0.5\), got 5"):
        equivalence_test(X, Y, margin=1.0, alpha=5)
    with pytest.raises(ValueError, match="one length, got 5 and 7"):
        equivalence_test(X, Y, margin=1.0, paired=True)
    with pytest.raises(ValueError, match="'bigger'"):
        welch_test(X, Y, "bigger")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 2, got 1"):
        achieved_power(1, 1.0, 1.0)
    with pytest.raises(ValueError, match=r"spread must be positive and finite, got 0\.0"):
        achieved_power(5, 1.0, 0.0)
    with pytest.raises(ValueError, match="not paired"):
        achieved_power(5, 1.0, (1.0, 2.0), paired=True)
    with pytest.raises(ValueError, match="difference must be finite"):
        achieved_power(5, math.nan, 1.0)
    with pytest.raises(ValueError, match="got 80"):
        seeds_needed(80, 1.0, 1.0)
    with pytest.raises(ValueError, match="cannot be shown"):
        seeds_needed(0.8, 0.0, 1.0)
    with pytest.raises(ValueError, match="not within the margin 2"):
        seeds_needed(0.8, -2.0, 1.0, margin=2.0)
    with pytest.raises(ValueError, match="more than 10000000 seeds"):
        seeds_needed(0.8, 1e-6, 1.0)
