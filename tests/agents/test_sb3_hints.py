"""What a user of stable-baselines3 writes first is answered with what to write here."""

import inspect

import gymnasium
import pytest
import stable_baselines3
from stable_baselines3.common.vec_env import DummyVecEnv

import rlkit.envs
from rlkit.agents import A2C, DQN, PPO, Agent
from rlkit.agents.core.sb3_hints import ARGUMENTS, OF_LEARN


def cartpole():
    return gymnasium.make("CartPole-v1")


@pytest.mark.parametrize("make", [DQN, rlkit.envs.make], ids=["agent", "env"])
@pytest.mark.parametrize(
    "made",
    [cartpole, lambda: gymnasium.make_vec("CartPole-v1", num_envs=2), lambda: DummyVecEnv([cartpole]), lambda: None],
    ids=["Env", "VectorEnv", "VecEnv", "None"],
)
def test_an_environment_that_is_made_already_is_refused(make, made):
    with pytest.raises(ValueError, match=r"pass its id, or a function .* lambda: gymnasium\.make"):
        make(made())


def test_a_policy_before_the_environment_is_answered():
    with pytest.raises(TypeError, match="environment is the only positional argument"):
        DQN("MlpPolicy", "CartPole-v1")
    with pytest.raises(TypeError, match="environment is the only positional argument"):
        DQN("MlpPolicy", env="CartPole-v1", verbose=1)
    with pytest.raises(ValueError, match="unknown environment 'MlpPolicy': an agent's first argument is its environ"):
        DQN("MlpPolicy")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"seed": 0}, "unknown hyper-parameter 'seed' of DQN: pass seeds=\\[seed\\]"),
        ({"n_envs": 4}, "pass num_envs"),
        ({"policy_kwargs": {}}, "net_arch, activation, network"),
        ({"policy": "MlpPolicy"}, "network names the kind of network"),
        ({"verbose": 1}, "progress_bar=True"),
        ({"tensorboard_log": "logs"}, "rlkit train --tensorboard"),
        ({"learning_rate": lambda remaining: 1e-3}, "pass the number at the start, and learning_rate_schedule="),
        ({"train_freq": (4, "step")}, r"got \(4, 'step'\): pass the number alone"),
        ({"train_freq": (1, "episode")}, "counts steps, not episodes"),
        ({"exploration_fraction": lambda remaining: 0.1}, "exploration_fraction must be a number .* got <function"),
    ],
)
def test_arguments_of_other_names_and_forms_are_answered(argument, message):
    with pytest.raises(ValueError, match=message):
        DQN("CartPole-v1", device="cpu", **argument)
    if "exploration" not in message and "train_freq" not in argument:
        with pytest.raises(ValueError, match=message.replace("DQN", "PPO")):
            PPO("CartPole-v1", device="cpu", **argument)


@pytest.mark.parametrize(
    ("arguments", "named", "message"),
    [
        ((), {"callback": print}, r"callback: write its code in a loop: for timesteps in agent\.training"),
        ((print,), {}, r"callback: write its code in a loop: for timesteps in agent\.training"),
        ((), {"log_interval": 4}, "every=1000"),
        ((), {"reset_num_timesteps": False}, "continues the training"),
        ((), {"callbak": print}, "unexpected keyword argument 'callbak'$"),
    ],
)
def test_learning_with_a_callback_is_answered(arguments, named, message):
    with pytest.raises(TypeError, match=message):
        DQN("CartPole-v1", device="cpu").learn(100, *arguments, **named)


@pytest.mark.parametrize("algorithm", [DQN, A2C, PPO], ids=lambda algorithm: algorithm.__name__)
def test_every_argument_of_theirs_is_ours_or_is_answered(algorithm):
    theirs = getattr(stable_baselines3, algorithm.__name__)
    ours = {*inspect.signature(algorithm).parameters, *inspect.signature(algorithm.config_class).parameters}
    answered = {name for name in inspect.signature(theirs).parameters if not name.startswith("_")} - ours
    assert answered <= set(ARGUMENTS)
    assert not ours & set(ARGUMENTS)
    of_learn = {*inspect.signature(theirs.learn).parameters} - {*inspect.signature(Agent.learn).parameters}
    assert of_learn == set(OF_LEARN)
