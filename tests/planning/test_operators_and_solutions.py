"""Exact solutions, held to rational arithmetic, brute force, linear programming and published values."""

from __future__ import annotations

import itertools
import pickle
import tracemalloc
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from counts import repeats
from finite_problems import (
    CLIFF,
    FROZEN_LAKE,
    FROZEN_LAKE_8X8,
    TAXI,
    Array,
    Rational,
    assert_certified,
    assert_encloses,
    chain,
    gammas,
    mdps,
    rational_optimum,
    rational_q,
    rational_value,
    russell_norvig,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from rlkit.mdp import TabularMDP
from rlkit.planning import (
    NotConverged,
    backward_induction,
    bellman,
    bellman_q,
    evaluate,
    evaluate_finite,
    greedy,
    policy_iteration,
    q_backup,
    q_error,
    regret,
    solve,
    start_value,
    state_regret,
    suboptimal_probability,
    value_iteration,
)
from rlkit.planning.bounds import macqueen_shifts, shifted
from rlkit.planning.operators import extents, rounding_bound

# Oracles: the same problem in rational arithmetic, exactly as its float64 table states it.


def kinds(mdp: TabularMDP) -> set[str]:
    """What a drawn problem has."""
    happens = mdp.probability > 0
    entered = {int(s) for s in np.unique(mdp.successor[happens & ~mdp.terminated])}
    twice = any(
        len(set(successor[p > 0])) < np.count_nonzero(p)
        for successor, p in zip(
            mdp.successor.reshape(-1, mdp.num_successors), mdp.probability.reshape(-1, mdp.num_successors), strict=True
        )
    )
    found = {
        "one state": mdp.num_states == 1,
        "a state that nothing leads to": len(entered) < mdp.num_states,
        "duplicate successors": twice,
        "no reward at all": not (mdp.reward * happens).any(),
        "a negative reward": bool((mdp.reward * happens < 0).any()),
        "a tie": bool((policy_iteration(mdp, 0.9).optimal_actions.sum(axis=1) > 1).any()),
        "no ending": not (mdp.terminated & happens).any(),
        "an ending by chance": bool((mdp.terminated & happens & (mdp.probability < 1)).any()),
    }
    return {kind for kind, there in found.items() if there}


@pytest.mark.slow
def test_every_kind_of_problem_is_drawn_often() -> None:
    drawn: Counter[str] = Counter()

    @settings(max_examples=300, deadline=None, database=None)
    @given(mdps(), gammas)
    def draw(mdp: TabularMDP, gamma: float) -> None:
        drawn.update(kinds(mdp) | {f"gamma {gamma}"})

    draw()
    assert min(drawn.values()) >= 15, drawn
    assert len(drawn) == 8 + 5


# Known values.


@pytest.mark.parametrize(
    ("gamma", "known"), [(0.9, 4348890 / 63127201), (0.95, 0.1804715783972), (0.99, 0.5420259320005)]
)
def test_frozen_lake_4x4(gamma: float, known: float) -> None:
    # By rational policy iteration on thirds; at gamma 0.9 that is the fraction above, 0.06889090488900.
    solution = solve(FROZEN_LAKE, gamma, tolerance=1e-11)
    assert solution.value[0] == pytest.approx(known, abs=1e-11)
    assert policy_iteration(FROZEN_LAKE, gamma).value[0] == pytest.approx(known, abs=1e-12)


def test_frozen_lake_8x8() -> None:
    assert value_iteration(FROZEN_LAKE_8X8, 0.99, 1e-12).value[0] == pytest.approx(0.414640361799988, abs=1e-12)
    assert policy_iteration(FROZEN_LAKE_8X8, 0.99).value[0] == pytest.approx(0.414640361799988, abs=1e-13)


def test_frozen_lake_without_discount_or_limit_is_won_14_times_in_17() -> None:
    solution = policy_iteration(FROZEN_LAKE, 1.0)
    assert solution.value[0] == pytest.approx(14 / 17, abs=1e-13)
    assert solution.lower[0] <= 14 / 17
    assert np.isinf(solution.upper).all()
    assert evaluate(FROZEN_LAKE, solution.policy, 1.0)[0] == pytest.approx(14 / 17, abs=1e-13)


def test_the_discounted_optimum_is_not_the_best_policy_under_a_step_limit() -> None:
    best = backward_induction(FROZEN_LAKE)
    assert best.horizon == 100
    assert start_value(FROZEN_LAKE, best.value[0]) == pytest.approx(0.7441902879, abs=1e-10)
    discounted = value_iteration(FROZEN_LAKE, 0.99).policy
    limited = start_value(FROZEN_LAKE, evaluate_finite(FROZEN_LAKE, discounted)[0])
    assert limited == pytest.approx(0.7402, abs=5e-5)
    assert regret(FROZEN_LAKE, discounted, best) == pytest.approx(0.7441902879 - limited, abs=1e-10)


def test_russell_and_norvig_4x3() -> None:
    solution = policy_iteration(russell_norvig(), 1.0)
    printed = [0.812, 0.868, 0.918, 1.0, 0.762, 0.660, -1.0, 0.705, 0.655, 0.611, 0.388]
    np.testing.assert_allclose(solution.value, printed, atol=6e-4)


def test_cliff_costs_13() -> None:
    assert start_value(CLIFF, policy_iteration(CLIFF, 1.0).value) == -13.0
    assert start_value(CLIFF, backward_induction(CLIFF, horizon=20).value[0]) == -13.0
    assert start_value(CLIFF, backward_induction(CLIFF, horizon=12).value[0]) == -12.0


def test_taxi_agrees_across_methods() -> None:
    by_values, by_policies = value_iteration(TAXI, 0.99), policy_iteration(TAXI, 0.99)
    np.testing.assert_allclose(by_values.value, by_policies.value, atol=1e-9)
    # Standing at the destination with the passenger aboard, one drop-off earns 20.
    assert by_policies.value[16] == pytest.approx(20.0, abs=1e-11)


# Bounds.


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(mdps(), gammas, st.data())
def test_bounds_of_any_value_function_enclose_the_optimum(mdp: TabularMDP, gamma: float, data: st.DataObject) -> None:
    entries = st.one_of(st.just(0.0), st.floats(-1e6, 1e6), st.floats(-1e-3, 1e-3))
    value = np.array(data.draw(st.lists(entries, min_size=mdp.num_states, max_size=mdp.num_states)))
    exact = rational_optimum(mdp, gamma)
    if data.draw(st.booleans()):
        value = np.array([float(x) for x in exact])  # so near that rounding is all there is
    shifts = macqueen_shifts(extents(mdp), value, bellman(mdp, value, gamma), gamma)
    assert_encloses(*shifted(value, shifts), exact)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(mdps(), st.sampled_from([0.0, 0.5, 0.9]))
def test_value_iteration_encloses_the_optimum(mdp: TabularMDP, gamma: float) -> None:
    solution = value_iteration(mdp, gamma)
    exact = rational_optimum(mdp, gamma)
    assert_encloses(solution.lower, solution.upper, exact)
    assert_encloses(solution.lower, solution.upper, [Fraction(float(v)) for v in solution.value])
    assert solution.converged
    assert solution.width <= 1e-9
    assert_certified(mdp, solution, exact)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(mdps(differing_actions=True), gammas)
def test_policy_iteration_encloses_the_optimum(mdp: TabularMDP, gamma: float) -> None:
    solution = policy_iteration(mdp, gamma)
    exact = rational_optimum(mdp, gamma)
    assert_encloses(solution.lower, solution.upper, exact)
    assert solution.width <= 1e-12 / (1 - gamma) ** 2
    assert_certified(mdp, solution, exact)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(mdps(), gammas, st.integers(1, 30))
def test_unfinished_iteration_raises_with_bounds_that_enclose(mdp: TabularMDP, gamma: float, iterations: int) -> None:
    try:
        solution = value_iteration(mdp, gamma, 1e-3, max_iterations=iterations)
    except NotConverged as stopped:
        solution = stopped.solution
        assert solution.iterations == iterations
        assert solution.width > 1e-3
        assert not solution.converged
    exact = rational_optimum(mdp, gamma)
    assert_encloses(solution.lower, solution.upper, exact)
    assert_certified(mdp, solution, exact)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(mdps(), gammas, st.data())
def test_a_computed_backup_is_within_its_rounding_bound(mdp: TabularMDP, gamma: float, data: st.DataObject) -> None:
    value = np.array(data.draw(st.lists(st.floats(-1e9, 1e9), min_size=mdp.num_states, max_size=mdp.num_states)))
    computed, bound = q_backup(mdp, value, gamma), rounding_bound(extents(mdp), value, gamma)
    exact = rational_q(mdp, [Fraction(float(v)) for v in value], gamma)
    for row, exact_row in zip(computed, exact, strict=True):
        for entry, exact_entry in zip(row, exact_row, strict=True):
            assert abs(Fraction(float(entry)) - exact_entry) <= Fraction(bound)


def test_a_constant_shift_of_the_optimum_is_seen_through_where_no_episode_ends() -> None:
    rng = np.random.default_rng(1)
    weights = rng.integers(1, 8, (6, 3, 4))
    probability = weights / weights.sum(axis=2, keepdims=True)
    mdp = TabularMDP(rng.integers(0, 6, (6, 3, 4)), probability, rng.random((6, 3, 4)), np.zeros((6, 3, 4), bool))
    optimum = policy_iteration(mdp, 0.9).value
    for shift in (5.0, -5.0):
        value = optimum + shift
        shifts = macqueen_shifts(extents(mdp), value, bellman(mdp, value, 0.9), 0.9)
        assert shifts.lower == pytest.approx(-shift, abs=1e-11)
        assert shifts.upper == pytest.approx(-shift, abs=1e-11)


@pytest.mark.parametrize("excess", [5e-10, -5e-10])
def test_row_sums_other_than_one_are_taken_as_they_are(excess: float) -> None:
    rows = np.full((1, 1, 1), 1 + excess)
    mdp = TabularMDP(np.zeros((1, 1, 1), int), rows, np.ones((1, 1, 1)), np.zeros((1, 1, 1), bool))
    exact = rational_optimum(mdp, 0.999)
    assert abs(exact[0] - 1000) > Fraction("1e-4")
    for solution in (value_iteration(mdp, 0.999, tolerance=1e-7), policy_iteration(mdp, 0.999)):
        assert_encloses(solution.lower, solution.upper, exact)


@pytest.mark.slow
def test_the_smallest_tolerance_named_can_be_certified() -> None:
    with pytest.raises(ValueError, match=r"below what rounding allows .* is (\d\.\de-1\d)") as refused:
        value_iteration(FROZEN_LAKE, 0.99, tolerance=1e-15)
    smallest = float(str(refused.value).rsplit(" ", 1)[1])
    assert 1e-14 < smallest < 1e-12
    assert value_iteration(FROZEN_LAKE, 0.99, tolerance=smallest).width <= smallest


def test_a_problem_without_rewards_is_zero() -> None:
    solution = value_iteration(TabularMDP.from_transitions([[[(1.0, 0, 0.0, False)]]]), 0.999)
    assert solution.value[0] == pytest.approx(0.0, abs=1e-300)
    assert solution.iterations == 1


@pytest.mark.slow
@settings(max_examples=repeats(2000, 200), deadline=None)
@given(mdps(differing_actions=True), gammas)
def test_many_problems_are_enclosed(mdp: TabularMDP, gamma: float) -> None:
    exact = rational_optimum(mdp, gamma)
    solution = policy_iteration(mdp, gamma)
    assert_encloses(solution.lower, solution.upper, exact)
    assert_certified(mdp, solution, exact)


# Operators.


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(mdps(), gammas, st.integers(0, 2**32 - 1))
def test_the_backup_on_q_contracts_by_gamma(mdp: TabularMDP, gamma: float, seed: int) -> None:
    first, second = np.random.default_rng(seed).normal(size=(2, mdp.num_states, mdp.num_actions))
    before = np.abs(first - second).max(axis=(0, 1))
    after = np.abs(bellman_q(mdp, first, gamma) - bellman_q(mdp, second, gamma)).max(axis=(0, 1))
    assert after <= gamma * before + 1e-13


def test_the_backup_on_q_and_on_v_have_one_limit() -> None:
    q, value = np.zeros((16, 4)), np.zeros(16)
    for _ in range(300):
        np.testing.assert_array_equal(q.max(axis=1), value)
        q, value = bellman_q(FROZEN_LAKE, q, 0.9), bellman(FROZEN_LAKE, value, 0.9)
    np.testing.assert_allclose(q, policy_iteration(FROZEN_LAKE, 0.9).q, atol=1e-13)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(mdps(), gammas)
def test_a_backup_of_many_values_is_each_ones_backup(mdp: TabularMDP, gamma: float) -> None:
    values = np.random.default_rng(0).normal(size=(2, 3, mdp.num_states))
    together = q_backup(mdp, values, gamma)
    assert together.shape == (2, 3, mdp.num_states, mdp.num_actions)
    for index in np.ndindex(2, 3):
        np.testing.assert_array_equal(together[index], q_backup(mdp, values[index], gamma))


def test_what_follows_a_terminated_transition_is_never_read() -> None:
    mdp = TabularMDP.from_transitions([[[(0.5, 0, 1.0, False), (0.5, 1, 3.0, True)]], [[(1.0, 1, 0.0, True)]]])
    np.testing.assert_array_equal(q_backup(mdp, np.array([10.0, np.nan]), 0.5), [[4.5], [0.0]])


def test_termination_belongs_to_the_transition() -> None:
    # State 1 pays 8 when left; entering it ends the episode by action 0 and not by action 1.
    mdp = TabularMDP.from_transitions(
        [[[(1.0, 1, 1.0, True)], [(1.0, 1, 1.0, False)]], [[(1.0, 1, 8.0, True)], [(1.0, 1, 8.0, True)]]]
    )
    np.testing.assert_array_equal(policy_iteration(mdp, 0.5).q, [[1.0, 5.0], [8.0, 8.0]])


def test_greedy_takes_the_lowest_of_equals() -> None:
    assert greedy(np.array([[1.0, 1.0], [0.0, 2.0]])).tolist() == [0, 1]


# Evaluation of a given policy.


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(mdps(), gammas, st.integers(0, 2**32 - 1))
def test_evaluation_equals_rational_elimination(mdp: TabularMDP, gamma: float, seed: int) -> None:
    policy = np.random.default_rng(seed).dirichlet(np.full(mdp.num_actions, 0.5), size=mdp.num_states)
    exact = [float(v) for v in rational_value(mdp, policy, gamma)]
    np.testing.assert_allclose(evaluate(mdp, policy, gamma), exact, rtol=0, atol=1e-13 / (1 - gamma) ** 2)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(mdps(always_may_end=True), st.integers(0, 2**32 - 1))
def test_undiscounted_evaluation_equals_rational_elimination(mdp: TabularMDP, seed: int) -> None:
    policy = np.random.default_rng(seed).integers(0, mdp.num_actions, size=mdp.num_states)
    exact = [float(v) for v in rational_value(mdp, np.eye(mdp.num_actions)[policy], 1.0)]
    np.testing.assert_allclose(evaluate(mdp, policy, 1.0), exact, rtol=1e-11, atol=1e-11)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(mdps(always_may_end=True))
def test_undiscounted_policy_iteration_finds_the_best_of_all_policies(mdp: TabularMDP) -> None:
    assume(mdp.num_actions**mdp.num_states <= 16)
    choices = itertools.product(range(mdp.num_actions), repeat=mdp.num_states)
    best = np.max([evaluate(mdp, np.array(policy), 1.0) for policy in choices], axis=0)
    np.testing.assert_allclose(policy_iteration(mdp, 1.0).value, best, rtol=1e-11, atol=1e-11)


def test_many_policies_at_once_are_each_evaluated() -> None:
    rng = np.random.default_rng(0)
    actions = rng.integers(0, 4, size=(3, 16))
    probabilities = rng.dirichlet(np.ones(4), size=(2, 3, 16))
    for policies, axes in ((actions, 1), (probabilities, 2)):
        leading = policies.shape[:-axes]
        values = evaluate(FROZEN_LAKE, policies, 0.9)
        limited = evaluate_finite(FROZEN_LAKE, policies, horizon=7)
        assert values.shape == (*leading, 16)
        assert limited.shape == (*leading, 8, 16)
        for index in np.ndindex(leading):
            np.testing.assert_array_equal(values[index], evaluate(FROZEN_LAKE, policies[index], 0.9))
            np.testing.assert_array_equal(limited[index], evaluate_finite(FROZEN_LAKE, policies[index], horizon=7))


def test_actions_and_their_indicator_probabilities_have_one_value() -> None:
    policy = np.random.default_rng(0).integers(0, 4, size=16)
    np.testing.assert_allclose(
        evaluate(FROZEN_LAKE, policy, 0.95),
        evaluate(FROZEN_LAKE, np.eye(4, dtype=np.float32)[policy], 0.95),
        atol=1e-15,
    )


def test_a_longer_limit_approaches_the_unlimited_value() -> None:
    uniform = np.full((16, 4), 0.25)
    limited = evaluate_finite(FROZEN_LAKE, uniform, horizon=500)
    np.testing.assert_array_equal(limited[500], np.zeros(16))
    np.testing.assert_allclose(limited[0], evaluate(FROZEN_LAKE, uniform, 1.0), atol=1e-8)


def test_a_policy_that_waits_for_ever_without_reward_is_worth_nothing() -> None:
    np.testing.assert_array_equal(evaluate(chain(3), np.array([0, 1, 1]), 1.0), [0.0, 1.0, 1.0])


def test_a_policy_that_collects_for_ever_has_no_undiscounted_value() -> None:
    mdp = TabularMDP.from_transitions([[[(1.0, 0, 0.0, True)]], [[(1.0, 2, -1.0, False)]], [[(1.0, 1, 0.0, False)]]])
    with pytest.raises(ValueError, match="from state 1 the policy never ends and keeps collecting rewards"):
        evaluate(mdp, np.zeros(3, np.int64), 1.0)


# The step limit.


def best_by_enumeration(mdp: TabularMDP, horizon: int) -> Rational:
    """The best value of every state over all policies per step, without rounding."""
    best = [Fraction(-(10**9))] * mdp.num_states
    choices = itertools.product(*(np.flatnonzero(row) for row in mdp.available))
    for plan in itertools.product(list(choices), repeat=horizon):
        value = [Fraction(0)] * mdp.num_states
        for policy in reversed(plan):
            q = rational_q(mdp, value, 1.0)
            value = [row[action] for row, action in zip(q, policy, strict=True)]
        best = [max(pair) for pair in zip(best, value, strict=True)]
    return best


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(mdps(differing_actions=True), st.integers(1, 3))
def test_backward_induction_is_the_best_of_all_plans(mdp: TabularMDP, horizon: int) -> None:
    assume(mdp.num_actions ** (mdp.num_states * horizon) <= 64)
    solution = backward_induction(mdp, horizon)
    for computed, exact in zip(solution.value[0], best_by_enumeration(mdp, horizon), strict=True):
        assert abs(Fraction(float(computed)) - exact) <= Fraction(solution.error_bound)
    np.testing.assert_allclose(
        evaluate_finite(mdp, solution.policy, horizon, per_step=True), solution.value, rtol=0, atol=1e-14
    )


def test_backward_induction_reports_every_step() -> None:
    solution = backward_induction(chain(3), horizon=4)
    np.testing.assert_array_equal(solution.value, [[1, 1, 1], [1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]])
    assert solution.q.shape == (4, 3, 2)
    assert solution.policy.shape == (4, 3)
    np.testing.assert_array_equal(solution.q.max(axis=2), solution.value[:-1])


# An independent oracle.


@pytest.mark.parametrize("gamma", [0.0, 0.9, 0.99])
@pytest.mark.parametrize("mdp", [FROZEN_LAKE, russell_norvig(), CLIFF], ids=["frozen lake", "4x3", "cliff"])
def test_linear_programming_agrees(mdp: TabularMDP, gamma: float) -> None:
    repeated = np.repeat(np.eye(mdp.num_states), mdp.num_actions, axis=0)
    # The least V with V(s) >= r(s, a) + gamma sum p V for every action (Puterman 1994, section 6.9).
    answer = linprog(
        np.ones(mdp.num_states),
        A_ub=gamma * mdp.continuation.toarray() - repeated,
        b_ub=-mdp.expected_reward.ravel(),
        bounds=(None, None),
    )
    least: Array = np.asarray(answer.x, dtype=np.float64)
    np.testing.assert_allclose(solve(mdp, gamma).value, least, atol=1e-6)


# Defects known of other solvers.


def test_ties_do_not_cycle() -> None:
    # Three actions are one distribution listed in three orders: their q differ by rounding alone.
    rng = np.random.default_rng(3)
    weights = rng.random((30, 1, 6))
    probability = weights / weights.sum(axis=2, keepdims=True)
    successor, reward = rng.integers(0, 30, (30, 1, 6)), rng.normal(size=(30, 1, 6))
    orders = [rng.permutation(6) for _ in range(3)]
    listed = [np.concatenate([x[:, :, order] for order in orders], axis=1) for x in (successor, probability, reward)]
    mdp = TabularMDP(listed[0], listed[1], listed[2], np.zeros((30, 3, 6), bool))
    for gamma in (0.9, 0.99, 0.9999):
        solution = policy_iteration(mdp, gamma)
        assert solution.iterations == 1
        assert solution.optimal_actions.all()


def test_ties_end_on_problems_full_of_them() -> None:
    assert policy_iteration(chain(50), 0.999).value[0] == pytest.approx(0.999**49, abs=1e-12)
    assert policy_iteration(FROZEN_LAKE_8X8, 1.0).value[0] == pytest.approx(1.0, abs=1e-12)


def test_the_iteration_limit_is_never_silent() -> None:
    with pytest.raises(NotConverged, match=r"apart after 250 backups, more than the tolerance 1e-09") as stopped:
        value_iteration(FROZEN_LAKE, 0.99, max_iterations=250)
    partial = stopped.value.solution
    assert not partial.converged
    assert (partial.lower <= policy_iteration(FROZEN_LAKE, 0.99).value).all()
    again = pickle.loads(pickle.dumps(stopped.value))
    np.testing.assert_array_equal(again.solution.value, partial.value)
    assert str(again) == str(stopped.value)


def test_the_stopping_rule_bounds_the_largest_error_however_slowly_the_chain_mixes() -> None:
    mdp = chain(200)  # nothing moves for 199 backups: a rule on the last change alone stops at once
    solution = value_iteration(mdp, 0.99, tolerance=1e-6)
    np.testing.assert_allclose(solution.value, 0.99 ** np.arange(199, -1, -1), rtol=0, atol=1e-6)


def test_duplicate_successors_are_kept() -> None:
    twice = [(0.25, 1, 1.0, False), (0.25, 1, 1.0, False), (0.5, 0, 0.0, True)]
    end = [(1.0, 1, 4.0, True)]
    listed = TabularMDP.from_transitions([[twice], [end]])
    padded = TabularMDP(
        np.array([[[1, 1, 0]], [[1, 0, 0]]]),
        np.array([[[0.25, 0.25, 0.5]], [[1.0, 0.0, 0.0]]]),
        np.array([[[1.0, 1.0, 0.0]], [[4.0, 0.0, 0.0]]]),
        np.array([[[False, False, True]], [[True, False, False]]]),
    )
    for mdp in (listed, padded):
        np.testing.assert_array_equal(policy_iteration(mdp, 0.5).value, [1.5, 4.0])
        np.testing.assert_allclose(value_iteration(mdp, 0.5).value, [1.5, 4.0], rtol=0, atol=1e-9)


@pytest.mark.slow
def test_no_matrix_becomes_dense() -> None:
    mdp = chain(20_000)  # N x N in float64 would be 3.2 GB
    tracemalloc.start()
    value_iteration(mdp, 0.5)
    evaluate(mdp, np.ones(20_000, np.int64), 0.9)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32e6


def test_rows_that_sum_to_a_half_are_refused() -> None:
    with pytest.raises(ValueError, match=r"probabilities of state 0, action 0 sum to 0\.5, not 1"):
        TabularMDP.from_transitions([[[(0.5, 0, 1.0, False)]]])


@pytest.mark.slow
def test_no_sweep_is_stored() -> None:
    mdp = chain(2000)
    value_iteration(mdp, 0.9, 1e-3, max_iterations=None)
    tracemalloc.start()
    solution = value_iteration(mdp, 0.995, 1e-9)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert solution.iterations >= 2000  # together they would be 32 MB
    assert peak < 2e6


# Judging.


def test_q_error_of_one_and_of_many() -> None:
    solution = policy_iteration(FROZEN_LAKE, 0.9)
    off = np.zeros((3, 16, 4))
    off[1, 5, 2], off[2, 0, 3], off[2, 7, 1] = 0.25, -0.5, 2.0
    np.testing.assert_allclose(q_error(solution.q + off, solution), [0.0, 0.25, 2.0], atol=1e-15)
    np.testing.assert_allclose(q_error(solution.q + off, solution, FROZEN_LAKE.start), [0.0, 0.0, 0.5], atol=1e-15)
    assert q_error(solution.q, solution) == 0.0


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(mdps(), st.sampled_from([0.5, 0.9]), st.integers(0, 2**32 - 1))
def test_q_error_bounds_what_the_greedy_policy_loses(mdp: TabularMDP, gamma: float, seed: int) -> None:
    solution = policy_iteration(mdp, gamma)
    q = solution.q + np.random.default_rng(seed).uniform(-1, 1, size=solution.q.shape)
    lost = solution.value - evaluate(mdp, greedy(q), gamma)
    assert (lost <= 2 * q_error(q, solution) / (1 - gamma) + 1e-9).all()


def test_regret_is_zero_for_the_optimum_and_positive_otherwise() -> None:
    discounted, limited = policy_iteration(FROZEN_LAKE, 0.99), backward_induction(FROZEN_LAKE)
    policies = np.stack([discounted.policy, np.zeros(16, np.int64)])
    lost = regret(FROZEN_LAKE, policies, discounted)
    assert lost[0] == pytest.approx(0.0, abs=1e-13)
    assert lost[1] == pytest.approx(discounted.value[0] - evaluate(FROZEN_LAKE, policies[1], 0.99)[0])
    assert regret(FROZEN_LAKE, policies, limited).shape == (2,)


def test_mistakes_are_actions_that_are_not_optimal() -> None:
    solution = policy_iteration(FROZEN_LAKE, 0.99)
    policies = np.stack([solution.policy, (solution.policy + 1) % 4])
    wrong = suboptimal_probability(policies, solution)
    assert wrong.shape == (2, 16)
    assert not wrong[0].any()
    rows = np.arange(16)
    np.testing.assert_array_equal(wrong[1], ~solution.optimal_actions[rows, policies[1]])
    np.testing.assert_array_equal(suboptimal_probability(np.eye(4)[policies], solution), wrong)
    np.testing.assert_allclose(
        suboptimal_probability(np.full((16, 4), 0.25), solution), 1 - solution.optimal_actions.sum(1) / 4
    )
    with pytest.raises(ValueError, match="takes action 4 in state 0"):
        suboptimal_probability(np.full(16, 4), solution)


def test_regret_by_state_is_what_each_state_loses() -> None:
    discounted, limited = policy_iteration(FROZEN_LAKE, 0.99), backward_induction(FROZEN_LAKE)
    left = np.zeros((2, 16), np.int64)
    by_state = state_regret(FROZEN_LAKE, left, discounted)
    np.testing.assert_allclose(by_state[0], discounted.value - evaluate(FROZEN_LAKE, left[0], 0.99), atol=1e-15)
    for solution in (discounted, limited):
        by_state = state_regret(FROZEN_LAKE, left, solution)
        assert (by_state >= -1e-12).all()
        np.testing.assert_allclose(start_value(FROZEN_LAKE, by_state), regret(FROZEN_LAKE, left, solution), atol=1e-15)


def test_start_value_weighs_states_by_the_start() -> None:
    mdp = TabularMDP.from_transitions([[[(1.0, 0, 0.0, True)]]] * 2, start=[0.25, 0.75])
    assert start_value(mdp, [4.0, 8.0]) == 7.0
    np.testing.assert_array_equal(start_value(mdp, [[4.0, 8.0], [0.0, 4.0]]), [7.0, 3.0])


# Misuse.


@pytest.mark.parametrize("gamma", [1.0, 1.5, -0.1, float("nan"), float("inf")])
def test_a_discount_without_meaning_is_refused_and_the_right_method_named(gamma: float) -> None:
    with pytest.raises(ValueError, match=rf"gamma {gamma}: .*backward_induction .*evaluate where episodes are sure"):
        value_iteration(FROZEN_LAKE, gamma)
    if gamma != 1:
        for misuse in (
            lambda: policy_iteration(FROZEN_LAKE, gamma),
            lambda: backward_induction(FROZEN_LAKE, gamma=gamma),
            lambda: evaluate(FROZEN_LAKE, np.zeros(16, int), gamma),
            lambda: evaluate_finite(FROZEN_LAKE, np.zeros(16, int), gamma=gamma),
        ):
            with pytest.raises(ValueError, match=rf"gamma {gamma}: a discount lies between 0 and 1"):
                misuse()


def test_a_discount_in_float32_is_computed_with_in_float64() -> None:
    gamma: Any = np.float32(0.9)
    solution = value_iteration(FROZEN_LAKE, gamma)
    assert_encloses(solution.lower, solution.upper, rational_optimum(FROZEN_LAKE, float(gamma)))
    assert type(solution.gamma) is float


def test_a_discount_that_the_row_sums_undo_is_refused() -> None:
    mdp = TabularMDP(
        np.zeros((1, 1, 1), int), np.full((1, 1, 1), 1 + 9e-10), np.ones((1, 1, 1)), np.zeros((1, 1, 1), bool)
    )
    for method in (value_iteration, policy_iteration):
        with pytest.raises(ValueError, match="is not below 1: divide the rows by their sums"):
            method(mdp, 1 - 1e-10)


def test_rewards_that_would_overflow_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rewards up to 1e\+300 overflow float64"):
        value_iteration(TabularMDP.from_transitions([[[(1.0, 0, 1e300, False)]]]), 0.99)


@pytest.mark.parametrize("tolerance", [0.0, -1e-9, float("nan"), float("inf")])
def test_a_tolerance_without_meaning_is_refused(tolerance: float) -> None:
    with pytest.raises(ValueError, match=f"tolerance {tolerance}: give a positive number"):
        solve(FROZEN_LAKE, 0.9, tolerance)


def test_an_iteration_limit_without_meaning_is_refused() -> None:
    with pytest.raises(ValueError, match="max_iterations 0"):
        value_iteration(FROZEN_LAKE, 0.9, max_iterations=0)


def test_undiscounted_policy_iteration_names_the_state_without_an_end() -> None:
    stuck = TabularMDP.from_transitions([[[(1.0, 0, 0.0, True)]], [[(1.0, 1, 0.0, False)]]])
    with pytest.raises(ValueError, match="from state 1 no action sequence ends an episode"):
        policy_iteration(stuck, 1.0)
    rewarding = TabularMDP.from_transitions([[[(1.0, 0, 0.0, True)], [(1.0, 0, 1.0, False)]]])
    with pytest.raises(ValueError, match="from state 0 rewards can be collected for ever"):
        policy_iteration(rewarding, 1.0)


@pytest.mark.parametrize("horizon", [0, -1, 2.5, True])
def test_a_horizon_without_meaning_is_refused(horizon: Any) -> None:
    with pytest.raises(ValueError, match="give a positive integer"):
        backward_induction(FROZEN_LAKE, horizon)


def test_a_missing_horizon_is_refused() -> None:
    with pytest.raises(ValueError, match="no step limit: give horizon"):
        backward_induction(CLIFF)
    with pytest.raises(ValueError, match="no step limit: give horizon"):
        evaluate_finite(CLIFF, np.zeros(48, int))


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (np.zeros(15, int), r"policy of integers has shape \(15,\): actions are \[\.\.\., 16\]"),
        (np.zeros((16, 4), int), r"policy of integers has shape \(16, 4\)"),
        (np.full(16, 4), r"takes action 4 in state 0: actions lie between 0 and 3"),
        (np.full((2, 16), -1), r"takes action -1 in state 0"),
        (np.zeros(16), r"dtype float64 and shape \(16,\)"),
        (np.full((16, 4), 0.3), r"state 0 has probabilities \[0\.3 0\.3 0\.3 0\.3\]"),
        (np.full((16, 4), np.nan), r"state 0 has probabilities \[nan"),
        (np.tile([1.5, -0.5, 0.0, 0.0], (16, 1)), r"must not be negative"),
        (np.zeros((16, 4), bool), r"dtype bool"),
    ],
)
def test_what_is_no_policy_is_refused(policy: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(FROZEN_LAKE, policy, 0.9)
    with pytest.raises(ValueError, match=message):
        evaluate_finite(FROZEN_LAKE, policy)


def test_a_policy_per_step_needs_every_step() -> None:
    with pytest.raises(ValueError, match="needs a time axis of 100 steps"):
        evaluate_finite(FROZEN_LAKE, np.zeros((99, 16), int), per_step=True)
    with pytest.raises(ValueError, match="needs a time axis of 100 steps"):
        evaluate_finite(FROZEN_LAKE, np.zeros(16, int), per_step=True)


def test_shapes_that_disagree_are_refused() -> None:
    solution = solve(FROZEN_LAKE, 0.9)
    with pytest.raises(ValueError, match=r"q has shape \(16, 3\): expected \[\.\.\., 16, 4\]"):
        q_error(np.zeros((16, 3)), solution)
    with pytest.raises(ValueError, match=r"weights have shape \(4,\): expected \[16\]"):
        q_error(solution.q, solution, np.ones(4))
    with pytest.raises(ValueError, match=r"value has shape \(4,\): expected \[\.\.\., 16\]"):
        start_value(FROZEN_LAKE, np.ones(4))
