"""Proofs in rational arithmetic."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from finite_problems import FROZEN_LAKE, FROZEN_LAKE_8X8, chain, gammas, mdps, rational_optimum, rational_q
from hypothesis import given, settings

from rlkit.mdp import TabularMDP
from rlkit.planning import policy_iteration, proof, prove, solve

ARITHMETICS = ["fractions"] if not proof.FLINT else ["fractions", "flint"]


@pytest.fixture(params=ARITHMETICS)
def arithmetic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "fractions":
        monkeypatch.setattr(proof, "FLINT", False)
    return str(request.param)


@pytest.mark.slow
@pytest.mark.parametrize("name", ARITHMETICS)
def test_a_proof_is_the_optimum_of_rational_policy_iteration(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "fractions":
        monkeypatch.setattr(proof, "FLINT", False)

    @settings(max_examples=60, deadline=None, database=None)
    @given(mdps(differing_actions=True), gammas)
    def law(mdp: TabularMDP, gamma: float) -> None:
        result = prove(policy_iteration(mdp, gamma))
        exact = rational_optimum(mdp, gamma)
        assert list(result.value) == exact
        assert result.encloses
        assert result.arithmetic == name
        for row, kept in zip(rational_q(mdp, exact, gamma), result.optimal_actions, strict=True):
            assert kept.tolist() == [q == max(row) for q in row]

    law()


def test_frozen_lake_at_nine_tenths_is_what_thirds_make_it(arithmetic: str) -> None:
    result = prove(solve(FROZEN_LAKE, 0.9))
    assert result.holds
    assert result.encloses
    assert result.arithmetic == arithmetic
    # 1/3 and 0.9 are not float64 numbers: the proof is of the table as stored, 1e-16 away from the textbook's.
    assert abs(result.value[0] - Fraction(4348890, 63127201)) < Fraction(1, 10**15)


def test_a_wrong_policy_is_refuted_and_mended(arithmetic: str) -> None:
    right = policy_iteration(chain(5), 0.9)
    wrong = dataclasses.replace(right, policy=np.zeros(5, np.int64))
    result = prove(wrong)
    assert not result.holds
    assert result.improvements > 0
    assert result.policy.tolist() == [1] * 5
    assert result.value == tuple(Fraction(0.9) ** n for n in (4, 3, 2, 1, 0))
    assert not prove(dataclasses.replace(right, upper=right.lower - 1e-9)).encloses


def test_ties_are_told_from_near_ties(arithmetic: str) -> None:
    near = 1 + 2.0**-52
    mdp = TabularMDP.from_transitions([[[(1.0, 0, 1.0, True)], [(1.0, 0, near, True)], [(1.0, 0, near, True)]]])
    assert prove(policy_iteration(mdp, 0.5)).optimal_actions.tolist() == [[False, True, True]]


@pytest.mark.slow
@pytest.mark.skipif(not proof.FLINT, reason="python-flint is not installed")
def test_rounded_thirds_break_ties_that_only_a_proof_can_see() -> None:
    solution = policy_iteration(FROZEN_LAKE_8X8, 0.99)
    result = prove(solution)
    assert result.encloses
    assert abs(float(result.value[0]) - 0.414640361799988) < 1e-14
    # Three stored thirds in another order have another sum: the policy is optimal in thirds, and not to the last bit.
    assert not result.holds
    assert solution.optimal_actions[result.optimal_actions].all()
    assert result.optimal_actions.sum() < solution.optimal_actions.sum()


def test_what_cannot_be_proved_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"gamma 1\.0: prove needs"):
        prove(policy_iteration(FROZEN_LAKE, 1.0))
    few: Any = dict.fromkeys(proof.MOST_STATES, 10)
    monkeypatch.setattr(proof, "MOST_STATES", few)
    with pytest.raises(ValueError, match=r"16 states: a proof with .* takes at most 10"):
        prove(solve(FROZEN_LAKE, 0.9))
