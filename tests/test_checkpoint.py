"""A run that is written down and taken up again is the run that was never interrupted, to the bit."""

import gymnasium
import numpy as np
import pytest
import torch

from rlkit.agents import A2C, DQN, PPO, REINFORCE, TabularQ, load, resume
from rlkit.checkpoint import load_metadata, load_tensors, save_tensors
from rlkit.envs import GridWorld

LAKE = "rlkit/GridWorld-v0"
CASES = [
    (DQN, "CartPole-v1", {"learning_starts": 32, "batch_size": 16, "buffer_size": 150, "num_envs": 2}),
    (DQN, "CartPole-v1", {"learning_starts": 32, "priority_exponent": 0.6, "n_steps": 2, "double": True,
                          "dueling": True, "target_clock": "updates", "target_update_interval": 7}),
    (DQN, LAKE, {"learning_starts": 32, "learning_rate_schedule": "linear", "train_freq": 3}),
    (A2C, "CartPole-v1", {"num_envs": 2, "normalize_observations": True, "normalize_rewards": True}),
    (A2C, LAKE, {"use_rms_prop": False, "ent_coef": 0.01}),
    (PPO, "CartPole-v1", {"n_steps": 24, "batch_size": 8, "n_epochs": 2, "clip_range_schedule": "linear"}),
    (REINFORCE, "CartPole-v1", {"n_steps": 24, "num_envs": 2}),
    (REINFORCE, "CartPole-v1", {"n_steps": 24, "baseline": "average", "unfinished": "end", "num_envs": 2}),
    (TabularQ, LAKE, {"algorithm": "sarsa", "num_envs": 3, "env_kwargs": {"observation": "index"}}),
]  # fmt: skip


def same(a, b):
    """Whether two runs will go on alike: parameters, log, and the very next steps."""
    for name, network in a.networks.items():
        assert torch.equal(network.flat, b.networks[name].flat), name
    assert set(a.history) == set(b.history)
    for name, rows in a.history.items():
        np.testing.assert_array_equal(rows, b.history[name], err_msg=name)
    assert (a.num_timesteps, a.training_state.end) == (b.num_timesteps, b.training_state.end)
    assert torch.equal(a.env.obs, b.env.obs)


@pytest.mark.parametrize(("algorithm", "env", "settings"), CASES)
def test_learning_goes_on_as_if_nothing_had_happened(algorithm, env, settings, tmp_path):
    def fresh():
        return algorithm(env, seeds=[3, 8], device="cpu", **settings)

    whole = fresh().learn(120).learn(120)
    first = fresh().learn(120)
    first.checkpoint(tmp_path / "run.safetensors")
    again = resume(tmp_path / "run.safetensors", device="cpu")
    same(again, first)
    assert again.timesteps_left == 0
    same(again.learn(120), whole)
    same(first.learn(120), whole)  # and writing it down changed nothing


@pytest.mark.parametrize(("algorithm", "env", "settings"), [CASES[0], CASES[5], CASES[6]])
def test_an_interrupted_training_is_finished(algorithm, env, settings, tmp_path):
    whole = algorithm(env, seeds=[3, 8], device="cpu", **settings)
    list(whole.training(240, every=48))
    part = algorithm(env, seeds=[3, 8], device="cpu", **settings)
    for done in part.training(240, every=48):
        if done >= 96:
            part.checkpoint(tmp_path / "run.safetensors")
            break
    again = algorithm.resume(tmp_path / "run.safetensors", device="cpu")
    assert again.timesteps_left == 240 - again.num_timesteps > 0
    list(again.training(again.timesteps_left, every=48))
    same(again, whole)


def test_what_stopped_stays_stopped(tmp_path):
    agent = PPO("CartPole-v1", seeds=range(3), device="cpu", n_steps=16, batch_size=8, n_epochs=1)
    agent.networks["policy"].flat[1, 3] = torch.nan
    with pytest.warns(RuntimeWarning, match="seed 1 diverged"):
        agent.learn(64)
    agent.checkpoint(tmp_path / "run.safetensors")
    again = PPO.resume(tmp_path / "run.safetensors", device="cpu")
    assert again.divergences == agent.divergences
    with pytest.warns(RuntimeWarning, match="seed 1 diverged"):
        again.learn(64)
    assert again.active.tolist() == [True, False, True]


def test_files_of_the_other_kind_are_named(tmp_path):
    agent = DQN("CartPole-v1", device="cpu")
    agent.checkpoint(tmp_path / "run.safetensors")  # nothing was learned yet
    same(DQN.resume(tmp_path / "run.safetensors", device="cpu"), agent)
    agent.save(tmp_path / "policy.safetensors")
    with pytest.raises(ValueError, match=r"not a policy, as agent\.save writes them: it holds a run"):
        load(tmp_path / "run.safetensors")
    with pytest.raises(ValueError, match=r"not a run, as agent\.checkpoint writes them: it holds a policy"):
        resume(tmp_path / "policy.safetensors")
    with pytest.raises(ValueError, match="holds a DQN, not a PPO"):
        PPO.resume(tmp_path / "run.safetensors")
    with pytest.raises(FileNotFoundError):
        resume(tmp_path / "none.safetensors")


def test_what_cannot_be_continued_exactly_is_refused(tmp_path):
    agent = DQN(lambda: gymnasium.make("Acrobot-v1"), device="cpu")
    with pytest.raises(ValueError, match="cannot be read, so a run in it cannot be continued exactly"):
        agent.checkpoint(tmp_path / "run.safetensors")
    made = A2C(GridWorld("frozenlake-4x4"), device="cpu").learn(20)
    made.checkpoint(tmp_path / "run.safetensors")
    with pytest.raises(ValueError, match="without an environment id: pass env="):
        resume(tmp_path / "run.safetensors")
    same(resume(tmp_path / "run.safetensors", env=GridWorld("frozenlake-4x4"), device="cpu"), made)


def test_files_come_back_and_broken_ones_are_named(tmp_path):
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.arange(3)}, {"k": "v"})
    tensors, metadata = load_tensors(path), load_metadata(path)
    assert tensors["a"].tolist() == [0, 1, 2]
    assert metadata == {"k": "v"}
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="cut short"):
        load_tensors(path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_tensors(tmp_path / "nowhere")
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]
