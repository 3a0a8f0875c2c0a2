"""Estimates against scipy's own, closed forms, and coverage by simulation."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rlkit.statistics import (
    Estimate,
    difference_interval,
    holm,
    mean_interval,
    median_interval,
    proportion_interval,
    share_interval,
    sign_flip_test,
    wilson_interval,
)

SAMPLE = [481.0, 500.0, 475.5, 499.0, 488.25]
values = st.floats(-1e6, 1e6, allow_nan=False)
samples = st.lists(values, min_size=2, max_size=30)


def interval(estimate: Estimate[float]) -> tuple[float, float]:
    return estimate.lower, estimate.upper


def test_mean_interval_by_hand() -> None:
    half = 4.302652729911275 / math.sqrt(3)  # t(2, .975) s / sqrt(n) with s = 1
    estimate = mean_interval([1.0, 2.0, 3.0])
    assert estimate.value == 2.0
    assert interval(estimate) == pytest.approx((2 - half, 2 + half))
    assert (estimate.n, estimate.confidence, estimate.method) == (3, 0.95, "Student t")
    assert str(estimate) == "2.0 [-0.5, 4.5]"


def test_a_share_is_never_below_nothing_or_above_all() -> None:
    shares = [0.9, 1.0, 0.98, 1.0]
    free, cut = mean_interval(shares), share_interval(shares)
    assert free.upper > 1.0
    assert cut[:3] == (free.value, free.lower, 1.0)
    assert interval(share_interval([0.0, 0.1, 0.0])) == (0.0, mean_interval([0.0, 0.1, 0.0]).upper)
    assert interval(share_interval([0.4, 0.5, 0.6])) == interval(mean_interval([0.4, 0.5, 0.6]))
    assert interval(share_interval([0.3])) == (0.0, 1.0)  # one seed says nothing of the next
    with pytest.raises(ValueError, match=r"shares must be in \[0, 1\], got -0.1 to 0.5"):
        share_interval([0.5, -0.1])


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_mean_interval_is_scipys(confidence: float) -> None:
    theirs = stats.ttest_1samp(SAMPLE, 0.0).confidence_interval(confidence)
    assert interval(mean_interval(SAMPLE, confidence)) == pytest.approx((theirs.low, theirs.high), rel=1e-12)


def test_mean_interval_along_an_axis_is_each_sample_alone() -> None:
    x = np.random.default_rng(0).normal(size=(3, 8, 2))
    estimate = mean_interval(x, axis=1)
    assert estimate.value.shape == (3, 2)
    assert estimate.n == 8
    for i, j in np.ndindex(3, 2):
        alone = mean_interval(x[i, :, j])
        assert (estimate.value[i, j], estimate.lower[i, j], estimate.upper[i, j]) == pytest.approx(alone[:3], rel=1e-12)


def test_one_value_has_an_infinite_interval() -> None:
    assert mean_interval([3.0])[:3] == (3.0, -math.inf, math.inf)
    assert difference_interval([3.0], [1.0, 2.0])[:3] == (1.5, -math.inf, math.inf)
    assert mean_interval([[3.0, 4.0]], axis=0).upper.tolist() == [math.inf, math.inf]


def test_a_constant_sample_has_no_width() -> None:
    assert mean_interval([500.0] * 8)[:3] == (500.0, 500.0, 500.0)
    assert difference_interval([500.0] * 8, [490.0] * 3)[:3] == (10.0, 10.0, 10.0)


@pytest.mark.slow
@settings(deadline=None)
@given(samples, st.floats(0.5, 0.98))
def test_more_confidence_is_wider(x: list[float], confidence: float) -> None:
    narrow, wide = mean_interval(x, confidence), mean_interval(x, confidence + 0.01)
    assert wide.lower <= narrow.lower <= narrow.value <= narrow.upper <= wide.upper


@pytest.mark.slow
@settings(deadline=None)
@given(samples)
def test_the_interval_moves_and_mirrors_with_the_sample(x: list[float]) -> None:
    estimate, mirrored = mean_interval(x), mean_interval(-np.array(x))
    assert (mirrored.lower, mirrored.upper) == pytest.approx((-estimate.upper, -estimate.lower), rel=1e-9, abs=1e-6)
    median, mirrored = median_interval(x), median_interval(-np.array(x))
    assert (mirrored.lower, mirrored.upper) == (-median.upper, -median.lower)


def test_median_interval_of_eight_is_the_range_at_its_true_coverage() -> None:
    # l = 1: 1 - 2 / 2^8 = .9921875; l = 2: 1 - 2 (1 + 8) / 2^8 = .9296875, too little
    estimate = median_interval([3.0, 1.0, 8.0, 2.0, 5.0, 4.0, 7.0, 6.0])
    assert estimate == (4.5, 1.0, 8.0, 8, 0.9921875, "order statistics")
    assert median_interval(range(1, 9), 0.9)[1:5] == (2.0, 7.0, 8, 0.9296875)


def test_median_interval_of_ten_leaves_the_extremes_out() -> None:
    estimate = median_interval(range(10))
    assert estimate[:3] == (4.5, 1.0, 8.0)
    assert estimate.confidence == pytest.approx(1 - 2 * (1 + 10) / 2**10)


@pytest.mark.parametrize("n", range(1, 6))
def test_where_95_percent_is_out_of_reach_the_true_coverage_is_stated(n: int) -> None:
    estimate = median_interval(np.arange(n))
    assert interval(estimate) == (0.0, n - 1.0)
    assert estimate.confidence == pytest.approx(1 - 2 * 0.5**n)
    assert estimate.confidence < 0.95


@pytest.mark.slow
@settings(deadline=None)
@given(st.integers(6, 60), st.floats(0.5, 0.96))
def test_median_interval_is_the_narrowest_that_covers(n: int, confidence: float) -> None:
    estimate = median_interval(np.arange(n), confidence)
    rank = int(estimate.lower) + 1
    assert estimate.confidence >= confidence
    assert 1 - 2 * stats.binom.cdf(rank - 1, n, 0.5) == pytest.approx(estimate.confidence)
    if rank < n // 2:
        assert 1 - 2 * stats.binom.cdf(rank, n, 0.5) < confidence


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.floats(0.5, 0.999))
def test_proportion_interval_is_scipys(solved: list[bool], confidence: float) -> None:
    estimate = proportion_interval(solved, confidence)
    theirs = stats.binomtest(sum(solved), len(solved)).proportion_ci(confidence, method="exact")
    assert interval(estimate) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert estimate.value == sum(solved) / len(solved)


def test_eight_of_eight_solved_does_not_prove_certainty() -> None:
    estimate = proportion_interval([True] * 8)
    assert estimate.upper == 1.0
    assert estimate.lower == pytest.approx(0.025 ** (1 / 8))  # p^8 = 2.5 %


def test_proportion_covers_at_least_what_it_says_for_every_true_fraction() -> None:
    n = 10
    bounds = [proportion_interval([1] * k + [0] * (n - k)) for k in range(n + 1)]
    for p in np.linspace(0.01, 0.99, 99):
        inside = [b.lower <= p <= b.upper for b in bounds]
        assert stats.binom.pmf(np.arange(n + 1), n, p)[inside].sum() >= 0.95
    assert all(a.lower < b.lower and a.upper < b.upper for a, b in pairwise(bounds[1:-1]))


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.floats(0.5, 0.999))
def test_wilsons_interval_is_scipys(solved: list[bool], confidence: float) -> None:
    estimate = wilson_interval(solved, confidence)
    theirs = stats.binomtest(sum(solved), len(solved)).proportion_ci(confidence, method="wilson")
    assert interval(estimate) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert estimate.value == sum(solved) / len(solved)
    assert 0.0 <= estimate.lower < estimate.upper <= 1.0


def test_wilsons_interval_by_hand_and_where_every_seed_agrees() -> None:
    z = stats.norm.isf(0.025)
    assert interval(wilson_interval([True] * 8)) == pytest.approx((8.0 / (8.0 + z * z), 1.0))
    assert interval(wilson_interval([False] * 8)) == pytest.approx((0.0, z * z / (8.0 + z * z)))
    assert interval(wilson_interval([True, False])) == pytest.approx(
        (0.5 - 0.5 * z / (2 + z * z) ** 0.5, 0.5 + 0.5 * z / (2 + z * z) ** 0.5)
    )
    assert wilson_interval([True]).has_interval
    assert wilson_interval([True]).method == "Wilson"
    with pytest.raises(ValueError, match=r"booleans, got 0\.5"):
        wilson_interval([0.5])


def test_wilsons_interval_covers_what_it_says_on_average() -> None:
    n = 30
    bounds = [wilson_interval([1] * k + [0] * (n - k)) for k in range(n + 1)]
    coverages = [
        stats.binom.pmf(np.arange(n + 1), n, p)[[b.lower <= p <= b.upper for b in bounds]].sum()
        for p in np.linspace(0.005, 0.995, 199)
    ]
    assert np.mean(coverages, axis=0) == pytest.approx(0.95, abs=0.01)
    assert min(coverages) < 0.94


def test_welch_is_scipys() -> None:
    other = [430.0, 470.0, 300.0, 499.0, 480.0, 500.0, 460.0]
    theirs = stats.ttest_ind(SAMPLE, other, equal_var=False).confidence_interval(0.9)
    estimate = difference_interval(SAMPLE, other, 0.9)
    assert interval(estimate) == pytest.approx((theirs.low, theirs.high), rel=1e-12)
    assert (estimate.n, estimate.method) == (5, "Welch t")


def test_paired_is_scipys() -> None:
    other = [470.0, 499.0, 470.0, 490.0, 480.0]
    theirs = stats.ttest_rel(SAMPLE, other).confidence_interval(0.95)
    estimate = difference_interval(SAMPLE, other, paired=True)
    assert interval(estimate) == pytest.approx((theirs.low, theirs.high), rel=1e-12)
    assert estimate.method == "paired Student t"


def test_welch_with_one_constant_arm_has_the_other_arms_degrees_of_freedom() -> None:
    difference, alone = difference_interval(SAMPLE, [100.0] * 4), mean_interval(SAMPLE)
    assert interval(difference) == pytest.approx((alone.lower - 100, alone.upper - 100), rel=1e-12)


@pytest.mark.slow
def test_coverage_by_simulation() -> None:
    draws = np.random.default_rng(7).normal(size=(4000, 5))
    means = mean_interval(draws, axis=1)
    assert ((means.lower <= 0) & (means.upper >= 0)).mean(axis=0) == pytest.approx(0.95, abs=0.011)  # 3 sigma
    skewed = np.random.default_rng(8).exponential(size=(2000, 9))
    medians = [median_interval(x, 0.9) for x in skewed]
    covered = np.array([m.lower <= math.log(2) <= m.upper for m in medians])
    assert medians[0].confidence == pytest.approx(0.9609375)
    assert covered.mean(axis=0) == pytest.approx(0.9609375, abs=0.014)
    arms = np.random.default_rng(9).normal(scale=[1.0] * 5 + [4.0] * 8, size=(2000, 13))
    welch = [difference_interval(x[:5], x[5:]) for x in arms]
    assert np.mean([w.lower <= 0 <= w.upper for w in welch], axis=0) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_refused_by_name_and_place(bad: float) -> None:
    for estimator in (mean_interval, median_interval, proportion_interval):
        with pytest.raises(ValueError, match=rf"holds {bad} at \[1\]"):
            estimator([1.0, bad])
    with pytest.raises(ValueError, match="y holds"):
        difference_interval([1.0], [bad])


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="no value"):
        mean_interval([])
    with pytest.raises(ValueError, match=r"0\.95"):
        mean_interval([1.0, 2.0], 95)
    with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
        median_interval([[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(ValueError, match=r"booleans, got 0\.5"):
        proportion_interval([0.5, 1.0])
    with pytest.raises(ValueError, match="one length, got 2 and 1"):
        difference_interval([1.0, 2.0], [1.0], paired=True)


def test_an_estimate_of_one_seed_is_printed_without_an_interval() -> None:
    for estimate in (mean_interval([3.0]), median_interval([3.0]), difference_interval([5.0], [2.0], paired=True)):
        assert not estimate.has_interval
        assert str(estimate) == "3 (one seed: no interval)"
    assert str(difference_interval([5.0], [1.0, 3.0])) == "3 (one seed: no interval)"
    assert str(share_interval([0.3])) == "0.3 (one seed: no interval)"
    assert str(proportion_interval([True])) == "1.00 [0.03, 1.00]"
    assert str(mean_interval([1.0, 2.0])) == "1.5 [-4.9, 7.9]"
    assert "inf" not in str(mean_interval([[3.0, 4.0]], axis=0))
    assert mean_interval([[3.0, 4.0], [4.0, 3.0]], axis=0).has_interval


@pytest.mark.parametrize("differences", [[1.0, 2.0, -0.5], [3.0, 3.0, 3.0, 3.0], [0.0, 0.0], [-1.0, 5.0, 0.25, 7.0]])
def test_the_sign_flip_test_is_scipys_permutation_test(differences: list[float]) -> None:
    paired = (np.array(differences), np.zeros(len(differences)))

    def mean(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return np.mean(x - y, axis=axis)

    oracle = stats.permutation_test(paired, mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_test(differences) == pytest.approx(oracle.pvalue)


def test_the_sign_flip_test_by_hand() -> None:
    assert sign_flip_test([1.0] * 10) == 2 / 1024  # both all plus and all minus
    assert sign_flip_test([-1.0] * 10) == 2 / 1024
    assert sign_flip_test([0.0] * 5) == 1.0
    assert sign_flip_test([0.1, 0.2, 0.3]) == 0.25  # the sums of 0.1, 0.2 and 0.3 differ by rounding
    with pytest.raises(ValueError, match="got 17"):
        sign_flip_test([1.0] * 17)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_the_sides_of_the_sign_flip_test_are_those_of_scipy(alternative: str) -> None:
    differences = [1.0, 2.5, -0.5, 3.0, 0.25]
    paired = (np.array(differences), np.zeros(5))

    def mean(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return np.mean(x - y, axis=axis)

    oracle = stats.permutation_test(
        paired, mean, permutation_type="samples", n_resamples=np.inf, alternative=alternative
    )
    assert sign_flip_test(differences, alternative=alternative) == pytest.approx(oracle.pvalue)
    assert sign_flip_test([1.0] * 5, alternative="greater") == 1 / 32
    assert sign_flip_test([1.0] * 5, alternative="less") == 1.0
    assert sign_flip_test([0.0] * 5, alternative=alternative) == 1.0


def test_signs_of_many_differences_are_drawn() -> None:
    """The sum of 30 random signs is that of a binomial: P(|2 B - 30| >= 10) and P(2 B - 30 >= 10)."""
    differences = [1.0] * 20 + [-1.0] * 10
    above = stats.binom.sf(19, 30, 0.5)
    one, two = (
        sign_flip_test(differences, np.random.default_rng(1), alternative=alternative)
        for alternative in ("greater", "two-sided")
    )
    assert one == pytest.approx(above, abs=0.0065)  # 3 sigma
    assert two == pytest.approx(2.0 * above, abs=0.009)
    assert sign_flip_test(differences, np.random.default_rng(1)) == two
    assert sign_flip_test([1.0] * 40, np.random.default_rng(1), resamples=2500) == 1 / 2501  # never zero
    with pytest.raises(ValueError, match="numpy Generator, got 1"):
        sign_flip_test([1.0] * 40, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'up'"):
        sign_flip_test([1.0], alternative="up")  # type: ignore[arg-type]


def test_holms_correction_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []
    with pytest.raises(ValueError, match=r"\[1\.5\]"):
        holm([1.5])


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8), st.floats(0.01, 0.2))
def test_holm_rejects_as_the_stepwise_procedure(p: list[float], alpha: float) -> None:
    rejected, order = [False] * len(p), np.argsort(p, kind="stable")
    for place, index in enumerate(order):
        if p[index] * (len(p) - place) > alpha:
            break
        rejected[index] = True
    assert [each <= alpha for each in holm(p)] == rejected
