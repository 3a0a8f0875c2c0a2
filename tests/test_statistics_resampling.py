"""The interquartile mean, the bootstrap, performance profiles and probabilities of improvement.

The definitions are those of the package rliable, written out again on examples that can be followed by hand.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rlkit.statistics import (
    bootstrap_interval,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
)

scores = st.lists(st.integers(-20, 20), min_size=1, max_size=12)
SCORES = np.array([[1.0, 10.0], [2.0, 30.0], [4.0, 20.0], [3.0, 0.0]])  # 4 runs of 2 tasks


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_the_interquartile_mean_by_hand() -> None:
    assert interquartile_mean([100.0, 1.0, 2.0, -50.0]) == 1.5
    assert interquartile_mean([5.0, 1.0, 3.0]) == 3.0  # fewer than four: the mean
    assert interquartile_mean([1.0, 2.0, 3.0, 4.0, 105.0]) == 3.0  # one of five is left out at either end
    # pooled over tasks: of 0 1 2 3 4 10 20 30 two are left out at either end
    assert interquartile_mean(SCORES) == (2.0 + 3.0 + 4.0 + 10.0) / 4.0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=40))
def test_the_interquartile_mean_is_scipys(x: list[float]) -> None:
    assert interquartile_mean(x) == pytest.approx(stats.trim_mean(x, 0.25, axis=None), rel=1e-9, abs=1e-9)


def test_the_bootstrap_approaches_all_resamples() -> None:
    """All 3^3 resamples of three runs, each equally likely, in place of random ones."""
    x = [0.0, 1.0, 5.0]
    means = np.array([np.mean(each) for each in itertools.product(x, repeat=3)])
    exact = np.quantile(means, (0.1, 0.9), method="inverted_cdf")
    estimate = bootstrap_interval(x, np.mean, rng(), 0.8, 2000)
    assert (estimate.value, estimate.n, estimate.confidence) == (2.0, 3, 0.8)
    assert (estimate.lower, estimate.upper) == pytest.approx(tuple(exact))


def test_a_resample_draws_runs_within_each_task() -> None:
    """Every resample has runs of task 0 in column 0 and of task 1 in column 1, drawn independently."""
    drawn = []

    def statistic(sample: np.ndarray) -> float:
        drawn.append(sample)
        return float(sample.mean(axis=(0, 1)))

    bootstrap_interval(SCORES, statistic, rng(), resamples=200)
    resamples = np.array(drawn[1:])  # the first is the sample itself
    assert resamples.shape == (200, 4, 2)
    for task in range(2):
        assert set(resamples[:, :, task].ravel()) == set(SCORES[:, task])
    rows = {tuple(row) for row in resamples.reshape(-1, 2)}
    assert len(rows) == 16  # every pair of a run of task 0 and one of task 1


def test_the_bootstrap_depends_on_its_generator_alone() -> None:
    first = bootstrap_interval(SCORES, interquartile_mean, rng())
    np.random.default_rng(1).random(7)
    assert bootstrap_interval(SCORES, interquartile_mean, rng()) == first
    assert bootstrap_interval(SCORES, interquartile_mean, np.random.default_rng(6)) != first


def test_the_bootstrap_of_many_runs_is_near_students() -> None:
    x = rng().normal(size=400)
    estimate = bootstrap_interval(x, np.mean, rng())
    half = 1.96 * x.std(ddof=1) / 20.0
    assert (estimate.lower, estimate.upper) == pytest.approx((x.mean() - half, x.mean() + half), abs=0.012)


def test_one_run_cannot_be_resampled() -> None:
    estimate = bootstrap_interval([3.0], np.mean, rng())
    assert estimate[:3] == (3.0, -math.inf, math.inf)
    assert not estimate.has_interval
    assert performance_profile([3.0], [1.0], generator=rng())[:3] == (1.0, 0.0, 1.0)
    assert probability_of_improvement([3.0], [1.0, 2.0], generator=rng())[:3] == (1.0, 0.0, 1.0)


@pytest.mark.slow
def test_the_bootstrap_of_few_runs_covers_too_little_and_hoeffdings_interval_enough() -> None:
    """The true probability of improvement of two equal distributions is a half."""
    draws = np.random.default_rng(8).normal(size=(200, 2, 3))
    generator = rng()
    bootstrap = [probability_of_improvement(x, y, generator=generator, resamples=200) for x, y in draws]
    bounded = [probability_of_improvement(x, y) for x, y in draws]
    assert np.mean([each.lower <= 0.5 <= each.upper for each in bootstrap], axis=0) < 0.93
    assert np.mean([each.lower <= 0.5 <= each.upper for each in bounded], axis=0) >= 0.95


def test_a_profile_by_hand() -> None:
    profile = performance_profile([1.0, 2.0, 2.0, 5.0], [0.0, 1.0, 2.0, 4.9, 5.0])
    assert profile.value.tolist() == [1.0, 0.75, 0.25, 0.25, 0.0]  # a score at the threshold is not above it
    # tasks are averaged: task 0 has 2 of 4 runs above 2.5, task 1 has 3 of 4
    assert performance_profile(SCORES, [2.5]).value.tolist() == [(0.5 + 0.75) / 2.0]


def test_the_band_of_a_profile_by_hand() -> None:
    x = np.arange(50.0)
    half = math.sqrt(math.log(40.0) / 100.0)
    profile = performance_profile(x, [24.5, -1.0, 60.0])
    assert (profile.n, profile.method) == (50, "DKW")
    assert profile.lower == pytest.approx([0.5 - half, 1.0 - half, 0.0])
    assert profile.upper == pytest.approx([0.5 + half, 1.0, half])
    two = performance_profile(np.stack([x, x], axis=1), [24.5])
    assert two.upper == pytest.approx([0.5 + math.sqrt(math.log(80.0) / 100.0)])


@settings(max_examples=50, deadline=None)
@given(scores, st.lists(st.integers(-21, 21), min_size=2, max_size=6))
def test_a_profile_falls_and_contains_itself(x: list[int], thresholds: list[int]) -> None:
    profile = performance_profile(x, sorted(thresholds))
    assert (np.diff(profile.value) <= 0.0).all()
    assert (profile.lower <= profile.value).all()
    assert (profile.value <= profile.upper).all()
    assert profile.value == pytest.approx([np.mean(np.array(x) > z, axis=0) for z in sorted(thresholds)])


def test_the_band_holds_the_whole_true_profile() -> None:
    levels = np.linspace(0.0, 1.0, 21)
    draws = np.random.default_rng(4).random(size=(400, 12))
    bands = [performance_profile(x, levels) for x in draws]
    whole = [((band.lower <= 1.0 - levels) & (1.0 - levels <= band.upper)).all() for band in bands]
    assert np.mean(whole, axis=0) >= 0.95


def test_the_bootstrap_of_a_profile_is_that_of_the_share() -> None:
    """A resample has Binomial(n, share) runs above a threshold."""
    x = np.arange(20.0)
    profile = performance_profile(x, [14.5], generator=rng(), resamples=4000)
    exact = stats.binom.ppf((0.025, 0.975), 20, 0.25) / 20.0
    assert profile.method == "stratified bootstrap"
    assert (profile.lower[0], profile.upper[0]) == pytest.approx(tuple(exact))


def test_the_probability_of_improvement_by_hand() -> None:
    # of six pairs x wins (2, 1) (4, 1) (4, 3), and (1, 1) is a tie
    assert probability_of_improvement([1.0, 2.0, 4.0], [1.0, 3.0]).value == pytest.approx(3.5 / 6.0)
    assert probability_of_improvement([2.0, 3.0], [0.0, 1.0]).value == 1.0
    x, y = np.array([[2.0, 0.0], [3.0, 0.0]]), np.array([[0.0, 0.0], [1.0, 0.0]])
    assert probability_of_improvement(x, y).value == 0.75  # 1 on the first task, a half on the second


@settings(max_examples=50, deadline=None)
@given(scores, scores)
def test_the_probability_of_improvement_is_mann_and_whitneys(x: list[int], y: list[int]) -> None:
    estimate = probability_of_improvement(x, y)
    oracle = stats.mannwhitneyu(x, y, method="asymptotic" if len(x) * len(y) > 1 else "exact").statistic
    assert estimate.value == pytest.approx(oracle / (len(x) * len(y)))
    other = probability_of_improvement(y, x)
    assert (estimate.value, estimate.lower, estimate.upper) == pytest.approx(
        (1.0 - other.value, 1.0 - other.upper, 1.0 - other.lower)
    )


def test_hoeffdings_interval_by_hand() -> None:
    estimate = probability_of_improvement(np.arange(200.0), np.arange(300.0) - 50.0)
    half = math.sqrt(math.log(40.0) / 400.0)
    assert (estimate.n, estimate.method) == (200, "Hoeffding")
    assert (estimate.lower, estimate.upper) == pytest.approx((estimate.value - half, estimate.value + half))
    assert probability_of_improvement([2.0], [1.0]).has_interval


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match=r"numpy\.random\.default_rng\(seed\)"):
        bootstrap_interval(SCORES, np.mean, 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="got 0"):
        bootstrap_interval(SCORES, np.mean, rng(), resamples=0)
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        bootstrap_interval(SCORES, lambda x: x.mean(axis=0), rng())
    with pytest.raises(ValueError, match=r"shape \(1, 1, 1\)"):
        bootstrap_interval([[[1.0]]], np.mean, rng())
    with pytest.raises(ValueError, match="same tasks, got 2 and 1"):
        probability_of_improvement(SCORES, [1.0])
    with pytest.raises(ValueError, match="thresholds holds no value"):
        performance_profile(SCORES, [])
    with pytest.raises(ValueError, match="scores holds nan"):
        interquartile_mean([1.0, math.nan])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-100.0, 100.0), min_size=2, max_size=8))
def test_the_bootstrap_of_the_mean_lies_within_the_sample(x: list[float]) -> None:
    estimate = bootstrap_interval(x, np.mean, rng(), resamples=50)
    assert min(x) - 1e-9 <= estimate.lower <= estimate.upper <= max(x) + 1e-9
