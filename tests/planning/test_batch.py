"""Many discounts and many reward functions at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from finite_problems import FROZEN_LAKE, assert_encloses, mdps, rational_optimum, slippery
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit.mdp import TabularMDP
from rlkit.planning import policy_iteration, q_backup, solve, solve_batch


def test_many_discounts_are_each_ones_solution() -> None:
    gammas = [0.0, 0.5, 0.9, 0.99]
    batch = solve_batch(FROZEN_LAKE, gammas, tolerance=1e-9)
    assert batch.value.shape == (4, 16)
    assert batch.q.shape == (4, 16, 4)
    for row, gamma in enumerate(gammas):
        alone = solve(FROZEN_LAKE, gamma, 1e-10)
        np.testing.assert_allclose(batch.value[row], alone.value, rtol=0, atol=1e-9)
        assert (batch.lower[row] <= alone.upper).all()
        assert (alone.lower <= batch.upper[row]).all()
        assert (batch.upper[row] - batch.lower[row] <= 1e-9).all()


def test_many_rewards_are_each_ones_solution() -> None:
    rewards = np.random.default_rng(0).normal(size=(5, 16, 4))
    for gammas in (0.9, np.linspace(0.5, 0.95, 5)):
        batch = solve_batch(FROZEN_LAKE, gammas, rewards)
        for row, mean in enumerate(rewards):
            table = TabularMDP(
                FROZEN_LAKE.successor,
                FROZEN_LAKE.probability,
                np.repeat(mean[:, :, None], 3, 2),
                FROZEN_LAKE.terminated,
            )
            exact = policy_iteration(table, float(batch.gammas[row]))
            np.testing.assert_allclose(batch.value[row], exact.value, rtol=0, atol=1e-6)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(mdps(differing_actions=True), st.sampled_from(["float64", "float32"]))
def test_bounds_enclose_the_optimum_in_either_precision(mdp: TabularMDP, precision: Any) -> None:
    batch = solve_batch(mdp, [0.5, 0.9], tolerance=1e-3, precision=precision)
    for row, gamma in enumerate(batch.gammas):
        assert_encloses(batch.lower[row], batch.upper[row], rational_optimum(mdp, float(gamma)))


def test_values_that_move_together_are_seen_through() -> None:
    grid = slippery(8, terminals=False)
    batch = solve_batch(grid, [0.9, 0.9999], tolerance=1e-6)
    assert batch.iterations < 3000  # a factor of 0.9999 alone would take 160,000
    np.testing.assert_allclose(batch.value[1], policy_iteration(grid, 0.9999).value, rtol=0, atol=1e-6)


def test_one_row_is_the_same_alone() -> None:
    together = solve_batch(FROZEN_LAKE, [0.9, 0.95])
    q = q_backup(FROZEN_LAKE, together.lower[0], 0.9)
    np.testing.assert_array_equal(together.q[0], q)
    np.testing.assert_allclose(together.value[0], solve_batch(FROZEN_LAKE, 0.9).value[0], rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gammas": [0.9, 1.0]}, r"gamma 1\.0"),
        ({"gammas": []}, r"gammas have shape \(0,\)"),
        ({"gammas": 0.9, "rewards": np.zeros((16, 4))}, r"rewards have shape \(16, 4\): expected \[B, 16, 4\]"),
        ({"gammas": [0.9] * 3, "rewards": np.zeros((2, 16, 4))}, "3 gammas and 2 reward functions"),
        ({"gammas": 0.9, "rewards": np.full((1, 16, 4), np.nan)}, "reward nan"),
        ({"gammas": 0.9, "precision": "float16"}, "precision 'float16'"),
        ({"gammas": 0.9, "tolerance": 0.0}, "tolerance 0"),
        ({"gammas": 0.99, "tolerance": 1e-12, "precision": "float32"}, "solve_batch in float32 can certify"),
        ({"gammas": 0.99, "tolerance": 1e-16}, "solve_batch in float64 can certify"),
    ],
)
def test_a_batch_without_meaning_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        solve_batch(FROZEN_LAKE, **options)
