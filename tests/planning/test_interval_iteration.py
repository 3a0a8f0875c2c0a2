"""Undiscounted total reward, enclosed."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from finite_problems import CLIFF, FROZEN_LAKE, FROZEN_LAKE_8X8, chain, mdps, russell_norvig
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rlkit.mdp import TabularMDP
from rlkit.planning import NotConverged, bellman, evaluate, interval_iteration, start_value
from rlkit.planning.methods.interval_iteration import end_components


def haddad_monmege(n: int) -> TabularMDP:
    """A chance of 1/2 to go on and 1/2 to fall back to the start, on either side of it: reached is 1/2 exactly, after
    about 2^n steps, and backups creep for long (Haddad & Monmege 2018, figure 2)."""
    rows: list[list[list[tuple[float, int, float, bool]]]] = []
    for state in range(2 * n - 1):
        left, right = (state - 1, n - 1), (state + 1, n - 1)
        if state == n - 1:
            outcomes = [(0.5, state - 1, 0.0, False), (0.5, state + 1, 0.0, False)]
        elif state < n - 1:
            outcomes = [(0.5, left[0], 0.0, False) if state else (0.5, 0, 0.0, True), (0.5, left[1], 0.0, False)]
        else:
            last = state == 2 * n - 2
            outcomes = [(0.5, 0, 1.0, True) if last else (0.5, right[0], 0.0, False), (0.5, right[1], 0.0, False)]
        rows.append([outcomes])
    return TabularMDP.from_transitions(rows)


@pytest.mark.slow
def test_frozen_lakes_are_enclosed() -> None:
    small = interval_iteration(FROZEN_LAKE, 1e-9)
    assert small.lower[0] <= 14 / 17 <= small.upper[0]
    assert small.width <= 1e-9
    large = interval_iteration(FROZEN_LAKE_8X8, 1e-6)
    assert large.lower[0] <= 1.0 <= large.upper[0]
    assert large.method == "interval iteration"


def test_costs_are_enclosed() -> None:
    solution = interval_iteration(CLIFF, 1e-9)
    assert start_value(CLIFF, solution.lower) <= -13 <= start_value(CLIFF, solution.upper)


@pytest.mark.slow
def test_a_small_change_is_no_proof() -> None:
    mdp = haddad_monmege(9)
    value, change = np.zeros(mdp.num_states), 1.0
    for _ in range(30):
        value, change = bellman(mdp, value, 1.0), float(np.abs(bellman(mdp, value, 1.0) - value).max(axis=0))
    assert change < 2e-3
    assert value[8] < 0.1  # a rule on the change alone would report this for 1/2
    solution = interval_iteration(mdp, 1e-6)
    assert solution.lower[8] <= 0.5 <= solution.upper[8]
    assert solution.width <= 1e-6


def test_components_are_left_at_their_best_exit() -> None:
    # States 0 and 1 lead to each other for nothing; only 1 can leave, for 3. Backups from above never fall below 99.
    mdp = TabularMDP.from_transitions(
        [[[(1.0, 1, 0.0, False)], [(1.0, 0, 0.0, False)]], [[(1.0, 0, 0.0, False)], [(1.0, 1, 3.0, True)]]]
    )
    np.testing.assert_array_equal(bellman(mdp, np.array([99.0, 99.0]), 1.0), [99.0, 99.0])
    solution = interval_iteration(mdp, 1e-12)
    np.testing.assert_allclose(solution.value, [3.0, 3.0], rtol=0, atol=1e-12)
    component, inside = end_components(mdp, np.ones((2, 2), bool))
    assert component[0] == component[1] >= 0
    assert inside.tolist() == [[True, True], [True, False]]


def test_to_stay_for_nothing_beats_paying_to_leave() -> None:
    mdp = TabularMDP.from_transitions(
        [[[(1.0, 0, 0.0, False)], [(1.0, 0, -2.0, True)]], [[(1.0, 0, -1.0, False)], [(1.0, 1, -5.0, True)]]]
    )
    solution = interval_iteration(mdp, 1e-9)
    np.testing.assert_allclose(solution.value, [0.0, -1.0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(evaluate(mdp, solution.policy, 1.0), [0.0, -1.0], rtol=0, atol=1e-12)


def test_rewards_of_both_signs_are_enclosed() -> None:
    world = interval_iteration(russell_norvig(), 1e-9)
    printed = [0.812, 0.868, 0.918, 1.0, 0.762, 0.660, -1.0, 0.705, 0.655, 0.611, 0.388]
    assert (world.lower <= world.upper).all()
    assert world.width <= 1e-9
    np.testing.assert_allclose(world.value, printed, atol=6e-4)


@pytest.mark.slow
def test_episodes_that_hardly_end_are_refused() -> None:
    mdp = TabularMDP.from_transitions([[[(1e-7, 0, 1.0, True), (1.0 - 1e-7, 0, 0.0, False)]]])
    with pytest.raises(ValueError, match="episodes last more than 100000 steps"):
        interval_iteration(mdp, 1e-9)


@pytest.mark.parametrize(("prize", "worth"), [(3.0, [3.0, 3.0, 2.0, 1.5]), (-3.0, [0.0, 0.0, -1.0, 0.0])])
def test_a_component_is_left_for_a_gain_and_stayed_in_for_none(prize: float, worth: list[float]) -> None:
    # 0 and 1 lead to each other for nothing; 0 can leave for -2, 1 for the prize. 2 pays 1 to get there, or 1 a turn to
    # wait. 3 goes to 2 or to its end for 1, evenly.
    mdp = TabularMDP.from_transitions(
        [
            [[(1.0, 1, 0.0, False)], [(1.0, 0, -2.0, True)]],
            [[(1.0, 0, 0.0, False)], [(1.0, 1, prize, True)]],
            [[(1.0, 0, -1.0, False)], [(1.0, 2, -1.0, False)]],
            [[(0.5, 2, 0.0, False), (0.5, 3, 1.0, True)], [(1.0, 3, -9.0, True)]],
        ]
    )
    solution = interval_iteration(mdp, 1e-9)
    np.testing.assert_allclose(solution.value, worth, rtol=0, atol=1e-9)
    np.testing.assert_allclose(evaluate(mdp, solution.policy, 1.0), worth, rtol=0, atol=1e-12)
    assert solution.q.shape == solution.optimal_actions.shape == (4, 2)
    assert solution.optimal_actions[np.arange(4), solution.policy].all()


def test_to_go_on_for_ever_for_nothing_is_worth_nothing() -> None:
    mdp = TabularMDP.from_transitions([[[(1.0, 0, 1.0, True)]], [[(1.0, 1, 0.0, False)]]])
    np.testing.assert_allclose(interval_iteration(mdp, 1e-9).value, [1.0, 0.0], rtol=0, atol=1e-9)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(mdps(always_may_end=True, differing_actions=True), st.sampled_from([1.0, -1.0, None]))
def test_the_best_of_all_policies_is_enclosed(mdp: TabularMDP, sign: float | None) -> None:
    assume(mdp.num_actions**mdp.num_states <= 16)
    reward = mdp.reward if sign is None else sign * np.abs(mdp.reward)
    mdp = TabularMDP(mdp.successor, mdp.probability, reward, mdp.terminated, available=mdp.available)
    choices = itertools.product(*(np.flatnonzero(row) for row in mdp.available))
    best = np.max([evaluate(mdp, np.array(policy), 1.0) for policy in choices], axis=0)
    solution = interval_iteration(mdp, 1e-7)
    assert (solution.lower <= best + 1e-12).all()
    assert (best - 1e-12 <= solution.upper).all()
    assert solution.width <= 1e-7


def test_a_limit_is_never_silent() -> None:
    with pytest.raises(NotConverged, match="apart after 3 backups") as stopped:
        interval_iteration(FROZEN_LAKE, 1e-9, max_iterations=3)
    assert stopped.value.solution.upper[0] >= 14 / 17 >= stopped.value.solution.lower[0]
    assert not stopped.value.solution.converged


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mdp", "options", "message"),
    [
        (chain(3), {"tolerance": 0.0}, "tolerance 0"),
        (chain(3), {"max_iterations": 0}, "max_iterations 0"),
        (FROZEN_LAKE, {"tolerance": 1e-18}, "below what rounding allows"),
        (TabularMDP.from_transitions([[[(1.0, 0, 0.0, True)], [(1.0, 0, 1.0, False)]]]), {}, "collected for ever"),
        (TabularMDP.from_transitions([[[(1.0, 0, 1.0, True)]], [[(1.0, 1, -1.0, False)]]]), {}, "state 1 no action"),
        (
            TabularMDP.from_transitions(
                [[[(1.0, 1, 1.0, False)], [(1.0, 0, 0.0, True)]], [[(1.0, 0, -1.0, False)], [(1.0, 0, -1.0, False)]]]
            ),
            {},
            "from state 0 positive rewards can be collected for ever: undiscounted, the optimum may be infinite",
        ),
    ],
)
def test_what_has_no_answer_is_refused(mdp: TabularMDP, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        interval_iteration(mdp, **options)
