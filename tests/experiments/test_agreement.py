"""Visited states, and the shares in which actions are optimal."""

from __future__ import annotations

import numpy as np
import pytest

from rlkit.envs import GridWorld
from rlkit.experiments.studies.agreement import run as study
from rlkit.experiments.studies.agreement.states import after_random_action, agreement, occupancy
from rlkit.planning import solve

CORRIDOR = GridWorld(["S..G"], max_steps=10).mdp
LEFT, RIGHT = 0, 2  # of the four moves: left, down, right, up


def moves_right(mdp):
    return np.full(mdp.num_states, RIGHT)


def test_a_policy_visits_what_its_episodes_visit() -> None:
    lake = GridWorld("frozenlake-4x4", max_steps=6)
    policy = solve(lake.mdp, 0.9).policy
    mdp, visits = lake.mdp, np.zeros(lake.mdp.num_states)
    where = {state: float(p) for state, p in enumerate(mdp.start) if p}
    for _ in range(6):
        later: dict[int, float] = {}
        for state, chance in where.items():
            visits[state] += chance
            pairs = zip(mdp.arrival[state, policy[state]], mdp.probability[state, policy[state]], strict=True)
            for arrival, probability in pairs:
                if arrival < mdp.num_states:  # the episode goes on
                    later[int(arrival)] = later.get(int(arrival), 0.0) + chance * float(probability)
        where = later
    np.testing.assert_allclose(occupancy(mdp, policy), visits, atol=1e-12)
    assert visits.sum(axis=0) > 3.0


def test_shares_of_a_corridor_by_hand() -> None:
    """Optimal is right. A policy that is wrong in the second tile never leaves the first two."""
    solution = solve(CORRIDOR, 0.9)
    right = moves_right(CORRIDOR)
    assert agreement(CORRIDOR, right, solution.optimal_actions) == (1.0, 1.0, 1.0)
    visits = occupancy(CORRIDOR, right)
    np.testing.assert_array_equal(np.sort(visits)[-3:], 1.0)
    first, second, third = np.flatnonzero(visits)
    wrong = right.copy()
    wrong[second] = LEFT
    shares = agreement(CORRIDOR, wrong, solution.optimal_actions)
    assert shares.visited == 0.5  # five steps in each of two tiles
    assert shares.everywhere == pytest.approx(2 / 3)
    after = after_random_action(CORRIDOR, visits)  # a quarter to the left, a quarter to the right, half stays
    assert (after[first], after[second], after[third]) == (1.0, 1.0, 0.75)


def test_changed_worlds_change_the_slip_and_one_number_of_the_cart_pole() -> None:
    lake = {"map": "frozenlake-4x4"}
    mdp = GridWorld(**lake).mdp
    exact = solve(mdp, 0.99).policy
    kept, best, earned = study.returns_with_slip(lake, 2 / 3, exact[None], exact)
    assert kept == earned[0] == pytest.approx(best, abs=0.01)
    kept, best, earned = study.returns_with_slip(lake, 0.0, exact[None], exact)
    assert best == pytest.approx(1.0)
    assert kept < best
    worlds = dict(study.cartpoles())
    assert len(worlds) == 9
    assert worlds["unchanged"] == {}
    assert worlds["half_length x 0.5"] == {"half_length": 0.25}
    assert worlds["force x 2"] == {"force": 20.0}
