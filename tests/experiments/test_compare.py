"""The comparison with stable-baselines3: equal settings, honest numbers."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3.common.monitor import Monitor

import rlkit.sb3
from rlkit.agents import DQN
from rlkit.agents.configs import A2CConfig, DQNConfig, PPOConfig, REINFORCEConfig
from rlkit.agents.presets import RL_ZOO_DQN_CARTPOLE, RL_ZOO_PPO_CARTPOLE
from rlkit.experiments.cli import main
from rlkit.experiments.workflows.compare import SB3Process, SB3Result, hyperparameter_table, sb3_job_for, sb3_subject
from rlkit.experiments.workflows.compare.analysis import settings_table
from rlkit.experiments.workflows.compare.sb3_job import HYPERPARAMETER_MAPS, Config, algorithm_of
from rlkit.experiments.workflows.compare.sb3_process import SB3Failed, training_curve
from rlkit.experiments.workflows.compare.sb3_worker import make_model
from rlkit.experiments.workflows.train import Training

TRAINING = Training(env="CartPole-v1", algo="dqn", seeds=(0, 1), steps=300)
QUICK = ("learning_starts=50", "batch_size=16", "net_arch=16,", "train_freq=4", "gradient_steps=1")


@pytest.mark.parametrize(
    "settings",
    [{}, RL_ZOO_DQN_CARTPOLE, {"learning_rate": 1e-3, "learning_rate_schedule": "linear", "activation": "tanh"}],
    ids=["defaults", "rl-zoo", "linear"],
)
def test_stable_baselines3_gets_the_very_settings(settings: dict) -> None:
    config = DQNConfig(**settings)
    model = make_model(sb3_job_for(TRAINING, config, (7,)), 7)
    assert model.seed == 7
    for name in (
        "learning_starts", "batch_size", "tau", "gamma", "gradient_steps", "target_update_interval",
        "exploration_fraction", "exploration_initial_eps", "exploration_final_eps", "max_grad_norm", "buffer_size",
    ):  # fmt: skip
        assert getattr(model, name) == getattr(config, name), name
    assert model.train_freq.frequency == config.train_freq
    assert model.lr_schedule(1.0) == config.learning_rate
    assert model.lr_schedule(-0.1) >= 0.0  # training is rounded up, past the end of the schedule
    halfway = config.learning_rate * (0.5 if config.learning_rate_schedule == "linear" else 1.0)
    assert model.lr_schedule(0.5) == pytest.approx(halfway)
    layers = [layer for layer in model.q_net.q_net if isinstance(layer, torch.nn.Linear)]
    assert tuple(layer.out_features for layer in layers) == (*config.net_arch, 2)
    activation = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[config.activation]
    assert sum(isinstance(layer, activation) for layer in model.q_net.q_net) == len(config.net_arch)
    assert model.policy.optimizer.defaults["eps"] == 1e-8
    assert model.env.env_is_wrapped(Monitor)[0]  # as it wraps an environment that it makes from a name


@pytest.mark.parametrize("config", [DQNConfig(), A2CConfig(), PPOConfig()], ids=lambda config: type(config).__name__)
def test_no_hyper_parameter_is_lost_on_the_way(config: Config) -> None:
    matching = HYPERPARAMETER_MAPS[algorithm_of(config)]
    said = [
        *matching.same,
        *matching.scheduled,
        *matching.scheduled.values(),
        *matching.policy,
        *matching.normalization,
    ]
    assert {field.name for field in fields(config)} == {*said, *matching.fixed, *matching.unmatched}
    make_model(sb3_job_for(TRAINING, config, (7,)), 7)  # every name exists in stable-baselines3 too


@pytest.mark.parametrize(
    "config",
    [
        A2CConfig(n_steps=8, gamma=0.9, gae_lambda=0.8, ent_coef=0.01, vf_coef=0.3, max_grad_norm=0.7),
        A2CConfig(normalize_advantage=True, learning_rate=1e-3, learning_rate_schedule="linear"),
        PPOConfig(n_steps=32, batch_size=16, n_epochs=3, target_kl=0.02, clip_range=0.1, clip_range_vf=0.3),
    ],
    ids=["a2c", "a2c-linear", "ppo"],
)
def test_actor_critics_get_the_very_settings_too(config: A2CConfig | PPOConfig) -> None:
    order = sb3_job_for(replace(TRAINING, num_envs=4), config, (7,))
    model = make_model(order, 7)
    assert model.seed == 7
    assert model.n_envs == 4
    for name in HYPERPARAMETER_MAPS[order.algorithm].same:
        if hasattr(model, name):  # the rest is the optimizer's
            assert getattr(model, name) == getattr(config, name), name
    assert model.lr_schedule(1.0) == config.learning_rate
    assert model.lr_schedule(-0.1) >= 0.0
    extractor = model.policy.mlp_extractor
    for part in (extractor.policy_net, extractor.value_net):
        assert [layer.out_features for layer in part if isinstance(layer, torch.nn.Linear)] == [64, 64]
        assert sum(isinstance(layer, torch.nn.Tanh) for layer in part) == 2
    if isinstance(config, A2CConfig):
        assert model.policy.optimizer.defaults["eps"] == config.rms_prop_eps
        assert model.policy.optimizer.defaults["alpha"] == 0.99
    else:
        assert model.clip_range(1.0) == config.clip_range
        assert model.clip_range_vf(1.0) == config.clip_range_vf


def test_a_clip_range_that_falls_stays_above_zero_at_stable_baselines3() -> None:
    config = PPOConfig(**{name: value for name, value in RL_ZOO_PPO_CARTPOLE.items() if name != "num_envs"})
    order = sb3_job_for(replace(TRAINING, num_envs=8), config, (0,))
    assert order.linear == ("learning_rate", "clip_range")  # no range for the value: nothing there can fall
    model = make_model(order, 0)
    assert model.clip_range(0.5) == pytest.approx(0.1)
    assert model.clip_range(-0.01) == 0.0


def test_what_rlkit_normalizes_stable_baselines3_normalizes(tmp_path: Path) -> None:
    training = Training("CartPole-v1", "a2c", (0,), 40, hyperparameters={"normalize_rewards": True}, num_envs=2)
    config = training.make_agent().config
    order = sb3_job_for(training, config, (0,))
    env = make_model(order, 0).get_vec_normalize_env()
    assert (env.norm_obs, env.norm_reward, env.gamma) == (False, True, config.gamma)
    rows = {row[0]: row[1:] for row in hyperparameter_table(config, order).rows}
    assert rows["normalize_observations"] == ("False", "False")
    assert rows["normalize_rewards"] == ("True", "True")
    plain = sb3_job_for(training, A2CConfig(), (0,))
    assert make_model(plain, 0).get_vec_normalize_env() is None
    with pytest.raises(ValueError, match="normalize_observations is always False in stable-baselines3, got True"):
        sb3_job_for(TRAINING, DQNConfig(normalize_observations=True), (0,))


@pytest.mark.slow
def test_a_normalized_sb3_model_is_evaluated_behind_its_moments(tmp_path: Path) -> None:
    settings = {"normalize_observations": True, "normalize_rewards": True}
    training = Training("CartPole-v1", "ppo", (0,), 512, "rl-zoo", settings, num_envs=8)
    order = sb3_job_for(training, training.make_agent().config, (0, 1))
    with SB3Process(order, tmp_path) as reference:
        results = reference.results()
    assert [result.normalization for result in results] == [tmp_path / f"sb3-seed{seed}.pkl" for seed in (0, 1)]
    subject = sb3_subject(training, "PPO", results)
    moments = [one.obs_rms for one in subject.policy.vec_normalize]
    assert all(one.count > 500 and np.abs(one.mean).max() > 0.0 for one in moments)
    assert not np.array_equal(moments[0].mean, moments[1].mean)
    assert max(earned for _, earned in results[0].episodes) > 10.0  # rewards as they are, not as they are learned from


def test_an_algorithm_or_a_number_of_copies_that_stable_baselines3_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="stable-baselines3 has no REINFORCE"):
        sb3_job_for(TRAINING, REINFORCEConfig(), (0,))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_envs is left to the preset"):
        sb3_job_for(replace(TRAINING, num_envs=None), PPOConfig(), (0,))


def test_defaults_are_stable_baselines3s_own() -> None:
    import stable_baselines3

    theirs = stable_baselines3.DQN("MlpPolicy", "CartPole-v1", device="cpu")
    ours = make_model(sb3_job_for(TRAINING, DQNConfig(), (0,)), 0)
    for name in ("gamma", "tau", "batch_size", "learning_starts", "target_update_interval", "max_grad_norm"):
        assert getattr(theirs, name) == getattr(ours, name), name
    assert [p.shape for p in theirs.q_net.parameters()] == [p.shape for p in ours.q_net.parameters()]


def test_the_table_of_settings_begins_with_what_computes() -> None:
    agent = TRAINING.make_agent()
    table = settings_table(agent, sb3_job_for(TRAINING, agent.config, (0,)))
    assert table.rows[:2] == (("engine", agent.engine.name, "torch"), ("device", "cpu", "cpu"))
    assert table.rows[2:] == hyperparameter_table(agent.config, sb3_job_for(TRAINING, agent.config, (0,))).rows


def test_the_table_shows_both_sides() -> None:
    config = DQNConfig(learning_rate=2e-3, learning_rate_schedule="linear")
    table = hyperparameter_table(config, sb3_job_for(TRAINING, config, (0,)))
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["gamma"] == ("0.99", "0.99")
    assert rows["learning_rate"] == ("0.002", "progress -> 0.002 max(progress, 0)")
    assert rows["net_arch"] == ("64 64", "64 64")


@pytest.mark.parametrize("variant", [{"double": True}, {"loss": "squared"}, {"learning_rate_schedule": "step"}])
def test_a_variant_that_stable_baselines3_lacks_is_refused(variant: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(variant))):
        sb3_job_for(TRAINING, DQNConfig(**variant), (0,))  # type: ignore[arg-type]


def test_a_hyperparameter_per_seed_has_no_counterpart() -> None:
    with pytest.raises(ValueError, match="gamma has one value per seed"):
        sb3_job_for(TRAINING, DQNConfig(gamma=(0.9, 0.99)), (0,))


def test_training_episodes_fall_into_the_interval_they_ended_in() -> None:
    episodes = ((10, 10.0), (20, 20.0), (21, 30.0))
    result = SB3Result(0, Path("m"), None, 1.0, 1.0, 40, episodes)
    curve = training_curve((result,), np.array([20, 30, 40]))
    np.testing.assert_array_equal(curve.y, [[15.0], [30.0], [np.nan]])


def test_an_interrupt_ends_the_process_of_stable_baselines3(tmp_path: Path) -> None:
    training = Training(env="CartPole-v1", algo="dqn", seeds=(0,), steps=1_000_000)
    reference = SB3Process(sb3_job_for(training, DQNConfig(), (0,)), tmp_path)
    assert reference.running
    reference.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert not reference.running
    assert not list(tmp_path.glob("*.zip"))


@pytest.mark.slow
def test_a_failure_of_stable_baselines3_is_reported_in_its_own_words(tmp_path: Path) -> None:
    order = sb3_job_for(Training(env="Pendulum-v1", algo="dqn", seeds=(0,), steps=10), DQNConfig(), (0,))
    with SB3Process(order, tmp_path) as reference, pytest.raises(SB3Failed, match=r"ended with 1: .*action space"):
        reference.results()


def test_without_stable_baselines3_the_remedy_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for command in (["compare", "--out", str(tmp_path / "c")], ["demo", "--out", str(tmp_path / "d")]):
        assert main(command) == 2
        assert "pip install 'rlkit-exact[sb3]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small comparison, two seeds of rlkit, one of stable-baselines3."""
    out = tmp_path_factory.mktemp("compare") / "run"
    args = ["compare", "--seeds", "2", "--sb3-seeds", "1", "--steps", "300", "--episodes", "3", "--out", str(out)]
    assert main([*args, "--set", *QUICK, "--json"]) == 0
    return out


@pytest.mark.slow
def test_compare_evaluates_both_on_the_same_episodes(compared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = json.loads((compared / "run.json").read_text(encoding="utf-8"))
    results, said = run["results"], " ".join(run["notes"])
    assert run["settings"]["engine"] == DQN("CartPole-v1", device="cpu").engine.name
    (table,) = (each for each in run["tables"] if each["name"] == "hyperparameters")
    assert table["rows"][0] == ["engine", run["settings"]["engine"], "torch"]
    assert results["sb3_cpu_seconds"][0] > 0
    assert results["difference"]["value"] == pytest.approx(results["return"]["value"] - results["sb3_return"]["value"])
    assert results["sb3_return"]["lower"] is None  # one seed: nothing is known about the next
    assert "(one seed: no interval)" in said
    assert "inf]" not in said
    capsys.readouterr()
    zipped = str(compared / "sb3-seed0.zip")
    args = ["evaluate", zipped, "--algo", "DQN", "--env", "CartPole-v1", "--trust", "--episodes", "3", "--json"]
    assert main(args) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["results"]["seed_returns"] == results["sb3_seed_returns"]


@pytest.mark.slow
def test_the_sb3_model_is_what_stable_baselines3_trains_in_this_process(compared: Path) -> None:
    settings = json.loads((compared / "run.json").read_text(encoding="utf-8"))["settings"]["hyperparameters"]
    config = DQNConfig(**{key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()})
    here = make_model(sb3_job_for(TRAINING, config, (0,)), 0).learn(300)
    there = rlkit.sb3.load(compared / "sb3-seed0.zip", "DQN", trust=True).models[0]
    for ours, theirs in zip(here.q_net.parameters(), there.q_net.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_training_of_stable_baselines3_leaves_no_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    make_model(sb3_job_for(TRAINING, DQNConfig(), (0,)), 0).learn(8)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_stopped_comparison_trains_no_finished_seed_again(
    compared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, iteration, done = tmp_path / "run", DQN.iteration, []

    def stopped(agent: DQN) -> None:
        iteration(agent)
        done.append(agent.num_timesteps)
        if len(done) == 30:
            for _ in range(1200):  # until stable-baselines3's only seed is finished
                if (out / "sb3-seed0.json").is_file():
                    break
                time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGTERM)

    args = ["compare", "--seeds", "2", "--sb3-seeds", "1", "--steps", "300", "--episodes", "3", "--out", str(out)]
    args += ["--set", *QUICK, "--json"]
    with monkeypatch.context() as patch:
        patch.setattr(DQN, "iteration", stopped)
        assert main(args) == 143
    assert f"interrupted at step {done[-1]} of 300 of rlkit; continue with: rlkit compare" in capsys.readouterr().err
    model, written = (out / "sb3-seed0.zip").read_bytes(), (out / "sb3-seed0.json").stat().st_mtime_ns
    assert main([*args, "--resume"]) == 0
    assert ((out / "sb3-seed0.zip").read_bytes(), (out / "sb3-seed0.json").stat().st_mtime_ns) == (model, written)
    one, other = (json.loads((folder / "run.json").read_text(encoding="utf-8")) for folder in (compared, out))
    for name in ("return", "seed_returns", "sb3_seed_returns", "difference"):
        assert one["results"][name] == other["results"][name], name
    assert (compared / "training.csv").read_bytes() == (out / "training.csv").read_bytes()
