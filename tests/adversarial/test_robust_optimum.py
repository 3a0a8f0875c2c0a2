"""Bounds on the best robust policy: the toy of Zhang et al., brute force, policies with memory."""

import dataclasses
import itertools

import numpy as np
import pytest

from rlkit.adversarial import Budget, choices_of_distributions, observation_cells, robust_optimum, worst_case
from rlkit.envs.probes import cycle_or_stay
from rlkit.mdp import TabularMDP, garnet
from rlkit.planning import backward_induction, evaluate_finite

TOY = cycle_or_stay().mdp
ALIKE = np.ones((3, 1), np.bool_)


def game(seed, states=4, classes=3, actions=2):
    """A random problem and which classes of observations can be shown in its states."""
    rng = np.random.default_rng(seed)
    shows = rng.random((states, classes)) < 0.5
    shows[np.arange(states), rng.integers(0, classes, states)] = True
    return garnet(states, actions, 2, rng, ending=0.1), shows


def worst_of(mdp, shows, policies, horizon):
    """Exact worst cases [C] of policies [C, M, A], by choices written out here."""
    provoked = np.broadcast_to(policies[:, None], (len(policies), *shows.shape, policies.shape[-1]))
    first = np.take_along_axis(provoked, shows.argmax(axis=1)[None, :, None, None], axis=2)[:, :, 0]
    choices = choices_of_distributions(first, provoked, np.broadcast_to(shows, provoked.shape[:3]))
    return worst_case(mdp, choices, horizon=horizon).at_start()[0]


class TestToyOfZhang:
    @pytest.mark.slow
    def test_from_a_uniform_start_always_staying_is_best(self):
        """Any policy earns 2/3 a step at most, because nothing tells the three states apart."""
        found = robust_optimum(TOY, ALIKE, horizon=50, gamma=0.99, trials=20)
        total = (1 - 0.99**50) / 0.01
        assert found.exact
        assert found.lower == pytest.approx(2 / 3 * total)
        assert found.upper == pytest.approx(2 / 3 * total)
        assert found.policy.tolist() == [[1.0, 0.0]]
        assert found.optimum == pytest.approx(total)

    @pytest.mark.slow
    def test_from_the_first_state_chance_helps_and_memory_more(self):
        start = dataclasses.replace(TOY, start=[1.0, 0.0, 0.0])
        found = robust_optimum(start, ALIKE, horizon=30, gamma=0.99, trials=80)
        shares = np.linspace(0, 1, 1001)  # of staying; with one class the adversary has no choice
        policies = np.stack([shares, 1 - shares], axis=1)[:, None].repeat(3, axis=1)
        every = evaluate_finite(start, policies, 30, 0.99)[:, 0, 0]
        assert found.deterministic_upper == pytest.approx(max(every[0], every[-1]), abs=1e-6)
        assert found.stochastic_lower == pytest.approx(every.max(), rel=2e-3)
        assert found.lower > found.deterministic_upper + 1
        # who remembers counts the steps, goes once and then stays: the optimum
        assert found.upper == pytest.approx(found.optimum, abs=1e-6)
        assert not found.exact

    def test_balls_that_do_not_meet_leave_the_optimum(self):
        found = robust_optimum(TOY, observation_cells([[-1.0], [0.0], [1.0]], 0.4), horizon=20, trials=1)
        assert found.exact
        assert found.lower == pytest.approx(20)


@pytest.mark.parametrize("seed", range(6))
def test_brute_force_over_deterministic_policies(seed):
    mdp, shows = game(seed)
    found = robust_optimum(mdp, shows, horizon=5, trials=0)
    every = np.eye(2)[np.array(list(itertools.product(range(2), repeat=shows.shape[1])))]
    best = worst_of(mdp, shows, every, 5).max()
    assert found.deterministic_lower == pytest.approx(best, abs=1e-9)
    assert found.deterministic_upper == pytest.approx(best, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_no_policy_exceeds_the_upper_end(seed):
    """Random memoryless policies, and every sequence of actions that ignores what is shown: a policy with memory."""
    mdp, shows = game(seed)
    found = robust_optimum(mdp, shows, horizon=5, trials=50)
    policies = np.random.default_rng(seed).dirichlet(np.ones(2), (200, shows.shape[1]))
    assert worst_of(mdp, shows, policies, 5).max() <= found.upper
    sequences = np.array(list(itertools.product(range(2), repeat=5)))  # [32, 5]
    open_loop = np.repeat(sequences[:, :, None], mdp.num_states, axis=2)
    blind = evaluate_finite(mdp, open_loop, 5, per_step=True)[:, 0] @ mdp.start
    assert blind.max() <= found.upper
    assert found.deterministic_lower <= found.lower <= found.upper
    assert found.upper <= backward_induction(mdp, 5).value[0] @ mdp.start + 1e-6


def test_nothing_to_see_is_solved_by_the_best_sequence():
    """With one class for all states the policy with memory is open loop, and the upper end is its value."""
    for seed in range(4):
        mdp, _ = game(seed)
        found = robust_optimum(mdp, np.ones((4, 1), np.bool_), horizon=5, trials=0)
        sequences = np.repeat(np.array(list(itertools.product(range(2), repeat=5)))[:, :, None], 4, axis=2)
        best = (evaluate_finite(mdp, sequences, 5, per_step=True)[:, 0] @ mdp.start).max()
        assert found.upper == pytest.approx(max(best, found.lower), abs=1e-7)
        assert found.upper >= best - 1e-12


@pytest.mark.parametrize("limits", [{"max_nodes": 3}, {"max_beliefs": 1}, {"max_beliefs": 20}])
def test_limits_leave_bounds_that_hold(limits):
    for seed in range(4):
        mdp, shows = game(seed, classes=4)
        fine, coarse = robust_optimum(mdp, shows, horizon=5, trials=0), None
        coarse = robust_optimum(mdp, shows, horizon=5, trials=0, **limits)
        assert coarse.deterministic_lower <= fine.deterministic_lower + 1e-12
        assert coarse.deterministic_upper >= fine.deterministic_lower - 1e-12
        assert coarse.upper >= fine.upper - 1e-12


class TestObservationCells:
    def test_overlapping_intervals(self):
        cells = observation_cells([[0.0], [1.0], [2.0]], 0.6)
        assert sorted(map(tuple, cells.T.astype(int).tolist())) == [
            (0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 1, 0),
        ]  # fmt: skip

    def test_no_point_has_another_cover(self):
        rng = np.random.default_rng(0)
        places, budget = rng.random((5, 2)), Budget(0.3, scale=[1.0, 0.5], low=0.0, high=1.0)
        cells = {tuple(column) for column in observation_cells(places, budget).T.tolist()}
        points = rng.random((20_000, 2))
        near = (np.abs(points - places[:, None]) <= [0.3, 0.15]).all(axis=2)
        met = {tuple(column) for column in np.unique(near[:, near.any(axis=0)], axis=1).T.tolist()}
        assert met <= cells
        assert len(met) > 8

    def test_what_is_not_covered_is_refused(self):
        with pytest.raises(ValueError, match="the norm 'inf'"):
            observation_cells([[0.0]], Budget(0.1, "2"))
        with pytest.raises(ValueError, match="must be finite"):
            observation_cells([[np.nan]], 0.1)
        with pytest.raises(ValueError, match="too many"):
            observation_cells(np.random.default_rng(0).random((12, 4)), 0.1)


def test_bad_input_is_refused():
    mdp = garnet(13, 2, 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="at most 12"):
        robust_optimum(mdp, np.eye(13, dtype=np.bool_), horizon=3)
    with pytest.raises(ValueError, match="no step limit"):
        robust_optimum(TOY, ALIKE)
    with pytest.raises(ValueError, match="expected booleans"):
        robust_optimum(TOY, np.ones((3, 1)), horizon=3)
    with pytest.raises(ValueError, match="nothing can be shown in state 1"):
        robust_optimum(TOY, np.array([[True], [False], [True]]), horizon=3)
    partly = TabularMDP(
        TOY.successor,
        TOY.probability,
        TOY.reward,
        TOY.terminated,
        available=[[True, True], [True, False], [True, True]],
    )
    with pytest.raises(ValueError, match="different actions"):
        robust_optimum(partly, ALIKE, horizon=3)
