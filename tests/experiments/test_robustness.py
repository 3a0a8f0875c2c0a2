"""The robustness experiment: it goes on where it stopped, and its tables are of its rows."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from victims import Linear, normal

from rlkit.adversarial import FGSM, Budget, Noise, Stacked
from rlkit.adversarial.measures.robustness_curve import NATURAL
from rlkit.agents import PPO, load
from rlkit.experiments.benchmarks import attacks
from rlkit.experiments.studies.common import rows
from rlkit.experiments.studies.common.policy_cache import rlkit_policy, sb3_policy
from rlkit.experiments.studies.common.tasks import CARTPOLE, TASKS
from rlkit.experiments.studies.robustness import run, settings
from rlkit.experiments.studies.robustness.analysis import AttackRow, curve_table, figure, order_table, rows_of
from rlkit.experiments.studies.robustness.objectives import Pair, objective_table, pairs
from rlkit.experiments.studies.robustness.settings import CASES, RobustnessCase, names_of
from rlkit.experiments.studies.tuned import settings as tuned
from rlkit.experiments.workflows.attack import aliasing
from rlkit.experiments.workflows.compare import sb3_job_for
from rlkit.experiments.workflows.fitted_attacks import linear
from rlkit.experiments.workflows.policies import RLKIT, SB3
from rlkit.experiments.workflows.train import Training
from rlkit.figure_style import ALIASED, svg

TINY = Training(
    "CartPole-v1", "ppo", (0, 1), 256, None, {"n_steps": 64, "batch_size": 32, "n_epochs": 1, "net_arch": (16,)}
)
CASE = RobustnessCase("cartpole-tiny", CARTPOLE._replace(epsilons=(0.5, 2.0)), TINY, TINY)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "EPISODES", 2)
    monkeypatch.setattr(run, "SEEDS", (0, 1))
    monkeypatch.setattr(run, "ATTACKS", {"sign noise": Noise("sign"), "FGSM": FGSM()})
    monkeypatch.setattr(run, "LINEAR_EPSILONS", {CARTPOLE.name: (0.5,)})
    monkeypatch.setattr(run, "linear", partial(linear, generations=1))


@pytest.mark.slow
def test_a_case_is_trained_once_and_attacked_once(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.csv"
    run.run_case(CASE, RLKIT, tmp_path, path)
    known = rows.read(path, AttackRow)
    assert len(known) == 2 * (1 + 2 * 2 + 1)
    assert [row.seed for row in rows_of(known, "cartpole-tiny", RLKIT, run.LINEAR_ADVERSARY)] == [0, 1]
    agent = load(tmp_path / "cartpole-tiny" / "agent.safetensors", device="cpu")
    natural = [row.mean_return for row in rows_of(known, "cartpole-tiny", RLKIT, NATURAL)]
    assert natural == agent.evaluate(2).mean(axis=1).tolist()
    written = path.read_text(encoding="utf-8")
    monkeypatch.setattr(run, "POLICIES", {})  # nothing is opened or trained again
    run.run_case(CASE, RLKIT, tmp_path, path)
    assert path.read_text(encoding="utf-8") == written
    monkeypatch.setattr(run, "POLICIES", {RLKIT: rlkit_policy})
    monkeypatch.setattr(run, "ATTACKS", {**run.ATTACKS, "best": Noise("uniform")})
    run.run_case(CASE, RLKIT, tmp_path, path)
    assert len(rows.read(path, AttackRow)) == 2 * (1 + 3 * 2 + 1)


@pytest.mark.slow
def test_the_models_of_stable_baselines3_are_trained_where_missing(small: None, tmp_path: Path) -> None:
    run.run_case(CASE, SB3, tmp_path, tmp_path / "rows.csv")
    assert len(rows.read(tmp_path / "rows.csv", AttackRow)) == 12
    again = sb3_policy(CASE.sb3_training, tmp_path / "cartpole-tiny")
    assert isinstance(again, Stacked)
    assert again.seeds == (0, 1)


def made(attack: str, epsilon: float, earned: list[float], case: str = "grid-x") -> list[AttackRow]:
    return [AttackRow(case, RLKIT, seed, attack, epsilon, one, 0.25) for seed, one in enumerate(earned)]


KNOWN = [
    *made(NATURAL, 0.0, [10.0, 12.0, 11.0]),
    *made("sign noise", 1.0, [8.0, 9.0, 9.5]),
    *made("FGSM", 1.0, [3.0, 4.1, 4.4]),
    *made("PGD-20", 1.0, [3.0, 4.0, 4.5]),
]


@pytest.mark.slow
def test_tables_and_figure() -> None:
    table = curve_table(KNOWN[::-1])
    assert [row[2] for row in table.rows] == [NATURAL, "sign noise", "FGSM", "PGD-20"]
    assert table.rows[0][4].value == 11.0
    assert table.rows[1][5].value == 0.25
    order = order_table(KNOWN)
    assert [(row[2], row[3], row[6]) for row in order.rows] == [
        ("sign noise", "FGSM", "harms more"), ("FGSM", "PGD-20", "")
    ]  # fmt: skip
    assert order.rows[0][5].value == pytest.approx(-5.0)
    drawn = figure(KNOWN, aliasing=0.5)
    panel = drawn.axes[0]
    assert [line.get_label() for line in panel.lines] == ["sign noise", "FGSM", "PGD-20", ALIASED]
    assert panel.lines[0].get_ydata().tolist() == [11.0, pytest.approx(np.mean([8.0, 9.0, 9.5]))]
    assert svg(drawn).startswith(b"<?xml")
    assert ALIASED not in [line.get_label() for line in figure(KNOWN, aliasing=None).axes[0].lines]


# The margin and the cross-entropy


def linear_case(actions: int) -> tuple[Linear, torch.Tensor]:
    return Linear(3.0 * normal(2, 4, actions)), torch.tensor(CARTPOLE.scale) * normal(2, 300, 4, seed=1)


def test_with_two_actions_both_objectives_are_one_attack() -> None:
    victim, obs = linear_case(2)
    for attack in ("FGSM", "PGD-20"):
        for pair in pairs(CASE, RLKIT, victim, obs, attack, 0.3):
            assert pair.shown == pair.action == 0.0
            assert pair.lead_margin == pair.lead_cross_entropy
            assert pair.regret_margin == pair.regret_cross_entropy > 0.0


def test_with_three_actions_they_differ_where_the_third_weighs_enough() -> None:
    victim, obs = linear_case(3)
    found = pairs(CASE, RLKIT, victim, obs, "FGSM", 0.3)
    scores, scale = victim.scores(obs), torch.tensor(CARTPOLE.scale)
    for s, pair in enumerate(found):
        assert (pair.seed, pair.attack, pair.epsilon) == (s, "FGSM", 0.3)
        shown, leads, regrets = [], [], []
        for x, true in zip(obs[s], scores[s], strict=True):
            a = int(true.argmax(dim=0))
            others = [b for b in range(3) if b != a]
            runner_up = max(others, key=lambda b: true[b])
            ways = {b: victim.weight[s, :, b] - victim.weight[s, :, a] for b in others}
            weighed = sum(true.softmax(dim=0)[b] * ways[b] for b in others)
            directions = [way.sign() for way in (ways[runner_up], weighed)]
            shown.append(not torch.equal(*directions))
            at = [(x + 0.3 * scale * direction) @ victim.weight[s] for direction in directions]
            leads.append([max(each[b] for b in others) - each[a] for each in at])
            regrets.append([true[a] - true[each.argmax(dim=0)] for each in at])
        assert 0.01 < pair.shown == pytest.approx(np.mean(shown), abs=1e-6)
        assert (pair.lead_margin, pair.lead_cross_entropy) == pytest.approx(np.mean(leads, axis=0), abs=1e-4)
        assert (pair.regret_margin, pair.regret_cross_entropy) == pytest.approx(np.mean(regrets, axis=0), abs=1e-4)


@pytest.mark.slow
def test_objectives_are_compared_once_and_tabled(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pairs.csv"
    run.compare_objectives(CASE, RLKIT, tmp_path, path)
    known = rows.read(path, Pair)
    assert len(known) == 2 * 2 * 2  # attacks, epsilons, seeds
    assert all(pair.shown == 0.0 for pair in known if pair.attack == "FGSM")  # the cart-pole has two actions
    monkeypatch.setattr(run, "POLICIES", {})
    run.compare_objectives(CASE, RLKIT, tmp_path, path)
    assert rows.read(path, Pair) == known
    low, high = (
        replace(known[0], seed=s, action=share, regret_cross_entropy=9.0) for s, share in enumerate((0.2, 0.4))
    )
    (line,) = objective_table([replace(low, regret_margin=7.0), replace(high, regret_margin=6.0)]).rows
    assert line[:4] == ("cartpole-tiny", RLKIT, "FGSM", 0.5)
    assert (line[5].value, line[7].value, line[8].value) == pytest.approx((0.3, 6.5, 2.5))


def test_a_case_trains_in_the_environment_of_its_task_and_has_the_seeds_of_all() -> None:
    for case in CASES:
        for training in (case.training, case.sb3_training):
            assert (training.env, training.env_kwargs, training.seeds) == (
                case.task.env, case.task.env_kwargs, settings.SEEDS
            )  # fmt: skip
    of_task = {case.name for case in CASES if case.training is not case.sb3_training}
    assert of_task == {"cartpole-dqn", "cartpole-a2c", "cartpole-ppo"}
    first = next(case.training for case in tuned.CASES if case.name == "dqn-first")
    assert CASES[0].training.hyperparameters == first.hyperparameters


@pytest.mark.slow
def test_every_case_can_be_trained_by_both_makers() -> None:
    assert {case.name for case in CASES} == {name for task in TASKS for name in names_of(task)}
    for case in CASES:
        one = replace(case.training, seeds=(0,)).make_agent()
        assert len(case.task.scale) == np.prod(one.observation_space.shape)
        other = replace(case.sb3_training, seeds=(0,)).make_agent()
        sb3_job_for(case.sb3_training, other.config, (0,))
        assert settings.EPISODES > 0


def test_where_states_read_alike() -> None:
    grid = {"map": "frozenlake-4x4", "observation": "coordinates"}
    assert aliasing("rlkit/GridWorld-v0", grid, Budget(0.0)) == pytest.approx(1 / 6)
    assert aliasing("rlkit/GridWorld-v0", {"map": "frozenlake-4x4"}, Budget(0.0)) is None
    assert aliasing("CartPole-v1", {}, Budget(0.0)) is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_foolbox_flips_what_rlkit_flips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = PPO("CartPole-v1", seeds=[0, 1], device="cpu", preset="tuned").learn(2000)
    monkeypatch.setattr(attacks, "CARTPOLE", CARTPOLE._replace(epsilons=(0.2, 0.8)))
    monkeypatch.setattr(attacks, "STEPS", 5)  # of PGD
    other, own = attacks.foolbox(agent, 1), attacks.rlkit_curve(agent[0], 1)
    assert own.flip_rates == pytest.approx(other.flip_rates, abs=0.02)
    assert own.steps == pytest.approx(other.steps, rel=0.05)
    assert 0.05 < other.flip_rates[0] < other.flip_rates[1]
    agent.save(tmp_path / "ppo.safetensors")
    assert attacks.main(["--policy", str(tmp_path / "ppo.safetensors"), "--episodes", "1"]) == 0
