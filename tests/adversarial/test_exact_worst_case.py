"""The exact worst case against closed forms, brute force over all adversaries and timings, and rounding."""

import importlib
import itertools
from fractions import Fraction

import numpy as np
import pytest
from finite_problems import FROZEN_LAKE
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit.adversarial import Budget, TablePolicy, WorstCaseAdversary
from rlkit.adversarial.exact import (
    CLEAN,
    choices_of_actions,
    choices_of_distributions,
    choices_of_intervals,
    choices_of_neighbors,
    induced_mdp,
    known_draw,
    neighbors_within,
    worst_case,
)
from rlkit.envs import BatchedEnv, GridWorld
from rlkit.envs.probes import cycle_or_stay
from rlkit.evaluation import rollout
from rlkit.mdp import TabularMDP, garnet
from rlkit.planning import backward_induction, evaluate, evaluate_finite, solve

EVERYWHERE = np.ones((3, 3), np.bool_)


def random_policies(rng, rows, mdp):
    """Distributions [S, N, A] of random policies."""
    return rng.dirichlet(np.ones(mdp.num_actions), (rows, mdp.num_states))


def random_neighbors(rng, size, share=0.4):
    """A random matrix whose diagonal is true."""
    return (rng.random((size, size)) < share) | np.eye(size, dtype=np.bool_)


class TestToyOfZhang:
    """Zhang et al. 2020, appendix A: three states, any observation may be shown in any state, gamma .99."""

    mdp = cycle_or_stay().mdp
    optimal = np.array([1, 0, 0])
    policies = np.array([optimal, [0, 0, 0], [1, 1, 1]])

    def test_the_printed_values(self):
        found = worst_case(self.mdp, choices_of_neighbors(self.policies, EVERYWHERE, 2), gamma=0.99)
        expected = [[0, 0, 0], [0, 100, 100], [100 * 0.99**k / (1 + 0.99 + 0.99**2) * 1.0 for k in (0, 2, 1)]]
        assert (found.lower <= np.array(expected) + 1e-9).all()
        assert (found.upper >= np.array(expected) - 1e-9).all()
        assert (found.upper - found.lower < 1e-5).all()
        assert np.allclose(found.upper[2], [33.67, 33.00, 33.33], atol=5e-3)
        assert np.allclose(found.natural[0], 100)

    def test_the_uniform_policy_stays_at_50(self):
        found = worst_case(self.mdp, choices_of_neighbors(np.full((3, 2), 0.5), EVERYWHERE), gamma=0.99)
        assert np.allclose(found.lower, 50, atol=1e-5)
        assert np.allclose(found.upper, 50, atol=1e-5)

    def test_an_episode_of_100_steps(self):
        found = worst_case(self.mdp, choices_of_neighbors(self.policies, EVERYWHERE, 2), horizon=100)
        assert np.allclose(found.lower[0], 0)
        assert np.allclose(found.upper[1], [0, 100, 100])
        assert np.allclose(found.natural[0], 100)

    def test_the_choices_show_which_observation_to_show(self):
        choices = choices_of_neighbors(self.optimal, EVERYWHERE, 2)
        found = worst_case(self.mdp, choices, gamma=0.99)
        shown = np.take_along_axis(choices.shown[0, :, 0], found.choice[0, 0], axis=1)[:, 0]  # [N]
        assert (evaluate(self.mdp, self.optimal[shown], 0.99) == 0).all()


def provoked_actions(policy, neighbors):
    """What every deterministic memoryless adversary makes the victim do, [M, N]: those that do the same are one."""
    return np.array(list(itertools.product(*(np.unique(policy[row]) for row in neighbors))))


def dense_values(mdp, actions, gamma):
    """Values [M, N] of policies [M, N], by dense systems that share no code with the solvers."""
    size = mdp.num_states
    step, pay = np.zeros((size, mdp.num_actions, size)), np.zeros((size, mdp.num_actions))
    for s, a, k in np.ndindex(mdp.probability.shape):
        pay[s, a] += mdp.probability[s, a, k] * mdp.reward[s, a, k]
        if not mdp.terminated[s, a, k]:
            step[s, a, mdp.successor[s, a, k]] += mdp.probability[s, a, k]
    states = np.arange(size)
    return np.linalg.solve(np.eye(size) - gamma * step[states, actions], pay[states, actions][..., None])[..., 0]


class TestBruteForceOnAGrid:
    """Every deterministic Markov adversary on a map of 3 x 3 who may show the tile itself or a tile next to it."""

    mdp = GridWorld("S..\n...\n..G", slip=0.2, step_reward=-0.04).mdp
    place = np.argwhere(np.ones((3, 3)))
    near = np.abs(place[:, None] - place).sum(axis=2) <= 1

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_no_stationary_adversary_does_better(self, seed):
        policy = np.random.default_rng(seed).integers(0, 4, 9)
        every = provoked_actions(policy, self.near)
        assert len(every) > 500
        least = dense_values(self.mdp, every, 0.9).min(axis=0)
        found = worst_case(self.mdp, choices_of_neighbors(policy, self.near, 4), gamma=0.9, tolerance=1e-9)
        assert (found.lower[0] <= least + 1e-12).all()
        assert np.abs(found.upper[0] - least).max() < 2e-9


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_adversary_by_steps_taken_does_better(seed):
    """Every function of (state, steps taken) on three states and three steps, and none attains less."""
    rng = np.random.default_rng(seed)
    mdp, policy = garnet(3, 2, 2, rng, ending=0.1), np.array([0, 1, 0])
    near = random_neighbors(rng, 3, 0.7)
    every = provoked_actions(policy, near)
    timed = np.array(list(itertools.product(every, repeat=3)))  # [M, 3, N]
    least = evaluate_finite(mdp, timed, 3, per_step=True)[:, 0].min(axis=0)
    found = worst_case(mdp, choices_of_neighbors(policy, near, 2), horizon=3)
    assert (found.lower[0] <= least).all()
    assert np.abs(found.upper[0] - least).max() < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("attacks", [0, 1, 2])
def test_brute_force_over_all_timings(attacks):
    """An adversary of k attacks by steps taken, state and attacks left: every one of them, on two states and 3 steps.

    Its decision at (t, s, l) is to attack or not; what an attack does is fixed.
    """
    rng = np.random.default_rng(attacks)
    mdp = garnet(2, 2, 2, rng, ending=0.1)
    natural, attacked = np.array([1, 0]), np.array([0, 1])
    reachable = np.ones((2, 2), np.bool_)
    found = worst_case(mdp, choices_of_actions(natural, reachable), horizon=3, attacks=attacks)
    places = [(t, s, left) for t in range(3) for s in range(2) for left in range(1, attacks + 1)]
    least = np.full(2, np.inf)
    for decisions in itertools.product((False, True), repeat=len(places)):
        rule = dict(zip(places, decisions, strict=True))
        value = np.zeros((attacks + 1, 2))
        for t in (2, 1, 0):
            now = np.empty_like(value)
            for left, s in itertools.product(range(attacks + 1), range(2)):
                attack = rule.get((t, s, left), False)
                action, after = (attacked[s], left - 1) if attack else (natural[s], left)
                ahead = np.where(mdp.terminated[s, action], 0, value[after][mdp.successor[s, action]])
                now[left, s] = (mdp.probability[s, action] * (mdp.reward[s, action] + ahead)).sum()
            value = now
        least = np.minimum(least, value[-1])
    assert np.allclose(found.upper[0], least, atol=1e-12)
    assert (found.lower[0] <= least + 1e-15).all()
    assert (least < found.natural[0] - 0.1).any() == (attacks > 0), "attacks must matter"


class TestRelations:
    rng = np.random.default_rng(5)
    mdp = garnet(6, 3, 3, rng, ending=0.1)
    policies = random_policies(rng, 4, mdp)
    near = random_neighbors(rng, 6)
    sampled = choices_of_neighbors(policies, near)
    greedy = choices_of_neighbors(policies.argmax(axis=2), near, 3)

    @pytest.mark.slow
    @pytest.mark.parametrize("attacks", [None, 2])
    @pytest.mark.parametrize("kind", ["greedy", "sampled", "known"])
    def test_backward_induction_equals_the_solver_of_the_induced_problem(self, kind, attacks):
        choices = known_draw(self.sampled) if kind == "known" else getattr(self, kind)
        found = worst_case(self.mdp, choices, 0.95, horizon=7, attacks=attacks)
        levels = 1 if attacks is None else attacks + 1
        for row in range(4):
            problem = induced_mdp(self.mdp, choices, row, attacks)
            value = -backward_induction(problem, 7, 0.95).value[0].reshape(levels, choices.num_cases, 6)
            chance = np.ones((6, 1)) if choices.chance is None else choices.chance[row]
            assert np.allclose(found.upper_left[row], (value * chance.T).sum(axis=1), atol=1e-12)

    @pytest.mark.slow
    @pytest.mark.parametrize("horizon", [None, 5])
    @pytest.mark.parametrize("kind", ["greedy", "sampled"])
    def test_more_attacks_do_more_until_they_are_unlimited(self, kind, horizon):
        choices = getattr(self, kind)
        left = worst_case(self.mdp, choices, 0.5, horizon, attacks=5)
        free = worst_case(self.mdp, choices, 0.5, horizon)
        assert np.allclose(left.upper_left[:, 0], left.natural, atol=2e-6)
        assert (np.diff(left.upper_left, axis=1) <= 2e-6).all()
        assert (left.upper_left[:, -1] >= free.lower - 2e-6).all()
        if horizon == 5:
            assert np.allclose(left.upper, free.upper, atol=1e-12)
        assert (left.lower_left <= left.upper_left).all()

    @pytest.mark.parametrize("horizon", [None, 6])
    @pytest.mark.parametrize("attacks", [None, 2])
    @pytest.mark.parametrize("kind", ["greedy", "sampled", "known"])
    def test_a_row_is_the_run_of_its_victim_to_the_bit(self, kind, attacks, horizon):
        choices = known_draw(self.sampled) if kind == "known" else getattr(self, kind)
        every = worst_case(self.mdp, choices, 0.9, horizon, attacks)
        for row in (0, 3):
            alone = choices_of_neighbors(self.policies[row : row + 1], self.near)
            if kind == "greedy":
                alone = choices_of_neighbors(self.policies[row : row + 1].argmax(axis=2), self.near, 3)
            alone = known_draw(alone) if kind == "known" else alone
            one = worst_case(self.mdp, alone, 0.9, horizon, attacks)
            assert (one.lower_left[0] == every.lower_left[row]).all()
            assert (one.upper_left[0] == every.upper_left[row]).all()
            assert (one.natural[0] == every.natural[row]).all()

    @pytest.mark.parametrize("kind", ["greedy", "sampled"])
    def test_the_adversary_attains_the_value(self, kind):
        choices = getattr(self, kind)
        still = worst_case(self.mdp, choices, 0.9)
        timed = worst_case(self.mdp, choices, horizon=6)
        for row in range(4):
            policy = choices.distributions()[row, np.arange(6), 0, still.choice[row, 0, :, 0]]
            assert np.allclose(evaluate(self.mdp, policy, 0.9), still.upper[row], atol=2e-6)
            steps = np.stack(
                [choices.distributions()[row, np.arange(6), 0, timed.choice[t, row, 0, :, 0]] for t in range(6)]
            )
            assert np.allclose(evaluate_finite(self.mdp, steps, 6, per_step=True)[0], timed.upper[row], atol=1e-12)

    def test_without_a_choice_the_worst_case_is_the_natural_return(self):
        alone = choices_of_neighbors(self.policies, np.eye(6, dtype=np.bool_))
        found = worst_case(self.mdp, alone, 0.9)
        assert (found.lower <= found.natural).all()
        assert (found.upper >= found.natural).all()
        assert np.allclose(found.lower, evaluate(self.mdp, self.policies, 0.9), atol=1e-5)

    def test_with_every_action_everywhere_it_is_the_worst_policy(self):
        free = choices_of_actions(self.policies.argmax(axis=2), np.ones((4, 6, 3), np.bool_))
        negated = TabularMDP(
            self.mdp.successor, self.mdp.probability, -self.mdp.reward, self.mdp.terminated, self.mdp.start
        )
        assert np.allclose(worst_case(self.mdp, free, 0.9).upper, -solve(negated, 0.9).value, atol=2e-6)

    def test_more_neighbors_do_more(self):
        wider = self.near | random_neighbors(np.random.default_rng(8), 6)
        narrow, wide = (
            worst_case(self.mdp, choices_of_neighbors(self.policies, each), 0.9) for each in (self.near, wider)
        )
        assert (wide.lower <= narrow.upper).all()
        assert (wide.upper < narrow.lower).any()


class TestKnownDraw:
    def test_it_never_helps_the_victim(self):
        rng = np.random.default_rng(2)
        strict = 0
        for _ in range(20):
            mdp = garnet(5, 3, 2, rng, ending=0.1)
            choices = choices_of_neighbors(random_policies(rng, 3, mdp), random_neighbors(rng, 5))
            blind, knowing = worst_case(mdp, choices, 0.9), worst_case(mdp, known_draw(choices), 0.9)
            assert (knowing.lower <= blind.upper).all()
            strict += (knowing.upper < blind.lower).sum()
        assert strict > 100

    def test_with_two_actions_it_changes_nothing(self):
        rng = np.random.default_rng(3)
        for _ in range(10):
            mdp = garnet(5, 2, 2, rng, ending=0.1)
            choices = choices_of_neighbors(random_policies(rng, 3, mdp), random_neighbors(rng, 5))
            blind = worst_case(mdp, choices, horizon=8)
            knowing = worst_case(mdp, known_draw(choices), horizon=8)
            assert np.allclose(blind.upper, knowing.upper, atol=1e-12)

    def test_with_two_actions_it_saves_attacks(self):
        """Rewards 0 and 1, two steps, probability of action 0 moved from 0 to .5: an attack fails at half of the draws.

        One attack that does not know the draw takes .5 in expectation. One that does waits for a draw at which it
        flips, in either step: 1 - 1/4.
        """
        mdp = TabularMDP(np.zeros((1, 2, 1), int), np.ones((1, 2, 1)), [[[0.0], [1.0]]], np.zeros((1, 2, 1), bool))
        choices = choices_of_distributions([[0.0, 1.0]], [[[0.0, 1.0], [0.5, 0.5]]])
        assert worst_case(mdp, choices, horizon=2, attacks=1).upper[0, 0] == pytest.approx(2 - 0.5)
        assert worst_case(mdp, known_draw(choices), horizon=2, attacks=1).upper[0, 0] == pytest.approx(2 - 0.75)
        assert worst_case(mdp, known_draw(choices), horizon=2).upper[0, 0] == pytest.approx(1.0)

    def test_three_actions_by_hand(self):
        """One step, rewards 0, 1, 0 and two observations with distributions (.5, .5, 0) and (0, .5, .5).

        Either leaves .5. For u < .5 the first draws action 0, from .5 on the second draws action 2: the return is 0.
        """
        mdp = TabularMDP(
            np.zeros((1, 3, 1), int), np.ones((1, 3, 1)), [[[0.0], [1.0], [0.0]]], np.ones((1, 3, 1), bool)
        )
        own = np.array([[0.5, 0.5, 0.0]])
        choices = choices_of_distributions(own, np.array([[[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]]))
        assert worst_case(mdp, choices, 0.9).lower[0, 0] == pytest.approx(0.5)
        assert worst_case(mdp, known_draw(choices), 0.9).upper[0, 0] == pytest.approx(0.0, abs=1e-12)
        once = worst_case(mdp, known_draw(choices), horizon=1, attacks=1)
        assert once.upper_left[0, :, 0].tolist() == pytest.approx([0.5, 0.0])

    def test_the_natural_return_stays(self):
        rng = np.random.default_rng(4)
        mdp = garnet(5, 4, 2, rng, ending=0.1)
        policies = random_policies(rng, 3, mdp)
        choices = known_draw(choices_of_neighbors(policies, random_neighbors(rng, 5)))
        assert np.allclose(worst_case(mdp, choices, 0.9).natural, evaluate(mdp, policies, 0.9), atol=1e-12)
        assert np.allclose(worst_case(mdp, choices, 0.9, attacks=0).upper, evaluate(mdp, policies, 0.9), atol=2e-6)

    def test_an_action_without_probability_is_not_drawn(self):
        """(.1, .2, .7, 0) sums to less than 1 before its last entry in float64: the fourth action must not appear."""
        own = np.array([[0.1, 0.2, 0.7, 0.0]])
        assert not known_draw(choices_of_distributions(own, own[:, None])).allowed[0, 0, :, 3].any()

    def test_a_known_draw_is_refused_twice(self):
        choices = known_draw(choices_of_neighbors(np.array([[0.2, 0.3, 0.5]]), np.ones((1, 1), bool)))
        with pytest.raises(ValueError, match="known already"):
            known_draw(choices)


class TestIntervals:
    @settings(max_examples=60, deadline=None)
    @given(st.integers(2, 4), st.integers(0, 10_000))
    def test_the_least_corner_is_the_least_distribution(self, actions, seed):
        """Against the greedy filling of Givan et al. 2000, and no sampled distribution lies below."""
        rng = np.random.default_rng(seed)
        own = rng.dirichlet(np.ones(actions))
        low = own * rng.random(actions)
        high = np.minimum(own + rng.random(actions) * 0.5, 1)
        q = rng.normal(size=actions)
        choices = choices_of_intervals(own[None], low[None], high[None])
        values = np.where(choices.allowed, choices.values(q[None, None, None])[:, 0], np.inf)
        rest, filled = 1 - low.sum(), low.copy()
        for action in np.argsort(q):
            more = min(rest, high[action] - low[action])
            filled[action] += more
            rest -= more
        assert values.min() == pytest.approx(filled @ q, abs=1e-9)
        for mixture in rng.dirichlet(np.ones(choices.num_choices) * choices.allowed[0, 0, 0] + 1e-12, 20):
            assert values.min() <= (mixture @ choices.distributions()[0, 0, 0]) @ q + 1e-9

    def test_two_actions_have_the_two_extremes(self):
        choices = choices_of_intervals([[0.4, 0.6]], [[0.3, 0.3]], [[0.7, 0.9]])
        kept = choices.provoked[0, 0, 0][choices.allowed[0, 0, 0]]
        assert np.allclose(np.unique(kept.round(12), axis=0), [[0.3, 0.7], [0.7, 0.3]])

    def test_exact_probabilities_leave_one_distribution(self):
        own = np.array([[0.2, 0.3, 0.5]])
        found = worst_case(one_step(), choices_of_intervals(own, own, own), horizon=1)
        assert found.lower[0, 0] == pytest.approx(0.2 * 0 + 0.3 * 1 + 0.5 * 2)

    def test_bad_intervals_are_refused(self):
        own = np.array([[0.5, 0.5]])
        with pytest.raises(ValueError, match="hold no distribution"):
            choices_of_intervals(own, [[0.1, 0.1]], [[0.2, 0.2]])
        with pytest.raises(ValueError, match="is not below upper"):
            choices_of_intervals(own, [[0.6, 0.1]], [[0.2, 0.9]])
        with pytest.raises(ValueError, match="is not below upper"):
            choices_of_intervals(own, [[np.nan, 0.1]], [[0.2, 0.9]])
        with pytest.raises(ValueError, match="make them agree"):
            choices_of_intervals(own, [[0.1, 0.1, 0.1]], [[0.2, 0.2, 0.3]])
        with pytest.raises(ValueError, match="too many corners"):
            choices_of_intervals(np.full((1, 8), 1 / 8), np.zeros((1, 8)), np.ones((1, 8)))


def one_step():
    """A state, three actions of rewards 0, 1, 2, and the end."""
    return TabularMDP(np.zeros((1, 3, 1), int), np.ones((1, 3, 1)), [[[0.0], [1.0], [2.0]]], np.ones((1, 3, 1), bool))


def test_the_bounds_hold_in_rationals():
    """Exact arithmetic on a problem whose numbers float64 rounds: ten steps, thirds and sevenths."""
    rng = np.random.default_rng(0)
    mdp = garnet(3, 2, 2, rng)
    policy = rng.dirichlet(np.ones(2), 3)
    choices = choices_of_neighbors(policy, np.ones((3, 3), np.bool_))
    found = worst_case(mdp, choices, 0.9, horizon=10)
    exact = np.vectorize(Fraction, otypes=[object])
    p, r, gamma = exact(mdp.probability), exact(mdp.reward), Fraction(0.9)
    value = [Fraction(0)] * 3
    for _ in range(10):
        q = [
            [sum(p[s, a, k] * (r[s, a, k] + gamma * value[mdp.successor[s, a, k]]) for k in range(2)) for a in range(2)]
            for s in range(3)
        ]
        shown = exact(choices.provoked[0, :, 0])
        value = [min(sum(shown[s, k, a] * q[s][a] for a in range(2)) for k in range(3)) for s in range(3)]
    for s in range(3):
        assert Fraction(found.lower[0, s]) <= value[s] <= Fraction(found.upper[0, s])
    assert (found.upper - found.lower < 1e-12).all()


@pytest.mark.slow
def test_discounted_bounds_hold_in_rationals():
    """Every stationary adversary of a victim that samples, solved by elimination in fractions."""
    rng = np.random.default_rng(1)
    mdp = garnet(3, 2, 2, rng, ending=0.2)
    choices = choices_of_neighbors(rng.dirichlet(np.ones(2), 3), np.ones((3, 3), np.bool_))
    found = worst_case(mdp, choices, 0.9, tolerance=1e-12)
    exact = np.vectorize(Fraction, otypes=[object])
    p, r, shown = exact(mdp.probability), exact(mdp.reward), exact(choices.provoked[0, :, 0])
    values = []
    for chosen in itertools.product(range(3), repeat=3):
        matrix = [[Fraction(int(s == t)) for t in range(3)] + [Fraction(0)] for s in range(3)]
        for s, a, k in np.ndindex(3, 2, 2):
            weight = shown[s, chosen[s], a] * p[s, a, k]
            matrix[s][3] += weight * r[s, a, k]
            if not mdp.terminated[s, a, k]:
                matrix[s][mdp.successor[s, a, k]] -= Fraction(0.9) * weight
        for column in range(3):
            matrix[column] = [entry / matrix[column][column] for entry in matrix[column]]
            for row in set(range(3)) - {column}:
                factor = matrix[row][column]
                matrix[row] = [x - factor * y for x, y in zip(matrix[row], matrix[column], strict=True)]
        values.append([matrix[s][3] for s in range(3)])
    for s in range(3):
        least = min(value[s] for value in values)
        assert Fraction(found.lower[0, s]) <= least <= Fraction(found.upper[0, s])
    assert (found.upper - found.lower < 2e-12).all()


@pytest.mark.parametrize("horizon", [None, 4])
def test_coarser_arithmetic_widens_both_ends(monkeypatch, horizon):
    """The slack of products is added on the right sides: it is far below the solver's tolerance otherwise."""
    mdp = garnet(3, 2, 2, np.random.default_rng(1), ending=0.2)
    choices = choices_of_neighbors(np.random.default_rng(1).dirichlet(np.ones(2), 3), np.ones((3, 3), np.bool_))
    fine = worst_case(mdp, choices, 0.9, horizon)
    module = importlib.import_module("rlkit.adversarial.exact.worst_case")
    monkeypatch.setattr(module, "relative_rounding", lambda operations: 1e-3)
    coarse = worst_case(mdp, choices, 0.9, horizon)
    assert (coarse.lower < fine.lower - 1e-4).all()
    assert (coarse.upper > fine.upper + 1e-4).all()


@pytest.mark.parametrize("attacks", [None, 2])
def test_the_adversary_of_a_finite_set_is_executed(attacks):
    """A walk without chance: rollouts earn the exact worst case, by steps taken and attacks left."""
    world = GridWorld("S...\n.H..\n...G", observation="coordinates", slip=0.0, step_reward=-0.1, max_steps=12)
    place = world.tile_of
    near = np.abs(place[:, None] - place).sum(axis=2) <= 1
    policy = solve(world.mdp, 0.99).policy
    choices = choices_of_neighbors(policy, near, 4)
    found = worst_case(world.mdp, choices, attacks=attacks)
    adversary = WorstCaseAdversary(world.observations(), choices.witnesses(world.observations()), found)
    victim = TablePolicy(world.observations(), policy)
    played = rollout(victim, BatchedEnv(world, [0], 3), perturb=adversary)
    assert np.allclose(played.returns.numpy(), found.at_start()[1], atol=1e-5)
    assert found.at_start()[1][0] < found.at_start()[2][0] - 0.5
    with pytest.raises(ValueError, match="only choices_of_neighbors"):
        choices_of_actions(policy, np.ones((12, 4), np.bool_)).witnesses(world.observations())
    drawn = worst_case(world.mdp, known_draw(choices_of_neighbors(np.eye(4)[policy] * 0.8 + 0.05, near)))
    with pytest.raises(ValueError, match="knows the draw"):
        WorstCaseAdversary(world.observations(), world.observations()[None, :, None], drawn)


class TestNeighbors:
    def test_the_ball_of_a_grid(self):
        places = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [1.0, 1.0]])
        near = neighbors_within(places, 1.0)
        assert near.tolist() == [
            [True, True, False, True],
            [True, True, True, True],
            [False, True, True, True],
            [True, True, True, True],
        ]
        assert not neighbors_within(places, Budget(1.0, "1"))[0, 3]
        assert neighbors_within(places, Budget(1.0, mask=[True, False])).tolist()[0] == [True, True, False, False]

    def test_a_set_without_the_true_state_warns(self):
        with pytest.warns(RuntimeWarning, match="excludes the true state"):
            choices_of_neighbors(np.array([0, 1]), np.array([[False, True], [True, True]]))
        with pytest.warns(RuntimeWarning, match="excludes the true state"):
            choices_of_neighbors(np.full((2, 2), 0.5), np.array([[False, True], [True, True]]))
        with pytest.warns(RuntimeWarning, match="excludes the true state"):
            choices_of_actions([0, 1], np.array([[False, True], [True, True]]))
        with pytest.warns(RuntimeWarning, match="excludes the true state"):
            choices_of_distributions([[0.5, 0.5]], [[[0.1, 0.9]]])

    def test_the_truth_is_shown_where_it_provokes_the_choice(self):
        choices = choices_of_neighbors(np.array([0, 1, 0]), EVERYWHERE)
        assert choices.shown[0, :, 0].tolist() == [[0, 1], [0, 1], [2, 1]]


class TestBadInput:
    mdp = cycle_or_stay().mdp

    def test_gamma_1_needs_a_limit(self):
        choices = choices_of_neighbors(np.array([1, 0, 0]), EVERYWHERE)
        with pytest.raises(ValueError, match="gamma is 1 and episodes have no step limit"):
            worst_case(self.mdp, choices)
        assert worst_case(cycle_or_stay(10).mdp, choices).horizon == 10

    def test_a_policy_that_does_not_fit(self):
        with pytest.raises(ValueError, match="they do not fit"):
            worst_case(self.mdp, choices_of_neighbors(np.array([2, 0, 0]), EVERYWHERE), 0.9)
        with pytest.raises(ValueError, match="they do not fit"):
            worst_case(FROZEN_LAKE, choices_of_neighbors(np.array([1, 0, 0]), EVERYWHERE), 0.9)

    def test_an_action_that_a_state_does_not_have(self):
        mdp = TabularMDP(
            self.mdp.successor,
            self.mdp.probability,
            self.mdp.reward,
            self.mdp.terminated,
            available=[[True, True], [True, False], [True, True]],
        )
        with pytest.raises(ValueError, match="action 1 in state 1, which does not have it"):
            worst_case(mdp, choices_of_neighbors(np.array([1, 0, 0]), EVERYWHERE), 0.9)
        with pytest.raises(ValueError, match="action 1 in state 1, which does not have it"):
            worst_case(mdp, choices_of_neighbors(np.full((3, 2), 0.5), EVERYWHERE), 0.9)

    def test_numbers_that_are_none(self):
        with pytest.raises(ValueError, match="must be finite, not negative and sum to one"):
            choices_of_neighbors(np.array([[np.nan, 0.5]]), np.ones((1, 1), bool))
        with pytest.raises(ValueError, match="must be finite, not negative and sum to one"):
            choices_of_distributions([[0.5, 0.5]], [[[0.2, 0.2]]])
        with pytest.raises(ValueError, match="must be finite"):
            neighbors_within(np.array([[np.nan], [1.0]]), 0.1)
        with pytest.raises(ValueError, match="expected floats"):
            neighbors_within(np.array([[0], [1]]), 0.1)

    def test_shapes_and_kinds(self):
        with pytest.raises(ValueError, match="expected booleans"):
            choices_of_neighbors(np.array([1, 0, 0]), np.ones((3, 3)))
        with pytest.raises(ValueError, match="has no neighbor"):
            choices_of_neighbors(np.array([1, 0]), np.array([[True, True], [False, False]]))
        with pytest.raises(ValueError, match="expected actions"):
            choices_of_neighbors(np.array([1, 0]), EVERYWHERE)
        with pytest.raises(ValueError, match="nothing can be provoked in state 1"):
            choices_of_actions([0, 0], np.array([[True, True], [False, False]]))
        with pytest.raises(ValueError, match="expected integers"):
            choices_of_actions([0.0, 0.0], np.ones((2, 2), bool))
        with pytest.raises(ValueError, match="expected 0 to 1"):
            choices_of_actions([0, 2], np.ones((2, 2), bool))

    @pytest.mark.parametrize("attacks", [-1, 1.5, True])
    def test_attacks(self, attacks):
        with pytest.raises(ValueError, match="attacks"):
            worst_case(self.mdp, choices_of_neighbors(np.array([1, 0, 0]), EVERYWHERE), 0.9, attacks=attacks)


def test_an_unattacked_step_is_marked():
    """With no attack left nothing is attacked, and no attack is wasted where it would not harm."""
    choices = choices_of_neighbors(np.array([0, 0, 0]), EVERYWHERE, 2)
    found = worst_case(cycle_or_stay().mdp, choices, horizon=4, attacks=2)
    assert (found.choice == CLEAN).all()
    assert found.choice.shape == (4, 1, 3, 3, 1)
