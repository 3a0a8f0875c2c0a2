"""The direction of every rounding of a certificate, in rational arithmetic: reversing one makes a test here fail."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest
from finite_problems import Rational, assert_encloses, mdps, rational_value
from hypothesis import assume, given, settings

from rlkit.mdp import TabularMDP
from rlkit.planning import bounds, interval_iteration, policy_iteration, solve
from rlkit.planning.bounds import Shifts, doubt, largest_shift, macqueen_shifts, shifted, widest
from rlkit.planning.methods import policy_iteration as howard
from rlkit.planning.operators import UNIT_ROUNDOFF, Array, Extents, extents, rounding_bound

TIGHT = 1 + 1e-12  # no bound is wider than a few roundings ask for


def rationals(values: Array) -> Rational:
    """Exactly the float64 numbers."""
    return [Fraction(float(value)) for value in values]


def test_shifted_values_are_rounded_outwards() -> None:
    rng = np.random.default_rng(0)
    value, lower, upper = rng.normal(size=500), rng.normal(), rng.normal()
    below, above = shifted(value, Shifts(lower, upper, 0.0))
    for v, low, high in zip(rationals(value), rationals(below), rationals(above), strict=True):
        assert low < v + Fraction(lower)
        assert high > v + Fraction(upper)
    np.testing.assert_allclose(below, value + lower, rtol=1e-15, atol=1e-15)
    np.testing.assert_allclose(above, value + upper, rtol=1e-15, atol=1e-15)


@pytest.mark.slow
@pytest.mark.parametrize("continuation", [(0.0, 1.0), (1 / 3, 0.9), (0.7, 0.7), (1.0, 1.0)])
@pytest.mark.parametrize("sign", [1, -1])
def test_shifts_are_rounded_outwards_whatever_the_sign_of_the_residual(
    continuation: tuple[float, float], sign: int
) -> None:
    rng = np.random.default_rng(0)
    size = Extents(3, 1.0, *continuation)
    for gamma in [0.0, *rng.uniform(0, 0.5, 400).tolist(), *rng.uniform(0.9, 0.9999, 100).tolist()]:
        value = rng.normal(size=4)
        backed_up = value + sign * rng.uniform(1, 2, 4)
        shifts = macqueen_shifts(size, value, backed_up, gamma)
        error = Fraction(rounding_bound(size, value, gamma))
        change = [new - old for new, old in zip(rationals(backed_up), rationals(value), strict=True)]
        lower = exact_shift(size, min(change) - error, gamma, above=False)
        upper = exact_shift(size, max(change) + error, gamma, above=True)
        assert Fraction(shifts.lower) <= lower
        assert Fraction(shifts.upper) >= upper
        assert abs(shifts.lower - float(lower)) <= 1e-9 * abs(lower)
        assert abs(shifts.upper - float(upper)) <= 1e-9 * abs(upper)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_quotient_of_a_shift_is_rounded_up(sign: int) -> None:
    rng = np.random.default_rng(0)
    size = Extents(3, 1.0, 1.0, 1.0)
    for gamma, residual in rng.random((2000, 2)).tolist():
        exact = Fraction(sign * residual) / (1 - Fraction(gamma))
        assert exact <= Fraction(largest_shift(size, sign * residual, gamma))


def test_residuals_are_rounded_outwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of changes that differ widely in size, where the rounding of the largest is more than the smallest."""
    asked: list[float] = []
    monkeypatch.setattr(bounds, "largest_shift", lambda size, residual, gamma: asked.append(residual) or 0.0)
    rng = np.random.default_rng(0)
    size = Extents(3, 1.0, 0.0, 1.0)
    for gamma in rng.uniform(0, 1, 500).tolist():
        value, change = rng.normal(size=(2, 4)) * 10.0 ** rng.integers(-8, 8, (2, 4))
        backed_up = value + change
        macqueen_shifts(size, value, backed_up, gamma)
        lower, upper = (Fraction(residual) for residual in asked[:2])
        asked.clear()
        error = Fraction(rounding_bound(size, value, gamma))
        exact = [new - old for new, old in zip(rationals(backed_up), rationals(value), strict=True)]
        few_roundings = 8 * Fraction(UNIT_ROUNDOFF) * max(map(abs, exact)) + error * Fraction(TIGHT - 1)
        assert 0 <= lower - (error - min(exact)) <= few_roundings
        assert 0 <= upper - (error + max(exact)) <= few_roundings


def exact_shift(size: Extents, residual: Fraction, gamma: float, above: bool) -> Fraction:
    """The largest (``above``) or least ``residual / (1 - gamma m)`` over the probabilities m of going on."""
    quotients = [
        residual / (1 - Fraction(gamma) * Fraction(m)) for m in (size.continuation_low, size.continuation_high)
    ]
    return max(quotients) if above else min(quotients)


def test_a_width_is_rounded_up() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        lower = rng.normal(size=3)
        upper = lower + rng.random(3)
        exact = max(high - low for low, high in zip(rationals(lower), rationals(upper), strict=True))
        assert exact < Fraction(widest(lower, upper)) <= exact * Fraction(TIGHT)


def test_doubt_is_rounded_up() -> None:
    rng = np.random.default_rng(0)
    size = Extents(3, 1.0, 1 / 3, 0.9)
    for gamma in rng.uniform(0, 1, 200).tolist():
        value = rng.normal(size=3)
        lower, upper = value - rng.random(3), value + rng.random(3)
        v, low, high = rationals(value), rationals(lower), rationals(upper)
        apart = max(a - b for a, b in zip(v, low, strict=True)) + max(a - b for a, b in zip(high, v, strict=True))
        exact = Fraction(gamma) * Fraction(0.9) * apart + 2 * Fraction(rounding_bound(size, value, gamma))
        assert exact <= Fraction(doubt(size, value, lower, upper, gamma)) <= exact * Fraction(TIGHT)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(mdps(differing_actions=True))
def test_extents_are_rounded_to_their_safe_sides(mdp: TabularMDP) -> None:
    size = extents(mdp)
    rows = [row for actions in mdp.to_gymnasium().values() for row in actions.values() if row is not None]
    going_on = [sum((Fraction(p) for p, _, _, ends in row if not ends), Fraction(0)) for row in rows]
    paid = [sum((Fraction(p) * abs(Fraction(reward)) for p, _, reward, _ in row), Fraction(0)) for row in rows]
    assert Fraction(size.continuation_low) <= min(going_on)
    assert Fraction(size.continuation_high) >= max(going_on)
    assert Fraction(size.reward) >= max(paid)
    assert size.reward <= float(max(paid)) * TIGHT


def test_rows_that_sum_to_less_than_they_seem_to_are_seen_through() -> None:
    tenths = TabularMDP.from_transitions([[[(0.1, 0, float(k), False) for k in range(10)]]])
    exact = 10 * Fraction(0.1)
    size = extents(tenths)
    assert Fraction(float(tenths.probability.sum(axis=2)[0, 0])) != exact
    assert Fraction(size.continuation_low) <= exact <= Fraction(size.continuation_high)


def test_the_lower_bound_of_policy_iteration_is_rounded_down(monkeypatch: pytest.MonkeyPatch) -> None:
    rich = TabularMDP.from_transitions([[[(1.0, 0, 100.0, True)]]])
    rng = np.random.default_rng(0)
    for value, error in rng.random((100, 2)).tolist():
        monkeypatch.setattr(howard, "value_and_error", lambda *_, v=value, e=error: (np.array([v]), e))
        assert Fraction(float(howard.policy_iteration(rich, 0.5).lower[0])) < Fraction(value) - Fraction(error)


def test_outcomes_of_probability_zero_loosen_no_bound() -> None:
    rng = np.random.default_rng(0)
    shape = (4, 2, 3)
    successor, reward = rng.integers(0, 4, shape), rng.normal(size=shape)
    probability, ends = rng.dirichlet(np.ones(3), shape[:2]), np.zeros(shape, bool)
    narrow = TabularMDP(successor, probability, reward, ends)
    more = ((0, 0), (0, 0), (0, 40))
    wide = TabularMDP(*(np.pad(array, more) for array in (successor, probability, reward, ends)))
    assert extents(wide) == extents(narrow)
    smallest = []
    for mdp in (narrow, wide):
        with pytest.raises(ValueError, match=r"the smallest that .* is") as refused:
            solve(mdp, 0.9, 1e-18, "value iteration")
        smallest.append(float(str(refused.value).rsplit(" ", 1)[1]))
    assert smallest[0] == smallest[1]
    for mdp in (narrow, wide):
        assert policy_iteration(mdp, 0.9).width == policy_iteration(narrow, 0.9).width


def test_a_padded_map_like_table_counts_its_own_outcomes() -> None:
    rows = [[[(1.0, 0, 1.0, False)]], [[(0.5, 0, 0.0, False), (0.25, 1, 0.0, False), (0.25, 1, 2.0, True)]]]
    assert extents(TabularMDP.from_transitions(rows)).outcomes == 3
    assert extents(TabularMDP.from_transitions(rows[:1])).outcomes == 1


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(mdps(always_may_end=True, differing_actions=True))
def test_undiscounted_bounds_enclose_the_optimum_at_the_smallest_tolerance(mdp: TabularMDP) -> None:
    assume(mdp.num_actions**mdp.num_states <= 16)
    best = undiscounted_optimum(mdp)
    tolerance = 1e-18
    try:
        solution = interval_iteration(mdp, tolerance)
    except ValueError as refused:
        found = re.search(r"below what rounding allows: .* is ([\d.e-]+)$", str(refused))
        assert found is not None
        tolerance = float(found[1])
        solution = interval_iteration(mdp, tolerance)
    assert solution.width <= tolerance < 1e-9
    assert_encloses(solution.lower, solution.upper, best)


def undiscounted_optimum(mdp: TabularMDP) -> Rational:
    """The best total reward of every state over all policies, without rounding."""
    policies = np.stack(np.meshgrid(*(np.flatnonzero(row) for row in mdp.available)), axis=-1).reshape(
        -1, mdp.num_states
    )
    values = [rational_value(mdp, np.eye(mdp.num_actions)[policy], 1.0) for policy in policies]
    return [max(own) for own in zip(*values, strict=True)]
