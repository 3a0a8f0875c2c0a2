"""The study of defenses, at tiny sizes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rlkit.adversarial import APPLICABILITY, PGD, Budget, ModuleVictim, RobustnessCurve, ValueAware
from rlkit.adversarial import strongest as strongest_of_curves
from rlkit.experiments.studies.common import rows
from rlkit.experiments.studies.common.study import StudyOptions
from rlkit.experiments.studies.defenses import analysis, attacks, masking, run, settings
from rlkit.experiments.studies.defenses.analysis import (
    NATURAL,
    TEST,
    TUNING,
    CertifiedRow,
    DefenseRow,
    bar_epsilon,
    bar_table,
    chosen_configuration,
    of_case,
    strongest,
    under_attack,
)
from rlkit.experiments.studies.defenses.attacks import ATTACKERS, by_hand, constant, ready
from rlkit.experiments.studies.defenses.run import hand_made
from rlkit.experiments.studies.defenses.settings import CASES, CEILING, FLOOR, PLAIN, Configuration

PPO_PLAIN = next(case for case in CASES if case.name == "ppo-plain")
RADIAL = next(case for case in CASES if case.name == "ppo-radial")


def test_every_defense_has_as_many_configurations_and_differs_from_plain_in_the_defense_alone():
    trained = [case for case in CASES if case.algo]
    for algo, by_name in settings.CONFIGURATIONS.items():
        assert len(by_name) - 1 <= 6
        assert all(len(set(map(str, each))) == 4 for each in by_name.values())
        for name in by_name.keys() - {PLAIN}:
            served = APPLICABILITY[name]
            assert served.values if algo == "dqn" else served.policies
    for case in trained:
        training = case.training([(each, seed) for each in case.configurations for seed in (5, 6)])
        assert training.seeds == (5, 6) * 4
        assert (training.defense is None) == (case.defense == PLAIN)
        assert all(len(values) == 8 for values in training.hyperparameters.values())
        if training.defense is not None:
            assert training.defense.terms()
            assert training.defense.epsilon[::2] == tuple(each.epsilon for each in case.configurations)
        assert training.steps == settings.STEPS[case.algo] * (8 if case is settings.LONGER else 1)
    assert not set(settings.SEEDS) & set(settings.TUNING_SEEDS)


def test_longer_training_has_the_configuration_of_plain_training_and_no_part_in_the_bar(tmp_path, monkeypatch):
    known = kept_rows([250.0] * 10)
    known += [replace(each, case=settings.LONGER.name) for each in of_case(known, "ppo-plain")]
    assert [line[0] for line in bar_table(known, [PPO_PLAIN, RADIAL, settings.LONGER]).rows] == ["ppo-radial"]
    tuned = row("ppo-plain", NATURAL, 0.0, 5, 500.0, stage=TUNING, configuration=str(PPO_PLAIN.configurations[1]))
    rows.append(tmp_path / "defense-rows.csv", [tuned])
    monkeypatch.setattr(run, "measure", lambda *given: None)
    chosen = run.tune(settings.LONGER, StudyOptions(tmp_path))
    assert [(configuration, seed) for configuration, seed in chosen] == [
        (PPO_PLAIN.configurations[1], seed) for seed in settings.SEEDS
    ]


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
        for place, (attack, epsilon) in enumerate(((NATURAL, 0.0), ("PGD", settings.TUNING_EPSILON)))
    ]
    assert chosen_configuration(known, "ppo-radial") == "strong"
    only = [each for each in known if each.configuration == "lazy"]
    assert chosen_configuration(only, "ppo-radial") == "lazy"


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
    assert bar_epsilon(known, "ppo-plain") == 0.2
    (line,) = bar_table(known, [PPO_PLAIN, RADIAL]).rows
    found = dict(zip(bar_table(known, [PPO_PLAIN, RADIAL]).columns, line, strict=True))
    assert found["bar"] == verdict
    assert found["epsilon"] == 0.2
    assert found["plain median"] == 90.0
    assert found["seeds above plain"] == sum(each > 90 for each in left)


def test_the_bar_is_corrected_over_all_defenses():
    known = kept_rows([250.0] * 10)
    other = [replace(each, case="ppo-sa_ppo_kl") for each in of_case(known, "ppo-radial")]
    cases = [PPO_PLAIN, RADIAL, RADIAL._replace(name="ppo-sa_ppo_kl")]
    assert [line[-2:] for line in bar_table([*known, *other], cases).rows] == [(2 / 1024, 4 / 1024)] * 2
    assert bar_table(kept_rows([250.0] * 10, at=9.0), cases[:2]).rows == ()  # plain policies never fail


@pytest.mark.slow
def test_cases_are_measured_once(tmp_path, monkeypatch):
    small = {"SEEDS": (0, 1), "TUNING_SEEDS": (5,), "SELECTED_ON": 1, "REPORTED_ON": 1, "CERTIFIED_STATES": 2}
    quick = {"value-aware, by hand": ready(ValueAware(by_hand, PGD(1, every_action=False)))}
    trained = {"ADVERSARIES": 1, "ADVERSARY_STEPS": (1024,)}
    for module in (run, attacks, masking):
        for name, value in {**small, **trained, "ATTACKERS": quick}.items():
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(settings, "STEPS", {"ppo": 300})
    cases = [case for case in CASES if case.name in (FLOOR, "ppo-plain", "ppo-radial")]
    options = StudyOptions(tmp_path / "rows", tmp_path / "models")
    found = run.run(cases, options)
    assert [line[0] for line in found[0].rows] == [case.name for case in cases]
    known = rows.read(tmp_path / "rows" / "defense-rows.csv", DefenseRow)
    epsilons = len(settings.EPSILONS)
    assert len(known) == (1 + 2 * 2) * (1 + epsilons) + 2 * 4 * 2
    fewest = [each.earned for each in of_case(known, FLOOR)]
    assert len({*fewest}) == 1  # whatever is shown
    assert fewest[0] < 12
    assert {each.configuration for each in of_case(known, "ppo-radial")} == {chosen_configuration(known, "ppo-radial")}
    certified = rows.read(tmp_path / "rows" / "certified-rows.csv", CertifiedRow)
    assert all(each.certified + each.changed + each.undecided == pytest.approx(1.0) for each in certified)
    assert {each.certified for each in certified if each.case == FLOOR} == {1.0}
    assert (tmp_path / "rows" / "defenses.svg").is_file()
    masked = masking.of_masked(tmp_path / "rows" / "masking-rows.csv", "ppo-radial")
    assert [(each.attack, each.steps, each.seed) for each in masked] == [
        (name, steps, seed)
        for name, steps in ((masking.CORNERS, 0), (masking.TRANSFERRED, 0), (masking.LEARNED, 1024))
        for seed in (0, 1)
    ]
    monkeypatch.setattr(run, "rlkit_policy", None)
    assert run.run(cases, options) == found
    assert set(ATTACKERS) > set(quick)
    assert Configuration() in {Configuration(*each.configurations[0][:2]) for each in CASES if each.defense == PLAIN}
    assert analysis.figure(known).axes


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


def learned_rows(means):
    """Three adversaries on two seeds, whose mean return after every number of steps is given."""
    return [
        masking.MaskingRow("ppo-radial", seed, masking.LEARNED, steps, k, settings.MASKING_EPSILON, mean + k - 1)
        for steps, mean in zip(settings.ADVERSARY_STEPS, means, strict=False)
        for k in range(settings.ADVERSARIES)
        for seed in (0, 1)
    ]


def test_adversaries_are_trained_until_a_doubling_changes_less_than_two_percent():
    assert not masking.settled(learned_rows([100.0, 100.0]))  # three numbers of steps at least
    assert masking.settled(learned_rows([300.0, 100.0, 98.5]))
    assert not masking.settled(learned_rows([300.0, 100.0, 97.5]))
    assert not masking.settled(learned_rows([100.0, 100.0, 102.5]))  # nor where the return rises
    known = learned_rows([300.0, 100.0, 98.5])
    assert list(masking.by_steps(known)) == list(settings.ADVERSARY_STEPS[:3])
    assert list(masking.by_steps(known[:-1])) == list(settings.ADVERSARY_STEPS[:2])  # one adversary is missing
    lines = masking.adversary_table(known).rows
    assert [line[3] for line in lines] == [None, pytest.approx(-2 / 3), pytest.approx(-0.015)]
    assert [line[4].value for line in lines] == [299.0, 99.0, 97.5]
    assert not set(masking.adversary_seeds(settings.SEEDS, 0)) & {*settings.SEEDS, *settings.TUNING_SEEDS}
    attacks_known = [replace(known[0], attack=name, steps=0) for name in (masking.CORNERS, masking.TRANSFERRED)]
    assert masking.complete([*known, *attacks_known])
    assert not masking.complete([*known, attacks_known[0]])


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
