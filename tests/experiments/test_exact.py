"""Learners evaluated in the table that they learned in: exact returns, regret, mistakes, and their curves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from rlkit.adversarial import FGSM, AttackedPolicy, Threat
from rlkit.agents import A2C, DQN, TabularQ
from rlkit.envs import GridWorld
from rlkit.experiments.cli import main
from rlkit.experiments.report import ledger
from rlkit.experiments.workflows.exact import (
    FINAL_WORK,
    Exact,
    all_probabilities,
    evaluate_exactly,
    exact_answer,
    exact_of,
    exact_part,
    finite_problem,
    pictured_threat,
    work,
)
from rlkit.experiments.workflows.train import ExactCurve, Training, train
from rlkit.mdp import TabularMDP
from rlkit.planning import evaluate, evaluate_finite, start_value

LAKE = "FrozenLake-v1"
GRID = "rlkit/GridWorld-v0"


def tabular(num_seeds: int = 3, env: str = LAKE) -> TabularQ:
    return TabularQ(env, seeds=range(num_seeds), device="cpu")


def known(agent: TabularQ | DQN | A2C, env: str = LAKE, **env_kwargs: str) -> Exact:
    exact = exact_of(agent, env, env_kwargs, FINAL_WORK)
    assert exact is not None
    return exact


@pytest.mark.slow
def test_the_optimum_itself_is_recognized() -> None:
    agent = tabular()
    exact = known(agent)
    agent.table.flat.copy_(torch.tensor(exact.by_gamma.q.ravel()).expand(3, -1))
    found = evaluate_exactly(agent, exact)
    assert found.suboptimal_probability is not None
    assert found.discounted is not None
    assert found.regret is not None
    assert found.errors_mean is not None
    np.testing.assert_allclose(found.returns, exact.stationary, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.discounted, exact.by_gamma.value[0], rtol=0, atol=1e-9)
    assert not found.suboptimal_probability.any()
    assert np.abs(found.regret).max() < 1e-9
    assert not found.errors_mean.any()


@pytest.mark.slow
def test_every_seed_is_evaluated_as_it_would_be_alone() -> None:
    agent = tabular().learn(500)
    exact, found = known(agent), evaluate_exactly(agent, known(agent))
    assert found.regret is not None
    assert found.suboptimal_probability is not None
    for row in range(3):
        policy = agent[row].table.flat.reshape(16, 4).argmax(dim=1).numpy()
        mdp = exact.problem.mdp
        assert found.returns[row] == pytest.approx(start_value(mdp, evaluate_finite(mdp, policy)[0]), abs=1e-14)
        np.testing.assert_allclose(found.regret[row], exact.by_gamma.value - evaluate(mdp, policy, 0.99), atol=1e-14)
        wrong = ~exact.by_gamma.optimal_actions[np.arange(16), policy]
        np.testing.assert_array_equal(found.suboptimal_probability[row], wrong)


@pytest.mark.slow
def test_an_exact_return_is_what_episodes_earn_on_average() -> None:
    grid = "rlkit/GridWorld-v0"
    agent = tabular(2, grid).learn(1000)
    played = agent.evaluate(1000)
    found = evaluate_exactly(agent, known(agent, grid))
    error = played.std(axis=1) / np.sqrt(1000)
    assert (np.abs(played.mean(axis=1) - found.returns) <= 4 * error + 1e-12).all()


def test_sampled_policies_are_evaluated_by_their_probabilities() -> None:
    agent = A2C("rlkit/GridWorld-v0", seeds=range(2), device="cpu")
    exact = known(agent, "rlkit/GridWorld-v0")
    probabilities = all_probabilities(agent, exact.problem)
    assert probabilities.shape == (2, 16, 4)
    found = evaluate_exactly(agent, exact, sampled=True)
    mdp = exact.problem.mdp
    expected = start_value(mdp, evaluate_finite(mdp, probabilities)[:, 0])
    np.testing.assert_allclose(found.returns, expected, rtol=0, atol=1e-14)
    assert found.suboptimal_probability is not None
    wrong = (probabilities * ~exact.by_gamma.optimal_actions).sum(axis=-1)
    np.testing.assert_allclose(found.suboptimal_probability, wrong, rtol=0, atol=1e-6)
    assert found.errors_mean is None  # logits are no action values
    scaled = DQN("rlkit/GridWorld-v0", device="cpu", normalize_rewards=True)
    assert evaluate_exactly(scaled, exact).errors_mean is None  # nor are those of other rewards the optimum's


@pytest.mark.slow
def test_looking_on_changes_nothing_and_sees_every_interval() -> None:
    training = Training(LAKE, "tabularq", seeds=(0, 1, 2), steps=600)
    watched, alone = training.make_agent(), training.make_agent()
    curve = ExactCurve(known(watched))
    train(training, watched, curve)
    train(training, alone)
    assert torch.equal(watched.table.flat, alone.table.flat)
    assert curve.timesteps == list(range(12, 601, 12))
    assert np.asarray(curve.curve.y).shape == (50, 3)
    stopped = training.make_agent()
    for done in stopped.training(600, every=12):
        if done == 300:
            break
    found = evaluate_exactly(stopped, known(stopped))
    np.testing.assert_array_equal(np.asarray(curve.curve.y)[curve.timesteps.index(300)], found.returns)


@pytest.mark.slow
def test_the_panel_of_a_training_has_values_under_attack_and_training_does_not_notice() -> None:
    kwargs = {"map": "russell-norvig-4x3", "observation": "coordinates"}
    training = Training(GRID, "dqn", seeds=(0, 1), steps=600, env_kwargs=kwargs, hyperparameters={"net_arch": (16,)})
    watched, alone = training.make_agent(), training.make_agent()
    exact = exact_of(watched, GRID, kwargs, 10**9)
    assert exact is not None
    assert exact.limited is not None
    task = pictured_threat(exact.problem, GRID, kwargs)
    assert task is not None
    assert task.epsilons == (0.1, 0.2, 0.4, 0.8, 1.6)
    curve = ExactCurve(exact, threat=replace(task, epsilons=(0.0, 1.6)))
    train(training, watched, curve)
    train(training, alone)
    assert isinstance(watched, DQN)
    assert isinstance(alone, DQN)
    assert torch.equal(watched.network.flat, alone.network.flat)
    (panel,) = curve.panels()
    steps, epsilon = panel.sliders
    assert (steps.positions[-1], epsilon.positions) == (600.0, (0.0, 0.0, 1.6))
    np.testing.assert_array_equal(panel.value[:, 0], panel.value[:, 1])  # nothing is changed within 0
    np.testing.assert_array_equal(panel.policy[:, 0], panel.policy[:, 1])
    states = torch.as_tensor(exact.problem.observations().copy())
    attacked = AttackedPolicy(watched, FGSM(), task.budget(1.6)).act(states.expand(2, *states.shape)).numpy()  # [S, N]
    value = evaluate_finite(exact.problem.mdp, attacked, exact.limited.horizon)[:, 0].mean(axis=0)
    going_on = ~exact.problem.mdp.ended
    np.testing.assert_allclose(panel.value[-1, 2, going_on], value[going_on], rtol=0, atol=1e-12)
    assert (panel.value[-1, 2, going_on] != panel.value[-1, 0, going_on]).any()


def test_only_small_maps_seen_as_real_numbers_have_a_threat() -> None:
    others: tuple[dict[str, Any], ...] = ({"map": "frozenlake-4x4"}, {"observation": "planes"})
    for kwargs in others:
        assert pictured_threat(GridWorld(**kwargs), GRID, kwargs) is None
    onehot: dict[str, Any] = {"observation": "onehot"}
    assert pictured_threat(GridWorld(**onehot), GRID, onehot) == Threat()


def test_which_problems_are_finite() -> None:
    for name in (LAKE, "Taxi-v4", "CliffWalking-v1", "rlkit/GridWorld-v0", "rlkit/probe-delayed-reward"):
        problem = finite_problem(name, {})
        assert problem is not None
        assert len(problem.observations()) == problem.mdp.num_states
    for name in ("CartPole-v1", "Acrobot-v1", "Blackjack-v1"):
        assert finite_problem(name, {}) is None


@pytest.mark.slow
def test_without_limit_the_discounted_return_is_the_measure() -> None:
    agent = DQN("rlkit/probe-delayed-reward", seeds=range(2), device="cpu", gamma=0.5)
    exact = known(agent, "rlkit/probe-delayed-reward")
    assert exact.limited is None
    assert exact.stationary is None
    assert exact.measure == "return at gamma 0.5"
    assert exact.optimum == pytest.approx(start_value(exact.problem.mdp, exact.by_gamma.value))
    np.testing.assert_allclose(evaluate_exactly(agent, exact).returns, exact.optimum)  # there is one action


def test_rows_of_different_gamma_are_evaluated_under_the_limit_alone() -> None:
    agent = TabularQ(LAKE, seeds=range(2), device="cpu", gamma=(0.9, 0.99))
    exact = known(agent)
    assert exact.discounted is None
    found = evaluate_exactly(agent, exact)
    assert found.suboptimal_probability is None
    assert exact_part("name", agent.seeds, agent, exact, None).tables[0].columns == ("policy", exact.measure, "regret")
    grid = GridWorld(max_steps=None)
    assert exact_answer(grid, None) is None


def test_what_would_take_long_is_left_out() -> None:
    agent = tabular()
    problem = finite_problem(LAKE, {})
    assert problem is not None
    assert work(3, problem) == 3 * 16 * 100
    assert exact_of(agent, LAKE, {}, 3 * 16 * 100 - 1) is None
    assert exact_part("name", agent.seeds, agent, None, None).tables == ()


def test_where_an_episode_is_over() -> None:
    ours, theirs = GridWorld("frozenlake-4x4").mdp, TabularMDP.from_gymnasium(gymnasium.make(LAKE))
    for mdp in (ours, theirs):
        assert np.flatnonzero(mdp.ended).tolist() == [5, 7, 11, 12, 15]
    bandit = TabularMDP.from_transitions([[[(1.0, 0, 1.0, True)], [(1.0, 0, 0.0, True)]]])
    assert not bandit.ended.any()  # one step, and a choice in it


@pytest.mark.slow
def test_commands_print_and_draw_the_exact_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "lake"
    args = ["train", "--env", LAKE, "--algo", "tabularq", "--seeds", "3", "--steps", "500", "--episodes", "2"]
    assert main([*args, "--out", str(folder), "--json"]) == 0
    exact = json.loads(capsys.readouterr().out)["results"]["exact"]
    assert exact["optimum"] == pytest.approx(0.7441902879, abs=1e-9)
    assert len(exact["seed_returns"]) == len(exact["seed_mistakes"]) == 3
    assert np.shape(exact["curve"]["returns"]) == (50, 3)
    assert exact["curve"]["returns"][-1] == exact["seed_returns"]
    assert len(exact["state_regrets"]) == 16
    (panel,) = ledger.read(folder).panels
    assert panel.map == ("SFFF", "FHFH", "FFFH", "HFFG")
    np.testing.assert_allclose(panel.value[:, 0], np.mean(exact["curve"]["returns"], axis=1), rtol=1e-3)
    assert panel.reference_value[0] == pytest.approx(0.7442, abs=1e-4)
    np.testing.assert_allclose(panel.policy.sum(axis=-1), 1.0, atol=2e-3)  # shares of three seeds, rounded
    for name in ("regret", "mistakes"):
        assert (folder / f"{name}.svg").read_bytes().startswith(b"<?xml")
    assert main(["evaluate", str(folder / "agent.safetensors"), "--episodes", "2", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["results"]["exact"]
    assert again["seed_returns"] == exact["seed_returns"]
    assert main(["evaluate", str(folder / "agent.safetensors"), "--episodes", "2"]) == 0
    assert "return in 100 steps" in capsys.readouterr().out
