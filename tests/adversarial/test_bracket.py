"""The bracket over real-valued balls: closed forms, order in exact expectation, attacks that attain it."""

import dataclasses

import numpy as np
import pytest
import torch
from counts import repeats
from gymnasium import spaces
from torch import nn

from rlkit.adversarial import (
    FGSM,
    PGD,
    AtRandom,
    AttackedPolicy,
    BestOf,
    Boundary,
    Budget,
    DeepFool,
    Every,
    LabelVictim,
    ModuleVictim,
    Noise,
    OneHot,
    RandomSearch,
    Strategic,
    TablePolicy,
    Threat,
    Universal,
    reachable_actions,
    robustness_curve,
)
from rlkit.adversarial.exact import (
    WorstCaseAdversary,
    WorstCaseAttack,
    WorstCaseTiming,
    attacked_value,
    bracket,
    choices_of_actions,
    choices_of_distributions,
    choices_of_intervals,
    known_draw,
    known_draw_within,
    worst_case,
)
from rlkit.adversarial.exact.bracket import relied_on
from rlkit.adversarial.exact.verdicts import KnownDrawVerdicts, shown_within
from rlkit.envs import BatchedEnv
from rlkit.envs.tabular import TabularDynamics
from rlkit.evaluation import rollout
from rlkit.mdp import TabularMDP, garnet
from rlkit.planning import evaluate, evaluate_finite

TOLERANCE = 2e-6  # of the solver's bounds
PROBLEMS = repeats(100, 10)  # MDPs, of 20 victims each


def networks(rows, features, actions, width=16, seed=0, scale=1.0, activation=nn.ReLU):
    """Victims, one module per row, that bend within the unit box: every hidden unit changes sign somewhere in it."""
    rng = np.random.default_rng(seed)
    modules = []
    for _ in range(rows):
        first, last = nn.Linear(features, width), nn.Linear(width, actions)
        weight, place = 4 * rng.normal(size=(width, features)), rng.random((width, features))
        out = scale * rng.normal(size=(actions, width))
        first.weight.data = torch.from_numpy(weight).float()
        first.bias.data = torch.from_numpy(-(weight * place).sum(axis=1)).float()
        last.weight.data = torch.from_numpy(out - out.mean(axis=1, keepdims=True)).float()
        last.bias.data = torch.zeros(actions)
        modules.append(nn.Sequential(first, activation(), last))
    return ModuleVictim(modules)


def problem(seed, states=6, actions=3, features=2, ending=0.1):
    """A Garnet whose states are seen as random points, and its dynamics."""
    rng = np.random.default_rng(seed)
    mdp = garnet(states, actions, 2, rng, ending=ending)
    seen = rng.random((states, features)).astype(np.float32)
    return TabularDynamics(mdp, seen, spaces.Box(0, 1, (features,), np.float32))


def without_chance(seed=1, states=12):
    """A Garnet without chance: an episode of 12 steps from the first state is the expectation."""
    rng = np.random.default_rng(seed)
    drawn = garnet(states, 4, 1, rng)
    mdp = dataclasses.replace(drawn, start=np.eye(states)[0], max_steps=12)
    seen = rng.random((states, 2)).astype(np.float32)
    return TabularDynamics(mdp, seen, spaces.Box(0, 1, (2,), np.float32))


WORLD = without_chance()
VICTIM = networks(3, 2, 4, seed=3)
ATTACKS = (
    FGSM(),
    PGD(),
    Noise(),
    Noise("uniform"),
    Noise("gaussian"),
    RandomSearch(30),
    DeepFool(),
    Boundary(),
    Universal(torch.full((1, 2), 0.1)),
    BestOf((PGD(5), Noise())),
)


def margins(victim, obs, budget):
    """Which of two actions linear victims can be made to take: the lead and its gain, in closed form, [S, N, 2]."""
    reachable = []
    for module in victim.modules:
        weight = (module[0].weight[0] - module[0].weight[1]).double()
        lead = obs.double() @ weight + (module[0].bias[0] - module[0].bias[1]).double()
        gain = budget.epsilon * weight.abs().sum()
        reachable.append(torch.stack([lead + gain >= 0, lead - gain < 0], dim=-1))
    return torch.stack(reachable).numpy()


class TestClosedForm:
    @pytest.mark.slow
    def test_linear_victims_of_two_actions(self):
        world = problem(0, states=6, actions=2)
        rng = np.random.default_rng(0)
        modules = []
        for _ in range(2):
            module = nn.Sequential(nn.Linear(2, 2))
            module[0].weight.data = torch.from_numpy(rng.normal(size=(2, 2))).float()
            module[0].bias.data = -(module[0].weight.data @ torch.full((2,), 0.5))
            modules.append(module)
        victim, budget = ModuleVictim(modules), Budget(0.1)
        obs = torch.from_numpy(world.observations())
        choices = choices_of_actions(victim.act(obs).numpy(), margins(victim, obs, budget))
        for settings in ({"gamma": 0.9}, {"horizon": 8}, {"horizon": 8, "attacks": 2}):
            exact, found = worst_case(world.mdp, choices, **settings), bracket(world, victim, budget, **settings)
            assert np.allclose(found.lower, exact.lower, atol=TOLERANCE)
            assert np.allclose(found.upper, exact.upper, atol=TOLERANCE)
            assert found.closed.all()
            assert (found.upper < found.natural - 0.01).any()

    def test_a_ball_of_radius_0_leaves_the_natural_return(self):
        found = bracket(WORLD, VICTIM, 0.0)
        assert np.allclose(found.lower, found.natural, atol=1e-9)
        own = attacked_value(WORLD, VICTIM, found.attack, 0.0)
        assert np.allclose(own.value, found.natural, atol=1e-12)


def drawn(seed):
    """A random problem of random size, 20 victims and a budget."""
    rng = np.random.default_rng(seed)
    world = problem(seed, int(rng.integers(2, 9)), int(rng.integers(2, 5)), ending=0.2 * rng.random())
    budget = Budget((0.01, 0.03, 0.1, 0.2, 0.3, 0.5)[seed % 6], ("inf", "2", "1")[seed % 3])
    return world, networks(20, 2, world.mdp.num_actions, seed=seed), budget


class TestOrder:
    @pytest.mark.slow
    @pytest.mark.parametrize("settings", [{"gamma": 0.9}, {"horizon": 9}], ids=["discounted", "steps"])
    @pytest.mark.parametrize("norm", ["inf", "2", "1"])
    def test_no_attack_beats_the_exact_worst_case(self, norm, settings):
        world, victim, budget = problem(1), networks(5, 2, 3, seed=1), Budget(0.15, norm)
        found = bracket(world, victim, budget, **settings)
        assert found.closed.all()
        assert (found.lower <= found.upper).all()
        assert (found.upper <= found.natural + TOLERANCE).all()
        start = found.at_start()
        assert (start["upper"] - start["lower"] < TOLERANCE).all()
        beaten = np.zeros(5, np.bool_)
        for attack in ATTACKS:
            value = attacked_value(world, victim, attack, budget, **settings, draws=1)
            assert (value.value >= found.lower - TOLERANCE).all(), attack.name
            beaten |= value.start > start["upper"] + 0.01
        assert beaten.any()  # some attack leaves something to be had

    @pytest.mark.slow
    @pytest.mark.parametrize(("seed", "row", "state"), [(41, 18, 4), (50, 12, 6), (77, 12, 0)])
    def test_a_bound_that_is_near_zero_by_chance_is_no_tie(self, seed, row, state):
        """Boxes whose bound falls into the slack are split on, unless the bound varies by less than rounding."""
        world, victim, budget = drawn(seed)
        obs = torch.from_numpy(world.observations()[state])[None, None]
        assert not reachable_actions(ModuleVictim(victim.modules[row]), obs, budget).open.any()

    @pytest.mark.slow
    @pytest.mark.parametrize("first", range(0, PROBLEMS, 5))
    def test_no_attack_beats_it_in_many_problems(self, first):
        """FGSM, PGD, noise and random search evaluated exactly, at 6 epsilons."""
        for seed in range(first, first + 5):
            world, victim, budget = drawn(seed)
            found = bracket(world, victim, budget, 0.9)
            assert (found.lower <= found.upper).all()
            assert (found.upper <= found.natural + TOLERANCE).all()
            own = attacked_value(world, victim, found.attack, budget, 0.9).value
            assert np.abs(own - found.upper).max() < TOLERANCE
            for attack in (FGSM(), PGD(5), Noise(), RandomSearch(10)):
                value = attacked_value(world, victim, attack, budget, 0.9, draws=2)
                assert (value.value >= found.lower - TOLERANCE).all()

    @pytest.mark.slow
    @pytest.mark.parametrize("boxes", [1, 3, 10])
    def test_few_boxes_leave_bounds_that_hold(self, boxes):
        """What is undecided counts as reachable below and as unreachable above."""
        world, victim = problem(2), networks(5, 2, 3, width=32, seed=2)
        exact, coarse = (bracket(world, victim, 0.1, 0.9, max_boxes=most) for most in (10**5, boxes))
        assert exact.closed.all()
        assert (coarse.lower <= exact.lower + TOLERANCE).all()
        assert (coarse.upper >= exact.upper - TOLERANCE).all()
        if boxes == 1:
            assert coarse.undecided.sum() > 0
            assert not coarse.closed.all()
            assert (coarse.lower < exact.lower - 0.01).any()

    def test_timings_and_limits_lie_above_their_exact_worst_case(self):
        world, victim = problem(3), networks(4, 2, 3, seed=4)
        found = bracket(world, victim, 0.15, horizon=9, attacks=2)
        for timing in (None, AtRandom(0.3), Every(3), Strategic(0.3, temperature=1.0)):
            value = attacked_value(world, victim, PGD(), 0.15, horizon=9, timing=timing, attacks_per_episode=2)
            assert (value.value >= found.lower - TOLERANCE).all()
            assert (value.value <= found.natural + 10).all()
        free = bracket(world, victim, 0.15, horizon=9)
        assert (free.lower <= found.upper + TOLERANCE).all()
        assert (free.lower < found.lower - 0.01).any()

    @pytest.mark.slow
    def test_a_row_is_the_run_of_its_victim_to_the_bit(self):
        world, victim = problem(4), networks(5, 2, 3, width=32, seed=5)
        for settings in ({"gamma": 0.9}, {"horizon": 6, "attacks": 2}):
            every = bracket(world, victim, 0.1, max_boxes=600, **settings)
            for row in (0, 4):
                one = bracket(world, ModuleVictim(victim.modules[row]), 0.1, max_boxes=600, **settings)
                for name in ("lower", "upper", "natural", "closed", "undecided", "boxes"):
                    assert np.array_equal(getattr(one, name)[0], getattr(every, name)[row]), name
                assert torch.equal(one.attack.witness[0], every.attack.witness[row])
                assert torch.equal(one.attack.choice[:, 0], every.attack.choice[:, row])

    @pytest.mark.slow
    def test_states_that_are_never_visited_need_not_be_decided(self):
        """The refinement asks where the lower bound's adversary goes, so an unreachable state stays coarse."""
        world = problem(5)
        start = np.zeros(6)
        start[0] = 1.0
        mdp = type(world.mdp)(
            np.zeros_like(world.mdp.successor), world.mdp.probability, world.mdp.reward, world.mdp.terminated, start
        )
        victim = networks(3, 2, 3, width=64, seed=6)
        found = bracket(mdp, victim, 0.3, 0.9, observations=world.observations(), max_boxes=10**5)
        assert found.closed.all()
        assert (found.at_start()["upper"] - found.at_start()["lower"] < TOLERANCE).all()


def linear(rows, seed):
    """Linear victims of two actions on the unit square, and the lead of action 0 with its gain, ``[S, N]``, ``[S]``."""
    rng = np.random.default_rng(seed)
    modules = []
    for _ in range(rows):
        module = nn.Linear(2, 2)
        module.weight.data = torch.from_numpy(2 * rng.normal(size=(2, 2))).float()
        module.bias.data = -(module.weight.data @ torch.from_numpy(rng.random(2)).float())
        modules.append(nn.Sequential(module))
    return ModuleVictim(modules)


class TestSampled:
    @pytest.mark.slow
    def test_two_actions_in_closed_form(self):
        """pi(0) is the logistic function of the lead, whose extremes over a box are lead +- epsilon |w|_1."""
        world, victim = problem(10, states=6, actions=2), linear(2, seed=1)
        obs = torch.from_numpy(world.observations()).double()
        low, high, natural = [], [], []
        for module in victim.modules:
            weight = (module[0].weight[0] - module[0].weight[1]).double()
            lead = obs @ weight + (module[0].bias[0] - module[0].bias[1]).double()
            gain = 0.1 * weight.abs().sum()
            for which, shift in ((low, -gain), (natural, 0.0), (high, gain)):
                first = torch.sigmoid(lead + shift)
                which.append(torch.stack([first, 1 - first], dim=-1).detach().numpy())
        low, natural, high = map(np.array, (low, natural, high))
        low, high = np.minimum(low, high), np.maximum(low, high)
        choices = choices_of_intervals(natural, low, high)
        for settings in ({"gamma": 0.9}, {"horizon": 8}, {"horizon": 8, "attacks": 2}):
            exact = worst_case(world.mdp, choices, **settings)
            found = bracket(world, victim, 0.1, sampled=True, **settings)
            assert found.closed.all()
            assert (found.lower <= exact.upper + 1e-4).all()
            assert (found.upper >= exact.lower - 1e-4).all()
            assert np.abs(found.upper - found.lower).max() < 1e-3
            assert (found.upper < found.natural - 0.01).any()

    @pytest.mark.slow
    @pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
    def test_the_order_with_three_actions(self, activation):
        world, victim = problem(11, states=4), networks(3, 2, 3, seed=9, scale=0.3, activation=activation)
        found = bracket(world, victim, 0.1, 0.9, sampled=True, max_boxes=4096)
        assert (found.lower <= found.upper).all()
        assert (found.upper <= found.natural + TOLERANCE).all()
        own = attacked_value(world, victim, found.attack, 0.1, 0.9, sampled=True).value
        assert np.abs(own - found.upper).max() < TOLERANCE
        for attack in (FGSM(), PGD(5), Noise()):
            value = attacked_value(world, victim, attack, 0.1, 0.9, sampled=True, draws=4)
            assert (value.value >= found.lower - TOLERANCE).all()
        inside = found.at_start()["upper"] - found.at_start()["lower"]
        assert (inside < 0.25 * (found.at_start()["natural"] - found.at_start()["upper"])).any()

    @pytest.mark.slow
    def test_few_boxes_leave_bounds_that_hold(self):
        world, victim = problem(12, actions=2), networks(3, 2, 2, seed=10, scale=0.5)
        fine, coarse = (bracket(world, victim, 0.1, 0.9, sampled=True, max_boxes=most) for most in (10**4, 1))
        assert fine.closed.all()
        assert not coarse.closed.all()
        assert (coarse.lower <= fine.upper).all()
        assert (coarse.upper >= fine.lower).all()
        assert (coarse.lower < fine.lower - 0.01).any()

    @pytest.mark.slow
    def test_a_row_is_the_run_of_its_victim_to_the_bit(self):
        world, victim = problem(13, actions=2), networks(3, 2, 2, seed=11, scale=0.5)
        every = bracket(world, victim, 0.1, 0.9, sampled=True)
        one = bracket(world, ModuleVictim(victim.modules[2]), 0.1, 0.9, sampled=True)
        for name in ("lower", "upper", "natural", "closed", "undecided", "boxes"):
            assert np.array_equal(getattr(one, name)[0], getattr(every, name)[2]), name

    def test_action_values_are_refused(self):
        with pytest.raises(ValueError, match="whose softmax is no policy"):
            bracket(problem(1), ModuleVictim(networks(1, 2, 3).modules, True), 0.1, 0.9, sampled=True)


class TestKnownDraw:
    """E_u min_x' over real balls: the adversary knows the number u that the action is drawn with."""

    def test_actions_between_the_bounds_by_hand(self):
        """F_0 in [.1, .3], F_1 in [.4, .6]: action 0 below .3, action 1 from .1 to .6, action 2 from .4 on."""
        found = known_draw_within([[[0.2, 0.3, 0.5]]], [[[0.1, 0.4]]], [[[0.3, 0.6]]])
        share = (found.allowed * found.chance[..., None]).sum(axis=2)[0, 0]
        assert share == pytest.approx([0.3, 0.5, 0.6])
        assert found.chance.sum() == pytest.approx(1)
        assert found.natural_policy()[0, 0] == pytest.approx([0.2, 0.3, 0.5])
        begin = np.cumsum(found.chance[0, 0]) - found.chance[0, 0]
        assert begin[found.allowed[0, 0, :, 1]].min() == pytest.approx(0.1)
        assert begin[found.allowed[0, 0, :, 2]].min() == pytest.approx(0.4)
        with pytest.raises(ValueError, match="up to action 1 of state 0, row 0"):
            known_draw_within([[[0.2, 0.3, 0.5]]], [[[0.1, 0.7]]], [[[0.3, 0.6]]])
        with pytest.raises(ValueError, match=r"expected \[S, N, A\], \[S, N, A - 1\]"):
            known_draw_within([[[0.2, 0.3, 0.5]]], [[[0.1]]], [[[0.3]]])

    def test_what_no_witness_gives_for_some_draw_is_undecided_by_hand(self):
        """Witnesses give action 1 on [.2, .5] and [.3, .6], then on [.2, .4] and [.6, .7]."""
        found = object.__new__(KnownDrawVerdicts)

        def undecided(witnesses, low, high):
            found.natural, found.low, found.high = (np.array([[each]]) for each in (witnesses[0], low, high))
            found._attained = lambda: np.array([[witnesses]])
            return found._given()[0, 0], found.outer().undecided[0, 0].tolist()

        # F_0 in [.2, .3], F_1 in [.5, .6]: the sum of the lower bounds alone is .4
        given, open_ones = undecided([[0.2, 0.3, 0.5], [0.3, 0.3, 0.4]], [0.2, 0.2, 0.4], [0.3, 0.3, 0.5])
        assert given == pytest.approx([0.3, 0.4, 0.5])  # overlaps count once
        assert open_ones == [False, False, False]
        # F_0 in [.2, .6], F_1 in [.4, .7]
        given, open_ones = undecided([[0.2, 0.2, 0.6], [0.6, 0.1, 0.3]], [0.2, 0.1, 0.3], [0.6, 0.2, 0.6])
        assert given == pytest.approx([0.6, 0.3, 0.6])
        assert open_ones == [False, True, False]

    def test_one_attack_is_saved_for_a_draw_at_which_it_flips(self):
        """One state, rewards 0 and 1, two steps, pi_0 = 1/2 moved within [1 - H, H] by a logistic victim."""
        module = nn.Linear(1, 2)
        module.weight.data, module.bias.data = torch.tensor([[2.0], [0.0]]), torch.zeros(2)
        victim = ModuleVictim([nn.Sequential(module)])
        mdp = TabularMDP(np.zeros((1, 2, 1), int), np.ones((1, 2, 1)), [[[0.0], [1.0]]], np.zeros((1, 2, 1), bool))
        world = TabularDynamics(mdp, np.zeros((1, 1), np.float32), spaces.Box(-9, 9, (1,), np.float32))
        most = 1 / (1 + np.exp(-2 * 0.5))
        found = bracket(world, victim, 0.5, horizon=2, attacks=1, sampled=True, knows_draw=True)
        by_hand = 0.5 * (1 - most) + (most - 0.5) * 0.5 + (1 - most) * (2 - most)
        assert found.lower[0, 0] - 1e-4 <= by_hand <= found.upper[0, 0] + 1e-4
        assert found.upper[0, 0] - found.lower[0, 0] < 3e-4
        assert found.closed.all()
        assert found.timing is None
        with pytest.raises(ValueError, match="the adversary knows the draw"):
            _ = found.attack
        blind = bracket(world, victim, 0.5, horizon=2, attacks=1, sampled=True)
        assert blind.lower[0, 0] == pytest.approx(1 - most + 0.5, abs=3e-4)
        assert by_hand < blind.lower[0, 0] - 0.05

    @pytest.mark.slow
    @pytest.mark.parametrize("settings", [{"gamma": 0.9}, {"horizon": 5}])
    def test_with_two_actions_and_any_number_of_attacks_it_changes_nothing(self, settings):
        world, victim = problem(13, actions=2), networks(2, 2, 2, seed=11, scale=0.5)
        blind, knowing = (bracket(world, victim, 0.1, sampled=True, knows_draw=each, **settings) for each in (0, 1))
        assert np.allclose(blind.lower, knowing.lower, atol=2e-3)
        assert np.allclose(blind.upper, knowing.upper, atol=2e-3)
        assert (knowing.lower <= knowing.upper).all()
        assert (blind.upper < blind.natural - 0.01).any()

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", range(3))
    def test_no_sampled_adversary_of_three_actions_is_below_the_bound(self, seed):
        world, victim = problem(seed, states=4), networks(2, 2, 3, seed=seed, scale=0.5)
        knowing = bracket(world, victim, 0.1, 0.9, sampled=True, knows_draw=True, max_boxes=4096)
        blind = bracket(world, victim, 0.1, 0.9, sampled=True, max_boxes=4096)
        obs = torch.from_numpy(world.observations())
        u = torch.rand(4, 300, 2, generator=torch.Generator().manual_seed(seed))
        shown = (obs[:, None] + 0.1 * (2 * u - 1)).reshape(1, 1200, 2).repeat(2, 1, 1)
        policy = torch.softmax(victim.scores(shown).detach().double(), dim=-1).reshape(2, 4, 300, 3).numpy()
        own = torch.softmax(victim.scores(obs.repeat(2, 1, 1)).detach().double(), dim=-1).numpy()
        found = worst_case(
            world.mdp, known_draw(choices_of_distributions(own, np.concatenate([own[:, :, None], policy], axis=2))), 0.9
        )
        assert (knowing.lower <= found.upper).all()
        assert (knowing.lower <= knowing.upper).all()
        assert (knowing.upper <= blind.upper + 1e-3).all()
        assert (found.upper < blind.lower - 1e-3).any()
        assert np.abs(knowing.upper - found.upper).max() < 0.1 * np.ptp(knowing.natural)

    def test_a_greedy_victim_has_no_draw(self):
        with pytest.raises(ValueError, match="use knows_draw with sampled=True"):
            bracket(problem(1), networks(1, 2, 3), 0.1, 0.9, knows_draw=True)


class TestThreat:
    """A threat says all that a budget, a limit of steps and of attacks say."""

    def test_it_is_the_bracket_of_its_terms(self):
        world, victim = problem(3), networks(2, 2, 3, seed=5)
        threat = Threat(epsilons=(0.5,), scale=(0.2, 0.4), horizon=4, attacks_per_episode=1)
        found = bracket(world, victim, threat)
        same = bracket(world, victim, threat.budget(0.5), horizon=4, attacks=1)
        assert np.array_equal(found.lower, same.lower)
        assert np.array_equal(found.upper, same.upper)
        assert (found.upper < found.natural).any()

    @pytest.mark.slow
    def test_it_says_that_the_draw_is_known(self):
        world, victim = problem(3), networks(2, 2, 3, seed=5)
        drawn = Threat(epsilons=(0.5,), scale=(0.2, 0.4), victim="sampled", knows=("state", "weights", "draw"))
        knowing = bracket(world, victim, drawn, 0.9, max_boxes=64)
        assert knowing.adversary is None
        own = bracket(world, victim, drawn.budget(0.5), 0.9, sampled=True, knows_draw=True, max_boxes=64)
        assert np.array_equal(knowing.lower, own.lower)

    @pytest.mark.parametrize(
        ("terms", "given", "message"),
        [
            ({"epsilons": (0.1, 0.2)}, {"horizon": None}, r"the threat has \[0.1, 0.2\]"),
            ({"norm": "2", "epsilon_per": "episode"}, {}, "this threat has one per episode"),
            ({"knows": ("state", "weights"), "horizon": 3}, {}, "knows the step"),
            ({"knows": ("state", "step")}, {"gamma": 0.9}, "knows the weights"),
            ({}, {"attacks": 2}, "leave them out"),
        ],
    )
    def test_what_has_no_exact_worst_case_is_refused(self, terms, given, message):
        with pytest.raises(ValueError, match=message):
            bracket(problem(1), networks(1, 2, 3), Threat(**{"epsilons": (0.1,), **terms}), **given)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"gamma": 0.9}, {"horizon": 5}, {"horizon": 5, "attacks": 1}])
def test_what_the_lower_bound_relies_on_is_where_its_adversary_goes(settings):
    """0 -> 1 -> 2 goes on, 0 -> 3 ends the episode: an undecided choice counts in 2 and not in 3."""
    shape = (4, 2, 1)
    successor = np.array([[1, 3], [2, 2], [2, 2], [3, 3]])[..., None]
    terminated = np.zeros(shape, np.bool_)
    terminated[0, 1] = True
    reward = np.zeros(shape)
    reward[2, 1] = -1.0
    reward[0, 1] = reward[3, 1] = 1.0
    mdp = TabularMDP(successor, np.ones(shape), reward, terminated, [1.0, 0.0, 0.0, 0.0])
    choices = choices_of_actions(np.zeros(4, int), np.array([[True, False], [True, False], [True, True], [True, True]]))
    undecided = np.zeros((1, 4, 2), np.bool_)
    undecided[0, 2:, 1] = True
    relied = relied_on(mdp, choices, worst_case(mdp, choices, **settings), undecided)
    assert relied.tolist() == [[False, False, True, False]]


class TestAttackedValue:
    def test_it_is_the_value_of_the_policy_that_the_attack_makes(self):
        world, victim = problem(6), networks(3, 2, 3, seed=7)
        found = attacked_value(world, victim, FGSM(), 0.1, 0.9)
        shown = FGSM().propose(
            victim, torch.from_numpy(world.observations()).expand(3, -1, -1), Budget(0.1), None, None
        )
        actions = victim.act(shown).numpy()
        assert np.allclose(found.value, evaluate(world.mdp, actions, 0.9), atol=1e-12)
        assert np.allclose(found.start, found.value.mean(axis=1))

    def test_sampled_victims_act_by_the_softmax_of_their_scores(self):
        world, victim = problem(6), networks(3, 2, 3, seed=7, scale=0.5)
        found = attacked_value(world, victim, Noise(), 0.0, 0.9, sampled=True)
        policy = torch.softmax(victim.scores(torch.from_numpy(world.observations())).double(), dim=-1).detach().numpy()
        assert np.allclose(found.value, evaluate(world.mdp, policy, 0.9), atol=1e-12)

    def test_timing_by_hand(self):
        """Every second step of four, two of them: the first step of each pair is attacked."""
        world, victim = problem(7, ending=0.0), networks(2, 2, 3, seed=8)
        attacked = attacked_value(world, victim, PGD(), 0.2, horizon=4).policy
        natural = attacked_value(world, victim, Noise(), 0.0, horizon=4).policy
        assert (attacked != natural).any()
        steps = np.stack([attacked, natural, attacked, natural], axis=1)
        by_hand = evaluate_finite(world.mdp, steps, 4, per_step=True)[:, 0]
        every = attacked_value(world, victim, PGD(), 0.2, horizon=4, timing=Every(2))
        assert np.allclose(every.value, by_hand, atol=1e-12)
        first = np.stack([attacked, natural, natural, natural], axis=1)
        once = attacked_value(world, victim, PGD(), 0.2, horizon=4, attacks_per_episode=1)
        assert np.allclose(once.value, evaluate_finite(world.mdp, first, 4, per_step=True)[:, 0], atol=1e-12)

    def test_random_timing_is_an_expectation(self):
        world, victim = problem(7), networks(2, 2, 3, seed=8)
        attacked = attacked_value(world, victim, PGD(), 0.2, horizon=4).policy
        natural = attacked_value(world, victim, Noise(), 0.0, horizon=4).policy
        found = attacked_value(world, victim, PGD(), 0.2, horizon=4, timing=AtRandom(0.25))
        mixed = 0.25 * attacked + 0.75 * natural
        assert np.allclose(found.value, evaluate_finite(world.mdp, mixed, 4)[:, 0], atol=1e-12)

    def test_what_cannot_be_evaluated_is_refused(self):
        world, victim = problem(7), networks(2, 2, 3, seed=8)
        with pytest.raises(ValueError, match="give a horizon"):
            attacked_value(world, victim, PGD(), 0.2, 0.9, timing=Every(2))
        with pytest.raises(ValueError, match="action values, whose softmax is no policy"):
            attacked_value(world, ModuleVictim(victim.modules, True), PGD(), 0.2, 0.9, sampled=True)


def reached(found):
    """The actions that the attack's witnesses provoke, [S, N, A]."""
    obs = torch.from_numpy(WORLD.observations()).expand(3, -1, -1)
    shown = shown_within(obs, found.attack.witness, Budget(0.3))
    return (VICTIM.act(shown).reshape(3, 12, 4) == torch.arange(4)).numpy()


def worst_of_three():
    obs = torch.from_numpy(WORLD.observations()).expand(3, -1, -1)
    return worst_case(WORLD.mdp, choices_of_actions(VICTIM.act(obs).numpy(), np.ones((3, 12, 4), np.bool_)))


class TestExecution:
    """On a map without slips one episode is the expectation, so rollouts must equal the table."""

    @pytest.mark.slow
    @pytest.mark.parametrize("attacks", [None, 0, 1, 3])
    def test_the_attack_earns_the_upper_bound(self, attacks):
        found = bracket(WORLD, VICTIM, 0.3, attacks=attacks)
        options = {"timing": found.timing, "attacks_per_episode": attacks}
        policy = AttackedPolicy(VICTIM, found.attack, 0.3, seeds=range(3), **options)
        played = rollout(VICTIM, BatchedEnv(WORLD, range(3), 4), perturb=policy)
        start = found.at_start()
        assert np.allclose(played.returns.numpy(), start["upper"][:, None], atol=1e-5)
        assert np.allclose(attacked_value(WORLD, VICTIM, found.attack, 0.3, **options).value, found.upper, atol=1e-9)
        if attacks is None:
            assert (start["upper"] < start["natural"] - 0.05).any()
        again = rollout(VICTIM, BatchedEnv(WORLD, range(3), 4), perturb=policy)
        assert torch.equal(played.returns, again.returns)

    @pytest.mark.parametrize("attacks", [None, 2])
    def test_the_adversary_plays_the_same(self, attacks):
        found = bracket(WORLD, VICTIM, 0.3, attacks=attacks)
        budget = Budget(0.3)
        obs = torch.from_numpy(WORLD.observations()).expand(3, -1, -1)
        shown = shown_within(obs, found.attack.witness, budget).reshape(found.attack.witness.shape)
        choices = worst_case(WORLD.mdp, choices_of_actions(VICTIM.act(obs).numpy(), reached(found)), attacks=attacks)
        adversary = WorstCaseAdversary(WORLD.observations(), shown, choices)
        for _ in range(2):
            played = rollout(VICTIM, BatchedEnv(WORLD, range(3), 4), perturb=adversary)
            assert np.allclose(played.returns.numpy(), found.at_start()["upper"][:, None], atol=1e-5)

    def test_it_stands_beside_others_in_a_curve(self):
        """At the epsilon of the bracket it does what the bracket says, in the same rollout as other epsilons."""
        found = bracket(WORLD, VICTIM, 0.3)
        curve = robustness_curve(
            VICTIM, lambda copies: BatchedEnv(WORLD, range(3), copies), [found.attack, FGSM()], [0.0, 0.3], episodes=2
        )
        start = found.at_start()
        assert np.allclose(curve.returns[0, 0], start["natural"][:, None], atol=1e-5)
        assert np.allclose(curve.returns[0, 1], start["upper"][:, None], atol=1e-5)
        assert (curve.returns[1, 1] >= curve.returns[0, 1] - 1e-5).all()

    def test_the_first_step_is_what_execute_shows(self):
        found = bracket(WORLD, VICTIM, 0.3)
        obs = torch.from_numpy(WORLD.observations()).expand(3, -1, -1)
        step = torch.zeros(obs.shape[:2], dtype=torch.int64)
        assert torch.equal(
            found.attack.propose(VICTIM, obs, Budget(0.3)), found.attack.at(step, step).propose(VICTIM, obs, None)
        )
        late = found.attack.at(step + WORLD.max_steps, step)
        assert torch.equal(late.propose(VICTIM, obs, Budget(0.3)), obs)

    def test_witnesses_stay_within_the_budget(self):
        budget = Budget(0.3, "2", scale=[1.0, 0.5], low=0.0, high=1.0)
        found = bracket(WORLD, VICTIM, budget)
        obs = found.attack.observations[:, None].expand(found.attack.witness.shape).flatten(1, 2)
        assert (budget.distance(obs, found.attack.witness.flatten(1, 2)) <= 0.3 * (1 + 1e-6)).all()
        assert found.attack.witness.min() >= 0
        assert found.attack.witness.max() <= 1

    def test_an_observation_of_no_state_is_shown_as_it_is(self):
        found = bracket(WORLD, VICTIM, 0.3)
        foreign = torch.full((3, 2, 2), 0.123)
        foreign[0, 0] = torch.nan
        shown = found.attack.propose(VICTIM, foreign, Budget(0.3))
        assert torch.equal(shown.nan_to_num(9.0), foreign.nan_to_num(9.0))

    def test_codes_of_states_are_attacked_through_one_hot(self):
        world = problem(8, states=3)
        seen = TabularDynamics(world.mdp)
        victim = OneHot(networks(2, 3, 3, seed=9), spaces.Discrete(3))
        found = bracket(seen, victim, 0.6, 0.9)
        assert found.closed.all()
        assert (found.upper < found.natural - 0.01).any()


class TestBadInput:
    def test_a_problem_without_observations(self):
        with pytest.raises(ValueError, match="says nothing about observations"):
            bracket(WORLD.mdp, VICTIM, 0.1)
        with pytest.raises(ValueError, match="do not fit an MDP of 12 states"):
            bracket(WORLD.mdp, VICTIM, 0.1, observations=np.zeros((5, 2), np.float32))
        with pytest.raises(ValueError, match="no small changes"):
            bracket(TabularDynamics(WORLD.mdp), TablePolicy(np.arange(12), np.zeros(12, int)), 0.1)
        with pytest.raises(ValueError, match="must be finite"):
            bracket(WORLD.mdp, VICTIM, 0.1, observations=np.full((12, 2), np.nan, np.float32))

    def test_states_that_look_alike(self):
        with pytest.raises(ValueError, match="have equal observations"):
            bracket(WORLD.mdp, VICTIM, 0.1, observations=np.zeros((12, 2), np.float32))

    def test_a_victim_of_other_actions(self):
        with pytest.raises(ValueError, match="they do not fit"):
            bracket(WORLD, networks(1, 2, 5, seed=1), 0.1)

    def test_a_victim_that_verification_does_not_cover(self):
        with pytest.raises(ValueError, match=r"layers|covers|Sequential"):
            bracket(WORLD, LabelVictim(lambda obs: np.zeros(len(obs), int)), 0.1)

    def test_gamma_1_without_a_limit_and_attacks_without_one(self):
        world = problem(1)
        with pytest.raises(ValueError, match="gamma is 1"):
            bracket(world, networks(1, 2, 3), 0.1)
        with pytest.raises(ValueError, match="give a horizon"):
            bracket(world, networks(1, 2, 3), 0.1, 0.9, attacks=2)

    def test_epsilons_of_every_example(self):
        with pytest.raises(ValueError, match="epsilon must be one number"):
            bracket(WORLD, VICTIM, Budget(torch.full((3, 12), 0.1)))

    @pytest.mark.slow
    def test_shapes_of_the_attack(self):
        found = bracket(WORLD, VICTIM, 0.1)
        with pytest.raises(ValueError, match="3 rows and the observations of 2"):
            found.attack.propose(VICTIM, torch.zeros(2, 1, 2), Budget(0.1))
        stationary = worst_case(WORLD.mdp, choices_of_actions(np.zeros(12, int), np.ones((12, 4), bool)), 0.9)
        with pytest.raises(ValueError, match="with a horizon"):
            WorstCaseTiming(WORLD.observations(), stationary)
        with pytest.raises(ValueError, match="expected"):
            WorstCaseAttack(WORLD.observations(), np.zeros((1, 12, 2)), stationary)
        with pytest.raises(ValueError, match="3 rows"):
            WorstCaseAdversary(WORLD.observations(), found.attack.witness, worst_of_three()).perturb(
                torch.zeros(2, 1, 2)
            )
