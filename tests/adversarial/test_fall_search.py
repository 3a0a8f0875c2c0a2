"""Bounds on the fewest steps to a failure: brute force, executed sequences, floors."""

import itertools

import numpy as np
import pytest
import torch
from simulators import FALLS, GOOD, POLE, SCALE, STARTS, VICTIM, Walk, homing, pushing_to

from rlkit.adversarial import FGSM, Budget, ModuleVictim, fall_bounds, perturb, reachable_actions
from rlkit.envs import CartPole, GridWorld


def away(state):
    return np.abs(state[..., 0])


class TestWalk:
    @pytest.mark.slow
    @pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.5, 2.5, 3.5])
    def test_the_reach_decides_how_far_it_can_be_sent(self, epsilon):
        """At x the observation can change sign within epsilon: it can be sent on from every |x| <= epsilon."""
        starts = np.array([[0.0], [1.0], [3.0]])
        found = fall_bounds(Walk(), homing(), starts, epsilon, danger=away)
        expected = [[4, 3, 1] if epsilon > 3 else [8, 8, 8]]
        assert found.lower.tolist() == expected
        assert found.upper.tolist() == expected
        assert found.closed.all()
        assert (found.natural == 8).all()

    def test_a_floor_saves_nodes_and_changes_nothing(self):
        def floor(state):
            return np.maximum(4 - np.abs(state[..., 0]).astype(int), 1)

        starts = np.array([[0.0], [1.0]])
        free = fall_bounds(Walk(), homing(), starts, 3.5, danger=away)
        fast = fall_bounds(Walk(), homing(), starts, 3.5, danger=away, floor=floor)
        assert free.lower.tolist() == fast.lower.tolist() == [[4, 3]]
        assert (fast.nodes < free.nodes).all()


def test_what_is_open_counts_as_reachable_below_and_not_above(monkeypatch):
    """Verification that finds nothing but the victim's own action and excludes nothing."""

    def undecided(victim, obs, budget, max_boxes):
        found = reachable_actions(victim, obs, budget, max_boxes=max_boxes)
        own = torch.nn.functional.one_hot(victim.act(obs), 2).bool()
        return found._replace(reachable=own, excluded=torch.zeros_like(own), open=~own)

    monkeypatch.setattr("rlkit.adversarial.exact.fall_search.reachable_actions", undecided)
    found = fall_bounds(Walk(), homing(), np.array([[0.0], [1.0], [3.0]]), 0.1, danger=away)
    assert found.lower.tolist() == [[4, 3, 1]]
    assert found.upper.tolist() == [[8, 8, 8]]


class TestCartPole:
    def test_brute_force_over_all_sequences(self):
        """A budget that reaches both actions everywhere: the fewest steps of any pushes."""
        found = fall_bounds(
            POLE, pushing_to(GOOD), STARTS, Budget(30.0, scale=SCALE), danger=FALLS.danger, floor=FALLS.floor
        )
        for start, lower in zip(STARTS, found.lower[0], strict=True):
            sequences = np.array(list(itertools.product(range(2), repeat=int(lower))))
            state, fallen = np.repeat(start[None], len(sequences), axis=0), np.zeros(len(sequences), np.bool_)
            for step in range(int(lower)):
                assert not fallen.any()
                state, _, fallen = POLE.transition(state, sequences[:, step], None)
            assert fallen.any()
        assert found.closed.all()

    @pytest.mark.slow
    @pytest.mark.parametrize("epsilon", [1.5, 3.0])
    def test_the_sequence_is_executed_as_found(self, epsilon):
        budget = Budget(epsilon, scale=SCALE)
        found = fall_bounds(POLE, VICTIM, STARTS, budget, danger=FALLS.danger, floor=FALLS.floor, max_nodes=60, beam=4)
        assert (found.lower <= found.upper).all()
        assert (found.upper <= found.natural).all()
        assert (found.upper < found.natural).any() or epsilon < 3
        for row, start in np.ndindex(found.upper.shape):
            state, steps = STARTS[start][None], int(found.upper[row, start])
            for step in range(steps):
                obs, shown = torch.from_numpy(POLE.observe(state)), found.shown[row, start, step]
                assert budget.distance(obs[None], shown[None, None]).item() <= epsilon * (1 + 1e-5)
                action = ModuleVictim(VICTIM.modules[row]).act(shown[None, None])[0].numpy()
                assert action[0] == found.actions[row, start, step]
                state, _, fallen = POLE.transition(state, action, None)
                assert fallen[0] == (step == steps - 1) or (steps == POLE.max_steps)
            assert (found.actions[row, start, steps:] == -1).all()

    def test_no_attack_is_faster_than_the_lower_bound(self):
        budget = Budget(1.5, scale=SCALE)
        found = fall_bounds(
            POLE, pushing_to(GOOD), STARTS, budget, danger=FALLS.danger, floor=FALLS.floor, max_nodes=60
        )
        state, steps = STARTS.copy(), np.zeros(2, int)
        running = np.ones(2, np.bool_)
        for _ in range(25):
            obs = torch.from_numpy(POLE.observe(state))[None]
            action = pushing_to(GOOD).act(perturb(FGSM(), pushing_to(GOOD), obs, budget))[0].numpy()
            state, _, fallen = POLE.transition(state, action, None)
            steps += running
            running &= ~fallen
        assert (steps >= found.lower[0]).all()

    @pytest.mark.slow
    @pytest.mark.parametrize("limits", [{"max_nodes": 1}, {"max_nodes": 20}, {"max_boxes": 1}])
    def test_limits_leave_bounds_that_hold(self, limits):
        budget = Budget(3.0, scale=SCALE)
        settings = {"danger": FALLS.danger, "floor": FALLS.floor, "beam": 8}
        fine = fall_bounds(POLE, pushing_to(GOOD), STARTS, budget, **settings)
        coarse = fall_bounds(POLE, pushing_to(GOOD), STARTS, budget, **settings, **limits)
        assert fine.closed.all()
        assert (coarse.lower <= fine.lower).all()
        assert (coarse.upper >= fine.upper).all()

    @pytest.mark.slow
    def test_a_row_is_the_run_of_its_victim(self):
        budget = Budget(1.0, scale=SCALE)
        settings = {"danger": FALLS.danger, "floor": FALLS.floor, "max_nodes": 50, "beam": 4}
        every = fall_bounds(POLE, VICTIM, STARTS, budget, **settings)
        one = fall_bounds(POLE, ModuleVictim(VICTIM.modules[1]), STARTS, budget, **settings)
        for name in ("lower", "upper", "natural", "nodes", "actions"):
            assert np.array_equal(getattr(one, name)[0], getattr(every, name)[1]), name

    def test_no_pushes_are_faster_than_the_floor(self):
        """Constant and random pushes from 2,000 states; the floor is met by many of them."""
        rng = np.random.default_rng(0)
        first = (rng.uniform(-1, 1, (2000, 4)) * [2.4, 3, 0.2, 3]).astype(np.float32)
        fewest = np.full(len(first), 1000)
        for right in (0.0, 1.0, 0.1, 0.9, 0.3, 0.7):
            state, standing = first, np.ones(len(first), np.bool_)
            for step in range(1, 60):
                state, _, fallen = POLE.transition(state, rng.random(len(first)) < right, None)
                fewest = np.where(standing & fallen, np.minimum(fewest, step), fewest)
                standing = standing & ~fallen
        floor = FALLS.floor(first)
        assert (floor <= fewest).all()
        assert (floor >= 1).all()
        assert (floor == fewest).mean() > 0.9


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="draws random numbers"):
        fall_bounds(GridWorld("S.G", slip=0.2), homing(), np.zeros((1, 1)), 0.1, 5, danger=away)
    with pytest.raises(ValueError, match="give positive numbers"):
        fall_bounds(CartPole(max_steps=None), VICTIM, STARTS, 0.1, danger=away)
    with pytest.raises(ValueError, match="give positive numbers"):
        fall_bounds(POLE, VICTIM, STARTS, 0.1, danger=away, beam=0)
    with pytest.raises(ValueError, match="expected finite states"):
        fall_bounds(POLE, VICTIM, STARTS[0], 0.1, danger=away)
    with pytest.raises(ValueError, match="expected finite states"):
        fall_bounds(POLE, VICTIM, np.full((1, 4), np.nan), 0.1, danger=away)
