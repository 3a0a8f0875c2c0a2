"""The study of defenses, at tiny sizes."""

from dataclasses import replace
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from source_tree import ROOT

import rlkit.agents
from rlkit.adversarial import APPLICABILITY, PGD, Budget, ModuleVictim, RobustnessCurve, ValueAware
from rlkit.adversarial import strongest as strongest_of_curves
from rlkit.adversarial.defenses import interval
from rlkit.envs import GridWorld
from rlkit.experiments.studies.common import rows
from rlkit.experiments.studies.common.study import StudyOptions
from rlkit.experiments.studies.common.tasks import GRID
from rlkit.experiments.studies.defenses import analysis, attacks, input_gradients, masking, run, settings
from rlkit.experiments.studies.defenses.analysis import (
    NATURAL,
    TEST,
    TUNING,
    CertifiedRow,
    ChosenRow,
    DefenseRow,
    WorstCaseRow,
    bar_epsilon,
    bar_table,
    chosen_configuration,
    corrected,
    epsilon_of_tests,
    family,
    longer_table,
    of_case,
    strongest,
    under_attack,
)
from rlkit.experiments.studies.defenses.attacks import ATTACKERS, GRID_ATTACKERS, by_hand, constant, ready
from rlkit.experiments.studies.defenses.input_gradients import DistanceRow, distance_table, order_table
from rlkit.experiments.studies.defenses.run import hand_made
from rlkit.experiments.studies.defenses.settings import (
    CASES,
    CEILING,
    COMPARISONS,
    FIRST,
    FLOOR,
    PLAIN,
    cases_of,
    product_of,
)
from rlkit.nn import MLP
from rlkit.nn.matmul import ALIGNMENT
from rlkit.planning import backward_induction

PPO_PLAIN = next(case for case in CASES if case.name == "ppo-plain")
RADIAL = next(case for case in CASES if case.name == "ppo-radial")
LONGER = settings.LONGER[FIRST.name]


def test_every_arm_has_as_many_configurations_and_differs_from_plain_in_the_defense_alone():
    for comparison in (each for each in COMPARISONS if not each.of):
        served = "values" if comparison.algo == "dqn" else "policies"
        assert next(iter(comparison.configurations)) == PLAIN
        assert set(comparison.exploratory) < set(comparison.configurations)
        assert len(set(comparison.configurations) - {PLAIN, *comparison.exploratory}) <= 6
        assert all(getattr(APPLICABILITY[name], served) for name in comparison.configurations if name != PLAIN)
        assert not set(comparison.seeds) & set(comparison.tuning_seeds)
        assert len(comparison.tuning_seeds) == (3 if comparison.primary else 2)
        for case in cases_of(comparison):
            assert len(set(map(str, case.configurations))) == (8 if comparison.primary else 4)
            training = case.training([(each, seed) for each in case.configurations[:2] for seed in (5, 6)])
            assert training.seeds == (5, 6) * 2
            assert training.steps == comparison.steps
            assert (training.defense is None) == (case.defense == PLAIN)
            if training.defense is not None:
                assert training.hyperparameters == comparison.hyperparameters
                assert training.defense.epsilon[::2] == tuple(each.epsilon for each in case.configurations[:2])
                assert len(training.defense.terms()) == 1
    tests = [case for case in CASES if case.tested and case.comparison.primary]
    assert len(tests) * 2 / 1024 < 0.05  # the smallest p of ten pairs survives Holm's correction
    assert "grid-dqn-plain-equal" in {case.name for case in CASES}
    equal = settings.EQUAL
    assert not equal.tested
    given = equal.training([(equal.given, 5)])
    assert given.hyperparameters == {**settings.GRID_DQN.hyperparameters, "gamma": (0.99,), "learning_rate": (0.002,)}


def test_plain_training_is_as_long_as_the_gradients_of_the_most_expensive_defense():
    times = {"ppo": 8, "grid-dqn": 4, "grid-ppo": 8, "cartpole-dqn": 4, "cartpole-ppo": 8}
    assert set(settings.LONGER) == set(times)
    for name, longer in settings.LONGER.items():
        comparison = longer.comparison
        training = longer.training([(comparison.configurations[PLAIN][0], 5)])
        assert training.steps == times[name] * comparison.steps
        assert not longer.tested
        assert longer.chosen_in == f"{name}-plain"


class CountedCalls:
    """A function that counts how often it is called."""

    def __init__(self, function):
        self.function, self.count = function, 0

    def __call__(self, *given):
        self.count += 1
        return self.function(*given)


class BackwardPasses:
    """Counts the backward passes of minibatches through a network of scores."""

    def __init__(self, monkeypatch, network):
        self.network, self.count = network, 0
        for name in ("vjp", "input_vjp"):
            monkeypatch.setattr(MLP, name, self.by_hand(getattr(MLP, name)))
        monkeypatch.setattr(MLP, "__call__", self.by_autograd(MLP.__call__))
        for name in ("thin_affine", "thin_product"):
            monkeypatch.setattr(interval, name, self.of_bounds(getattr(interval, name)))

    def counted(self, tensor):
        """Count when the gradient of a tensor is computed."""

        def count(_):
            self.count += 1

        if tensor.requires_grad:
            tensor.register_hook(count)

    def by_hand(self, method):
        def wrapped(network, x):
            output, pull = method(network, x)

            def counting(*given):
                self.count += network is self.network()
                return pull(*given)

            return output, counting

        return wrapped

    def by_autograd(self, method):
        def wrapped(network, x):
            output = method(network, x)
            if network is self.network() and x.shape[1] >= ALIGNMENT:  # a smaller minibatch is padded and passed again
                self.counted(output)
            return output

        return wrapped

    def of_bounds(self, product):
        def wrapped(*given):
            output = product(*given)
            if output.shape[-1] not in self.network().sizes[1:-1]:  # centers or radii of the scores
                self.counted(output)
            return output

        return wrapped


@pytest.mark.parametrize("algo", settings.GRADIENT_EVALUATIONS)
def test_gradient_evaluations_are_the_backward_passes_of_an_update(algo, monkeypatch):
    comparison = next(each for each in COMPARISONS if each.name == f"grid-{algo}")
    made = {}

    def network():
        return made["agent"].network if algo == "dqn" else made["agent"].actor_critic.policy

    passes = BackwardPasses(monkeypatch, network)
    own = [each for each in COMPARISONS if each.algo == algo]
    tested = {name for each in own for name in each.configurations if name not in each.exploratory}
    assert set(settings.GRADIENT_EVALUATIONS[algo]) == tested
    for name in tested:
        configurations = next(c.configurations for c in COMPARISONS if c.algo == algo and name in c.configurations)
        training = comparison.training(name, [(configurations[name][0], 5)])
        made["agent"] = agent = replace(training, engine="torch").make_agent()
        agent.differentiate = updates = CountedCalls(agent.differentiate)
        passes.count = 0
        agent.learn(1100)
        assert updates.count
        assert passes.count == settings.GRADIENT_EVALUATIONS[algo][name] * updates.count, name


FURTHER = {case.name: case for case in CASES if case.comparison.of and case.given is None}


def test_further_defenses_have_the_sizes_and_twins_of_their_comparison_and_no_part_in_its_tests(tmp_path):
    by_name = {comparison.name: comparison for comparison in COMPARISONS}
    for case in FURTHER.values():
        comparison, other = case.comparison, by_name[case.comparison.of]
        for field in ("task", "algo", "steps", "tuning_seeds", "seeds", "hyperparameters"):
            assert getattr(comparison, field) == getattr(other, field)
        assert len(set(map(str, case.configurations))) == 8
        assert not case.tested
        assert case not in family(other)
        assert family(comparison) == ()
        broken = [row(other.plain, "worst case", epsilon, seed, -4.0) for epsilon in (0.2, 0.4) for seed in (0, 1)]
        whole = [row(other.plain, "worst case", 0.1, seed, 0.7) for seed in (0, 1)]
        assert bar_epsilon([*whole, *broken], comparison) == 0.2
    twins = {name: case.twin for name, case in FURTHER.items()}
    assert twins.pop("grid-ppo-further-weight_decay") == "grid-ppo-further-linear"
    assert {twin for name, twin in twins.items() if name.startswith("grid-ppo")} == {"grid-ppo-plain"}
    assert {twin for name, twin in twins.items() if name.startswith("grid-dqn")} == {"grid-dqn-plain"}
    chosen = rows.read(ROOT / "results" / "defenses" / "chosen-rows.csv", ChosenRow)
    (plain,) = (each.configuration for each in chosen if each.case == "grid-dqn-plain")
    assert str(by_name["grid-dqn-further"].teacher) == plain


def test_further_defenses_are_the_trainings_that_their_names_say(tmp_path):
    def training(name):
        case = FURTHER[name]
        return case.training([(each, 5) for each in case.configurations], str(tmp_path / "teacher"))

    wocar = training("grid-dqn-further-wocar")
    assert (wocar.algo, wocar.hyperparameters["attack_scale"]) == ("wocardqn", GRID.scale)
    assert wocar.hyperparameters["attack_epsilon"] == wocar.defense.epsilon == (0.2,) * 4 + (0.4,) * 4
    assert wocar.hyperparameters["worst_case_weight"] == (0.2, 0.5) * 4
    assert (wocar.defense.name, wocar.defense.strength) == ("sa_dqn_hinge", (0.0, 0.0, 0.005, 0.005) * 2)
    without = FURTHER["grid-dqn-further-wocar"]
    assert without.training([(without.configurations[0], 5)]).defense is None  # no strength, no default strength
    distilled = training("grid-dqn-further-distillation")
    assert distilled.defense.temperature == (1, 1, 20, 20, 100, 100, 1, 100)
    assert distilled.defense.strength == (1, 10, 1, 10, 1, 10, 100, 100)
    assert training("grid-dqn-further-tanh").make_agent().config.activation == "tanh"
    assert training("grid-ppo-further-relu").make_agent().config.activation == "relu"
    for name in ("grid-ppo-further-linear", "grid-ppo-further-weight_decay"):
        assert training(name).make_agent().networks["policy"].sizes == (2, 4)
    decayed = training("grid-ppo-further-weight_decay")
    assert decayed.defense.strength[0] == 1e-4
    equal, own = settings.LINEAR_EQUAL, decayed.make_agent().config
    given = equal.training([(equal.given, 5)]).make_agent().config
    assert not equal.tested
    assert (given.gamma, given.ent_coef) == ((own.gamma,), (own.ent_coef,))


@pytest.mark.slow
def test_a_distilled_policy_learns_from_plain_training_of_its_own_seed(tmp_path):
    case = FURTHER["grid-dqn-further-distillation"]
    case = case._replace(comparison=case.comparison._replace(steps=1_400))
    of = [(each, seed) for each, seed in zip(case.configurations, (5, 6, 7), strict=False)]
    subject = run.subject_of(case, of, tmp_path)
    teacher = rlkit.agents.load(tmp_path / "teacher" / "agent.safetensors", device="cpu")
    assert teacher.seeds == subject.policy.seeds == (5, 6, 7)
    alone = case.comparison.training(PLAIN, [(case.comparison.teacher, 6)]).make_agent().learn(1_400)
    assert torch.equal(teacher.network.flat[1], alone.network.flat[0])
    terms = case.training(of, str(tmp_path / "teacher" / "agent.safetensors")).defense.terms()
    obs = teacher.evaluation_env(1).obs
    assert torch.equal(terms[0].teacher(teacher.features(obs)), teacher.scores(obs))


def test_configurations_are_the_products_of_a_table():
    assert list(map(str, product_of({"epsilon": [0.1, 0.2], "strength": 0.5}))) == [
        "epsilon 0.1, strength 0.5",
        "epsilon 0.2, strength 0.5",
    ]
    assert list(map(str, product_of({"limit": [1, 2], "strength": 0.1}))) == [
        "strength 0.1, limit 1",
        "strength 0.1, limit 2",
    ]
    assert [str(each) for each in FIRST.configurations["sa_ppo_kl"]] == [
        f"epsilon {epsilon:g}, strength {strength:g}"
        for epsilon, strength in ((0.2, 0.3), (0.4, 0.3), (0.4, 1), (0.4, 3))
    ]


def test_the_grids_optimum_is_that_of_its_table():
    world = GridWorld(**GRID.env_kwargs)
    best = world.mdp.start @ backward_induction(world.mdp, world.mdp.max_steps).value[0]
    assert settings.OPTIMUM[GRID.name] == pytest.approx(best, abs=1e-12)


def test_longer_training_has_the_configuration_of_plain_training_and_no_part_in_the_bar(tmp_path, monkeypatch):
    known = kept_rows([250.0] * 10)
    known += [replace(each, case=LONGER.name) for each in of_case(known, "ppo-plain")]
    assert [line[0] for line in bar_table(known, FIRST).rows] == ["ppo-radial"]
    tuned = row("ppo-plain", NATURAL, 0.0, 5, 500.0, stage=TUNING, configuration=str(PPO_PLAIN.configurations[1]))
    rows.append(tmp_path / "defense-rows.csv", [tuned])
    monkeypatch.setattr(run, "measure", lambda *given: None)
    chosen = run.tune(LONGER, StudyOptions(tmp_path))
    assert [(configuration, seed) for configuration, seed in chosen] == [
        (PPO_PLAIN.configurations[1], seed) for seed in FIRST.seeds
    ]
    better = replace(tuned, selected=501.0, earned=501.0, configuration=str(PPO_PLAIN.configurations[2]))
    rows.append(tmp_path / "defense-rows.csv", [better])
    assert run.tune(LONGER, StudyOptions(tmp_path)) == chosen  # a choice is frozen


def test_defenses_are_compared_with_longer_plain_training_at_the_epsilon_of_the_bar():
    known = kept_rows([250.0] * 10)
    assert longer_table(known).rows == ()
    known += [
        replace(each, case=LONGER.name, selected=260.0, earned=260.0 if each.seed else 240.0)
        for each in of_case(known, "ppo-plain")
    ]
    ((case, epsilon, median, of_plain, above, gain, p),) = longer_table(known).rows
    assert (case, epsilon, median.value, of_plain.value, above) == ("ppo-radial", 0.2, 250.0, 260.0, 1)
    assert gain.value == pytest.approx(-8.0)
    assert p == 22 / 1024  # all signs, and those with one difference turned, in both directions


@pytest.mark.slow
def test_a_row_of_the_tuning_is_the_training_of_its_own_configuration():
    of = [(each, 5) for each in RADIAL.configurations[::3]]
    together = replace(RADIAL.training(of), steps=600).make_agent().learn(600)
    alone = replace(RADIAL.training(of[-1:]), steps=600).make_agent().learn(600)
    assert torch.equal(together.actor_critic.flat[-1], alone.actor_critic.flat[0])
    assert not torch.equal(together.actor_critic.flat[0], alone.actor_critic.flat[0])


def test_the_floor_always_pushes_and_the_ceiling_balances():
    obs = torch.tensor([[[0.0, 0.0, 0.1, 0.0], [0.0, 0.0, -0.1, 0.0]]])
    assert hand_made(FLOOR).act(obs).tolist() == [[1, 1]]
    assert hand_made(CEILING).act(obs).tolist() == [[1, 0]]


def test_values_by_hand_and_constant_ones_name_the_action_to_provoke():
    obs = torch.tensor([[[0.0, 0.0, 0.1, 0.0], [0.0, 0.0, -0.1, 0.0]]])
    assert by_hand(obs).argmin(dim=-1).tolist() == [[0, 1]]
    for action in (0, 1):
        assert constant(action)(obs).argmin(dim=-1).tolist() == [[action, action]]
    assert constant(1, 3)(obs).argmin(dim=-1).tolist() == [[1, 1]]


def test_the_torque_of_the_lowest_value_takes_the_most_energy_from_acrobot():
    env = gym.make("Acrobot-v1").unwrapped
    rng = np.random.default_rng(5)
    for state in rng.uniform(-1.5, 1.5, (20, 4)):
        env.reset(seed=0)
        env.dt = 0.01  # the power at this state, not the energy of a whole step
        after = []
        for action in range(3):
            env.state = state.copy()
            env.step(action)
            after.append(energy(env, env.state))
        theta1, theta2, *velocities = state
        obs = [np.cos(theta1), np.sin(theta1), np.cos(theta2), np.sin(theta2), *velocities]
        values = attacks.pumping(torch.tensor(obs)[None, None])
        assert values.argmin() == np.argmin(after)
        assert values.argmax() == np.argmax(after)


def energy(acrobot, state):
    """Kinetic and potential energy of the two links, from the parameters of gymnasium's equations."""
    theta1, theta2, v1, v2 = state
    m1, m2 = acrobot.LINK_MASS_1, acrobot.LINK_MASS_2
    l1, lc1, lc2 = acrobot.LINK_LENGTH_1, acrobot.LINK_COM_POS_1, acrobot.LINK_COM_POS_2
    inertia, g = acrobot.LINK_MOI, 9.8
    d11 = m1 * lc1**2 + m2 * (l1**2 + lc2**2 + 2 * l1 * lc2 * np.cos(theta2)) + 2 * inertia
    d12 = m2 * (lc2**2 + l1 * lc2 * np.cos(theta2)) + inertia
    d22 = m2 * lc2**2 + inertia
    kinetic = 0.5 * d11 * v1**2 + d12 * v1 * v2 + 0.5 * d22 * v2**2
    height1, height2 = -lc1 * np.cos(theta1), -l1 * np.cos(theta1) - lc2 * np.cos(theta1 + theta2)
    return kinetic + g * (m1 * height1 + m2 * height2)


def row(case, attack, epsilon, seed, selected, earned=None, stage=TEST, configuration=""):
    return DefenseRow(
        case, stage, configuration, seed, attack, epsilon, selected, selected if earned is None else earned
    )


def test_the_strongest_attack_is_selected_as_of_curves():
    rng = np.random.default_rng(3)
    natural, returns = rng.uniform(0, 9, (2, 4)), rng.uniform(0, 9, (2, 3, 2, 4))  # [S, E], [K, L, S, E]
    epsilons, seeds = (0.1, 0.2, 0.4), range(2)

    def curve(episodes):
        counts, costs = np.zeros((2, 3, 2, 2), dtype=np.int64), np.zeros((2, 3))
        return RobustnessCurve(
            attacks=("a", "b"),
            epsilons=epsilons,
            budget=Budget(epsilons[-1]),
            natural=natural[:, episodes],
            returns=returns[..., episodes],
            lengths=counts,
            flips=counts,
            attacked=counts,
            capped=counts > 0,
            natural_lengths=counts[0, 0],
            natural_capped=counts[0, 0] > 0,
            timing="always",
            queries=costs,
            seconds=costs,
        )

    expected = strongest_of_curves(curve(slice(2)), curve(slice(2, 4))).returns[0].mean(axis=-1)  # [L, S]
    own = [row("x", NATURAL, 0.0, s, natural[s, :2].mean(), natural[s, 2:].mean()) for s in seeds]
    own += [
        row("x", name, epsilon, s, returns[k, i, s, :2].mean(), returns[k, i, s, 2:].mean())
        for k, name in enumerate("ab")
        for i, epsilon in enumerate(epsilons)
        for s in seeds
    ]
    found = [under_attack(own, epsilon) for epsilon in epsilons]
    np.testing.assert_allclose(found, expected)
    assert [each.seed for each in strongest(own, 0.4)] == [0, 1]


def test_the_configuration_is_the_most_robust_of_those_that_keep_the_natural_return():
    earned = {"weak": (500.0, 90.0), "strong": (480.0, 300.0), "lazy": (474.0, 474.0)}
    known = [
        row("ppo-radial", attack, epsilon, seed, each[place], stage=TUNING, configuration=name)
        for name, each in earned.items()
        for seed in range(3)
        for place, (attack, epsilon) in enumerate(((NATURAL, 0.0), ("PGD", settings.EPSILONS[-1])))
    ]
    assert chosen_configuration(known, RADIAL) == "strong"
    only = [each for each in known if each.configuration == "lazy"]
    assert chosen_configuration(only, RADIAL) == "lazy"
    equal = [replace(each, configuration="higher") for each in known if each.configuration == "strong"]
    equal = [replace(each, selected=490.0, earned=490.0) if each.attack == NATURAL else each for each in equal]
    assert chosen_configuration([*known, *equal], RADIAL) == "higher"


def kept_rows(left, natural=500.0, at=0.2):
    """Rows of ten seeds that keep everything below ``at`` and ``left`` there."""
    rows_of = []
    for case, each in (("ppo-plain", [90.0] * 10), ("ppo-radial", left)):
        for seed in range(10):
            rows_of.append(row(case, NATURAL, 0.0, seed, natural if case == "ppo-radial" else 500.0))
            rows_of += [
                row(case, "PGD", epsilon, seed, 500.0 if epsilon < at else each[seed]) for epsilon in settings.EPSILONS
            ]
    return rows_of


@pytest.mark.parametrize(
    ("left", "natural", "verdict"),
    [
        ([250.0] * 10, 475.0, "met"),
        ([249.0] * 10, 500.0, "not met"),
        ([250.0] * 9 + [90.0], 500.0, "met"),  # nine above their twin
        ([250.0] * 8 + [90.0] * 2, 500.0, "not met"),
        ([250.0] * 10, 474.0, "not met"),
    ],
)
def test_the_bar(left, natural, verdict):
    known = kept_rows(left, natural)
    assert bar_epsilon(known, FIRST) == 0.2
    (line,) = bar_table(known, FIRST).rows
    found = dict(zip(bar_table(known, FIRST).columns, line, strict=True))
    assert found["bar"] == verdict
    assert found["epsilon"] == 0.2
    assert found["plain median"] == 90.0
    assert found["seeds above plain"] == sum(each > 90 for each in left)


def test_a_task_whose_optimum_is_not_known_has_a_threshold_and_no_bar():
    acrobot = next(each for each in COMPARISONS if each.name == "acrobot-ppo")
    assert acrobot.epsilons == (0.05, 0.1, 0.2)
    assert acrobot.training(PLAIN, [(acrobot.configurations[PLAIN][0], 5)]).preset == "rl-zoo"
    known = [
        row(f"acrobot-ppo-{name}", attack, epsilon, seed, left if epsilon else natural)
        for name, natural, left in ((PLAIN, -80.0, -500.0), ("radial", -100.0, -101.0), ("sa_ppo_kl", -101.0, -99.0))
        for seed in range(10)
        for attack, epsilon in ((NATURAL, 0.0), ("PGD", 0.2))
    ]
    assert bar_epsilon(known, acrobot) is None
    lines = {line[0]: line for line in bar_table(known, acrobot).rows}
    assert [line[1] for line in lines.values()] == [0.2, 0.2]
    assert [lines[f"acrobot-ppo-{name}"][5] for name in ("radial", "sa_ppo_kl")] == [10, 0]  # seeds with -100
    assert {line[8] for line in lines.values()} == {"no bar"}
    assert [line[-1] for line in lines.values()] == pytest.approx([6 / 1024] * 2)  # of three, one was not run


def test_the_bar_is_corrected_over_all_defenses_of_the_family_those_that_were_not_run_too():
    known = kept_rows([250.0] * 10)
    other = [replace(each, case="ppo-sa_ppo_kl") for each in of_case(known, "ppo-radial")]
    assert [case.defense for case in family(FIRST)] == ["radial", "sa_ppo_kl", "gaussian_augmentation"]
    assert [line[-2:] for line in bar_table([*known, *other], FIRST).rows] == [(2 / 1024, 6 / 1024)] * 2
    never = kept_rows([250.0] * 10, at=9.0)  # plain policies never fail: the largest epsilon, and no bar
    assert epsilon_of_tests(never, FIRST) == 0.4
    assert [line[8] for line in bar_table(never, FIRST).rows] == ["no bar"]


def test_the_primary_comparisons_are_one_family_without_their_exploratory_arms():
    grid = next(each for each in COMPARISONS if each.name == "grid-dqn")
    cases = family(grid)
    assert {case.comparison.name for case in cases} == {each.name for each in COMPARISONS if each.primary}
    assert not {"grid-dqn-J1", "grid-dqn-J2", "grid-dqn-two_lip", "ppo-radial"} & {case.name for case in cases}
    known = [
        row(case, attack, epsilon, seed, value if epsilon else 0.7)
        for case, value in (("grid-dqn-plain", -4.0), ("grid-dqn-radial", 0.5), ("grid-dqn-J1", 0.6))
        for seed in range(10)
        for attack, epsilon in ((NATURAL, 0.0), ("worst case", 0.1))
    ]
    assert corrected(known, cases) == {"grid-dqn-radial": pytest.approx(len(cases) * 2 / 1024)}
    assert [line[-1] for line in bar_table(known, grid).rows] == [pytest.approx(len(cases) * 2 / 1024), None]


@pytest.mark.slow
def test_cases_are_measured_once(tmp_path, monkeypatch):
    tiny = FIRST._replace(steps=300, seeds=(0, 1), tuning_seeds=(5,))
    cases = [case._replace(comparison=tiny) for case in CASES if case.name in (FLOOR, "ppo-plain", "ppo-radial")]
    quick = {"value-aware, by hand": ready(ValueAware(by_hand, PGD(1, every_action=False)))}
    small = {"SELECTED_ON": 1, "REPORTED_ON": 1, "CERTIFIED_STATES": 2, "ADVERSARIES": 1}
    learners = {
        masking.LINEAR_ADVERSARY: masking.LEARNERS[masking.LINEAR_ADVERSARY]._replace(lengths=(1,)),
        masking.LEARNED: masking.LEARNERS[masking.LEARNED]._replace(lengths=(1024,)),
    }
    in_place = {"LEARNERS": learners, "ATTACKERS": quick, "CASES": cases, "COMPARISONS": (tiny,), "FIRST": tiny}
    for module in (run, analysis, attacks, masking):
        for name, value in {**small, **in_place}.items():
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)
    options = StudyOptions(tmp_path / "rows", tmp_path / "models")
    found = run.run(cases, options)
    assert [line[0] for line in found[0].rows] == [case.name for case in cases]
    known = rows.read(tmp_path / "rows" / "defense-rows.csv", DefenseRow)
    epsilons = len(settings.EPSILONS)
    assert len(known) == (1 + 2 * 2) * (1 + epsilons) + 2 * 4 * 2
    fewest = [each.earned for each in of_case(known, FLOOR)]
    assert len({*fewest}) == 1  # whatever is shown
    assert fewest[0] < 12
    assert {each.configuration for each in of_case(known, "ppo-radial")} == {chosen_configuration(known, cases[2])}
    certified = rows.read(tmp_path / "rows" / "certified-rows.csv", CertifiedRow)
    assert all(each.certified + each.changed + each.undecided == pytest.approx(1.0) for each in certified)
    assert {each.certified for each in certified if each.case == FLOOR} == {1.0}
    assert (tmp_path / "rows" / "defenses.svg").is_file()
    masked = masking.of_masked(tmp_path / "rows" / "masking-rows.csv", "ppo-radial")
    assert [(each.attack, each.length, each.seed) for each in masked] == [
        (name, length, seed)
        for name, length in (
            (masking.CORNERS, 0),
            (masking.TRANSFERRED, 0),
            (masking.LINEAR_ADVERSARY, 1),
            (masking.LEARNED, 1024),
        )
        for seed in (0, 1)
    ]
    monkeypatch.setattr(run, "rlkit_policy", None)
    assert run.run(cases, options) == found
    assert set(ATTACKERS) > set(quick)
    assert analysis.figure(known).axes


@pytest.mark.slow
def test_a_grids_cases_are_measured_by_their_exact_worst_case(tmp_path, monkeypatch):
    grid = next(each for each in COMPARISONS if each.name == "grid-dqn")
    few = {name: grid.configurations[name][:2] for name in (PLAIN, "J1")}
    tiny = grid._replace(steps=1100, seeds=(0,), tuning_seeds=(5,), configurations=few, epsilons=(0.2,))
    cases = cases_of(tiny)
    for module in (run, analysis):
        for name, value in {"CASES": cases, "COMPARISONS": (tiny,)}.items():
            monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(input_gradients, "HALVINGS", 3)
    monkeypatch.setattr(input_gradients, "MAX_BOXES", 256)
    options = StudyOptions(tmp_path / "rows", tmp_path / "models")
    found = run.run(cases, options)
    known = rows.read(tmp_path / "rows" / "defense-rows.csv", DefenseRow)
    bounds = rows.read(tmp_path / "rows" / "bounds-rows.csv", WorstCaseRow)
    assert len(known) == 2 * (2 + 1) * (1 + len(GRID_ATTACKERS))  # tuning seeds and test seeds
    for case in cases:
        own = {(row.attack, row.seed): row.earned for row in of_case(known, case.name)}
        for bound in (each for each in bounds if each.case == case.name):
            assert bound.attained == pytest.approx(own["worst case", bound.seed], abs=1e-6)
            assert bound.certified <= min(own[name, bound.seed] for name in (NATURAL, *GRID_ATTACKERS)) + 1e-9
    frozen = rows.read(tmp_path / "rows" / "chosen-rows.csv", ChosenRow)
    assert [(each.case, each.configuration) for each in frozen] == [
        (case.name, of_case(known, case.name)[0].configuration) for case in cases
    ]
    assert (tmp_path / "rows" / "grid-dqn.svg").is_file()
    distances = rows.read(tmp_path / "rows" / "distance-rows.csv", DistanceRow)
    assert len(distances) == 2 * 2  # norms
    assert all(row.certified <= row.achieved + 1e-9 for row in distances)
    by_norm = {(row.case, row.norm): row for row in distances}
    assert all(by_norm[case.name, "inf"].certified <= by_norm[case.name, "2"].achieved for case in cases)
    monkeypatch.setattr(run, "rlkit_policy", None)
    assert run.run(cases, options) == found


@pytest.mark.parametrize(
    ("third", "judged"), [([1.0] * 10, "supported"), ([-1.0] * 10, "refuted"), ([1.0, -1.0] * 5, "undecided")]
)
def test_an_order_is_judged_by_all_its_steps(third, judged):
    ones = np.ones(10)
    medians = {PLAIN: np.zeros(10), "J1": ones, "J2": 2 * ones, "two_lip": 2 * ones + third}
    known = [
        DistanceRow(f"grid-dqn-{name}", name, s, norm, 0.9 * float(each[s]), float(each[s]), 0.5)
        for name, each in medians.items()
        for s in reversed(range(10))
        for norm in input_gradients.NORMS
    ]
    lines = order_table(known).rows
    assert [line[:2] for line in lines[:3]] == [
        ("2", "J1 over plain"),
        ("2", "J2 over J1"),
        ("2", "two_lip over J2"),
    ]
    assert {line[-1] for line in lines} == {judged}
    assert [line[2].value for line in lines[:3]] == pytest.approx([1.0, 1.0, np.mean(third)])
    assert distance_table(known).rows[1][:2] == ("2", "J1")
    assert distance_table(known).rows[1][2].value == 1.0
    assert order_table(known[:20]).rows == ()  # without J2 and 2-Lip there is no order
    reversed_first = [replace(each, defense="plain-equal", achieved=1.5) for each in known if each.defense == PLAIN]
    lines = order_table([*known, *reversed_first]).rows
    assert [line[1] for line in lines[:6:3]] == ["J1 over plain", "J1 over plain-equal"]
    assert [line[-1] for line in lines[:6:3]] == [judged, "refuted"]


def test_the_corner_of_the_largest_lead_is_that_of_the_weights_signs():
    module = torch.nn.Linear(4, 3)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[1.0, -2.0, 0.5, 3.0], [-1.0, 1.0, 0.5, 0.0], [-9.0, 0.0, 0.0, 0.0]]))
        module.bias.copy_(torch.tensor([0.0, 0.0, -100.0]))  # the third action never leads
    obs, scale = torch.zeros(1, 2, 4), torch.tensor([0.1, 0.2, 0.3, 0.4])
    aim = torch.tensor([[0, 1]])
    shown = masking.Corners().propose(ModuleVictim([module]), obs, Budget(0.5, scale=scale), None, aim)
    lead = (module.weight[0] - module.weight[1]).sign()
    assert torch.equal(shown[0, 0, [0, 1, 3]], 0.5 * (scale * lead)[[0, 1, 3]])
    assert torch.equal(shown[0, 1, [0, 1, 3]], -0.5 * (scale * lead)[[0, 1, 3]])  # the third feature does not matter


def learned_rows(means, learner=masking.LEARNED):
    """Three adversaries on two seeds, whose mean return after every length of the training is given."""
    return [
        masking.MaskingRow("ppo-radial", seed, learner, length, k, settings.MASKING_EPSILON, mean + k - 1)
        for length, mean in zip(masking.LEARNERS[learner].lengths, means, strict=False)
        for k in range(settings.ADVERSARIES)
        for seed in (0, 1)
    ]


def test_adversaries_are_trained_until_a_doubling_changes_less_than_two_percent():
    settled = partial(masking.settled, name=masking.LEARNED)
    assert not settled(learned_rows([100.0, 100.0]))  # three lengths at least
    assert settled(learned_rows([300.0, 100.0, 98.5]))
    assert not settled(learned_rows([300.0, 100.0, 97.5]))
    assert not settled(learned_rows([100.0, 100.0, 102.5]))  # nor where the return rises
    known = learned_rows([300.0, 100.0, 98.5])
    assert list(masking.by_length(known, masking.LEARNED)) == list(settings.ADVERSARY_STEPS[:3])
    without_one = masking.by_length(known[:-1], masking.LEARNED)
    assert list(without_one) == list(settings.ADVERSARY_STEPS[:2])
    lines = masking.adversary_table(known).rows
    assert [line[4] for line in lines] == [None, pytest.approx(-2 / 3), pytest.approx(-0.015)]
    assert [line[5].value for line in lines] == [299.0, 99.0, 97.5]
    assert not set(masking.adversary_seeds(FIRST.seeds, 0)) & {*FIRST.seeds, *FIRST.tuning_seeds}
    attacks_known = [replace(known[0], attack=name, length=0) for name in (masking.CORNERS, masking.TRANSFERRED)]
    searched = learned_rows([300.0, 100.0, 90.0, 80.0, 70.0], masking.LINEAR_ADVERSARY)  # never settled
    assert masking.complete([*known, *searched, *attacks_known])
    assert not masking.complete([*known, *searched, attacks_known[0]])
    assert not masking.complete([*known, *attacks_known])
    assert not masking.complete([*known, *searched[:-1], *attacks_known])
    names = [line[1] for line in masking.adversary_table([*known, *searched]).rows]
    assert names == 5 * [masking.LINEAR_ADVERSARY] + 3 * [masking.LEARNED]


@pytest.mark.parametrize(("corners", "answer"), [(90.0, "yes"), (110.0, "no")])
def test_gradients_are_masked_where_an_attack_without_them_leaves_less(corners, answer):
    by_gradients = [row("ppo-radial", masking.GRADIENTS, settings.MASKING_EPSILON, s, 0.0, 100.0 + s) for s in range(5)]
    known = [
        masking.MaskingRow(
            "ppo-radial", s, masking.CORNERS, 0, 0, settings.MASKING_EPSILON, corners + s + 0.1 * (s % 2)
        )
        for s in range(5)
    ]
    lines = masking.masking_table(known, by_gradients).rows
    assert [line[1] for line in lines] == ["by hand, gradients", masking.CORNERS]
    assert lines[1][-1] == answer
    assert lines[1][3].value == pytest.approx(corners - 100.0 + 0.04)


def test_attacks_of_the_masking_count_where_they_leave_less():
    known = kept_rows([300.0] * 10, at=0.4)
    stronger = [(0, 80.0), (1, 260.0), (2, 500.0)]
    found = [
        masking.MaskingRow("ppo-radial", seed, masking.LEARNED, 10_000, 0, settings.MASKING_EPSILON, earned)
        for seed in range(10)
        for earned in (400.0, *(less for s, less in stronger if s == seed))
    ]
    ((case, reported, fewer, most, left, verdict),) = masking.strengthened_table(found, known).rows
    assert (case, reported.value, fewer, most, left.value, verdict) == ("ppo-radial", 300.0, 2, 220.0, 300.0, "met")
    weaker = [replace(each, earned=249.0) for each in found]
    ((*_, left, verdict),) = masking.strengthened_table(weaker, known).rows
    assert (left.value, verdict) == (249.0, "not met")
    below_plain = [replace(each, earned=80.0 if each.seed < 2 else each.earned) for each in found]
    assert masking.strengthened_table(below_plain, known).rows[0][-1] == "not met"  # eight of ten above their twin
    assert masking.strengthened_table(found, kept_rows([300.0] * 10, at=0.2)).rows[0][-1] == ""  # a bar elsewhere
