"""Visited states, and the shares in which actions are optimal."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rlkit.envs import CartPole, GridWorld
from rlkit.experiments.studies.agreement import lattice
from rlkit.experiments.studies.agreement import run as study
from rlkit.experiments.studies.agreement.states import after_random_action, agreement, occupancy
from rlkit.experiments.workflows.cartpole.reference import GreedyPolicy, solved
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


PHYSICS = CartPole()


class Signs:
    """Pushes towards the side to which a number leans: 1 where the weighted sum of the state is positive."""

    def __init__(self, *weights: float) -> None:
        self.weights = torch.tensor(weights)

    def act(self, obs: torch.Tensor, deterministic: bool = True) -> torch.Tensor:
        """``[S, n, 4] -> [S, n]``."""
        return (obs @ self.weights > 0).long()


BALANCER = Signs(0.1, 0.3, 3.0, 0.5)
OPPOSITE = Signs(-0.1, -0.3, -3.0, -0.5)


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch):
    reference = solved(PHYSICS, points=7, tolerance=1e-6)
    monkeypatch.setattr(lattice, "reference", lambda: reference)
    return reference


def test_actions_are_compared_where_they_matter(coarse) -> None:
    state = np.random.default_rng(1).uniform(-0.2, 0.2, (1, 200, 4))
    q = coarse.q_at(state)[0]
    matters = np.abs(q[:, 1] - q[:, 0]) >= lattice.MARGIN
    assert 20 < matters.sum(axis=0) < 180
    assert lattice.share_alike(GreedyPolicy(coarse), state) == [1.0]
    (right,), (wrong,) = (lattice.share_alike(policy, state) for policy in (BALANCER, OPPOSITE))
    assert right > 0.9
    assert right + wrong == pytest.approx(1.0)
    best = q.argmax(axis=-1)
    mistaken = np.flatnonzero(matters & (BALANCER.act(torch.as_tensor(state).float())[0].numpy() != best))
    assert lattice.share_alike(BALANCER, state, ~np.isin(np.arange(200), mistaken)[None]) == [1.0]
    assert lattice.share_alike(BALANCER, state, np.zeros((1, 200), bool)) == [None]


def test_a_pole_is_balanced_or_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lattice, "LIMIT", 200)
    state = np.array([[[0.0, 0.0, 0.02, 0.0], [2.39, 3.0, 0.0, 0.0]]])
    assert lattice.balances(BALANCER, state).tolist() == [[True, False]]
    assert lattice.balances(OPPOSITE, state).tolist() == [[False, False]]


def test_random_actions_of_a_row_depend_on_its_seed_alone() -> None:
    state = np.random.default_rng(2).uniform(-0.02, 0.02, (2, 50, 4))
    state[:, 0, 2:] = 0.2, 3.0  # falls at once
    moved, up = lattice.after_random_actions(state, [5, 6])
    for row, seed in enumerate([5, 6]):
        alone, alone_up = lattice.after_random_actions(state[row : row + 1], [seed])
        np.testing.assert_array_equal(alone[0], moved[row])
        np.testing.assert_array_equal(alone_up[0], up[row])
    assert not up[:, 0].any()
    assert up.mean() > 0.8
    assert not np.array_equal(moved[0], lattice.after_random_actions(state[:1], [6])[0][0])
