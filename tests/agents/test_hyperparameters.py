"""Every agent refuses bad input when it is made, and says what would do."""

import math

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import rlkit.envs
from rlkit.agents import A2C, ALGORITHMS, DQN, PPO, REINFORCE, TabularQ, WocaRDQN

AGENTS = tuple(ALGORITHMS.values())
ALL = pytest.mark.parametrize("algorithm", AGENTS, ids=lambda algorithm: algorithm.__name__)
GRADIENT = (DQN, A2C, PPO, REINFORCE, WocaRDQN)


def env_of(algorithm):
    return "FrozenLake-v1" if algorithm is TabularQ else "CartPole-v1"


@ALL
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": "fast"}, "learning_rate must be a number .or one for each seed. above 0.*got 'fast'"),
        ({"learning_rate": True}, "learning_rate must be a number"),
        ({"learning_rate": None}, "learning_rate must be a number"),
        ({"learning_rate": math.nan}, "learning_rate must be"),
        ({"learning_rate": math.inf}, "learning_rate must be"),
        ({"learning_rate": [0.1, "slow"]}, "learning_rate must be"),
        ({"learning_rate": [0.1, 0.1, 0.1]}, "3 values for 2 seeds"),
        ({"learning_rate": []}, "0 values for 2 seeds"),
        ({"gamma": 1.01}, "gamma must be a number .or one for each seed. at least 0 and at most 1, got 1.01"),
        ({"gama": 0.9}, "did you mean 'gamma'"),
    ],
)
def test_a_hyper_parameter_of_the_wrong_kind_or_size_is_refused(algorithm, settings, message):
    with pytest.raises(ValueError, match=message):
        algorithm(env_of(algorithm), seeds=range(2), device="cpu", **settings)


@pytest.mark.parametrize("algorithm", GRADIENT)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"net_arch": (64, 0)}, "net_arch must be a sequence, each an integer at least 1"),
        ({"net_arch": 64}, "net_arch must be a sequence"),
        ({"net_arch": (64.0,)}, "net_arch must be a sequence"),
        ({"activation": "gelu"}, "activation must be one of relu, tanh"),
        ({"learning_rate_schedule": "cosine"}, "learning_rate_schedule must be one of constant, linear"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be .* above 0"),
        ({"n_steps": 2.5}, "n_steps must be an integer at least 1"),
        ({"n_steps": 0}, "n_steps must be an integer at least 1"),
    ],
)
def test_settings_of_networks_and_batches_are_refused(algorithm, settings, message):
    with pytest.raises(ValueError, match=message):
        algorithm("CartPole-v1", device="cpu", **settings)


@pytest.mark.parametrize(
    ("algorithm", "settings", "message"),
    [
        (DQN, {"batch_size": 100, "buffer_size": 50}, "batch_size 100 exceeds buffer_size 50"),
        (DQN, {"target_update_interval": 0}, "target_update_interval must be an integer at least 1, got 0"),
        (DQN, {"double": "yes"}, "double must be True or False"),
        (DQN, {"tau": 0.0}, "tau must be .* above 0 and at most 1"),
        (DQN, {"gradient_steps": -2}, "gradient_steps"),
        (DQN, {"learning_starts": -1}, "learning_starts"),
        (PPO, {"n_steps": 10, "batch_size": 3}, "does not divide the 10 transitions"),
        (PPO, {"batch_size": 1}, "normalize_advantage needs batch_size of at least 2"),
        (PPO, {"clip_range_vf": "wide"}, "clip_range_vf must be a number .or one for each seed. above 0 or None"),
        (A2C, {"rms_prop_eps": 0.0}, "rms_prop_eps must be a number above 0"),
        (A2C, {"use_rms_prop": 1}, "use_rms_prop must be True or False"),
        (REINFORCE, {"baseline": "best"}, "baseline must be one of none, average"),
        (REINFORCE, {"value_steps": 0}, "value_steps"),
        (WocaRDQN, {"attack_epsilon": -0.1}, "attack_epsilon must be .* at least 0"),
        (WocaRDQN, {"worst_case_weight": 1.1}, "worst_case_weight must be .* at most 1"),
        (WocaRDQN, {"attack_scale": 0.5}, "attack_scale must be a sequence"),
        (WocaRDQN, {"attack_scale": (0.1, 0.2)}, "attack_scale has 2 numbers for 4 features: pass one for each"),
        (WocaRDQN, {"network": "rbf", "network_kwargs": {"centers": 16}}, "fully connected layers alone"),
        (TabularQ, {"algorithm": "q"}, "algorithm must be one of q-learning, sarsa"),
        (TabularQ, {"learning_rate": 1.5}, "at most 1"),
    ],
)
def test_options_that_contradict_each_other_are_refused(algorithm, settings, message):
    with pytest.raises(ValueError, match=message):
        algorithm(env_of(algorithm), device="cpu", **settings)


@pytest.mark.parametrize("number", [np.float32, np.float64, np.array, torch.tensor], ids=lambda number: number.__name__)
def test_numbers_of_numpy_and_torch_are_numbers(number, tmp_path):
    given = {"learning_rate": number(1e-3), "gamma": np.array([0.9, 0.5]), "batch_size": np.int64(16)}
    agent = DQN("CartPole-v1", seeds=np.arange(2), num_envs=np.int64(2), device="cpu", net_arch=(16,), **given)
    assert agent.seeds == (0, 1)
    assert agent.config.learning_rate == pytest.approx(1e-3)
    assert type(agent.config.learning_rate) is float
    assert (agent.config.gamma, agent.config.batch_size, agent.env.num_envs) == ((0.9, 0.5), 16, 2)
    agent.save(tmp_path / "agent.safetensors")
    assert DQN.load(tmp_path / "agent.safetensors", device="cpu").config == agent.config
    assert agent[1].seeds == (1,)
    assert agent.evaluate(1).shape == (2, 1)


def test_numbers_of_numpy_in_the_environments_arguments_are_saved(tmp_path):
    kwargs = {"map": "frozenlake-4x4", "slip": np.float32(0.5), "max_steps": np.int64(9)}
    TabularQ("rlkit/GridWorld-v0", device="cpu", env_kwargs=kwargs).save(tmp_path / "agent.safetensors")
    again = TabularQ.load(tmp_path / "agent.safetensors", device="cpu")
    assert again.source.env_kwargs == {"map": "frozenlake-4x4", "slip": 0.5, "max_steps": 9}


@pytest.mark.parametrize(
    ("seeds", "rows"),
    [(seeds, (0, 1, 2)) for seeds in (3, np.int64(3), np.array(3), torch.tensor(3), range(3))]
    + [(seeds, (3,)) for seeds in ([3], np.array([3]), torch.tensor([3]), (s for s in [3]))],
)
def test_an_integer_is_a_count_of_seeds_and_a_sequence_names_them(seeds, rows):
    assert DQN("CartPole-v1", seeds=seeds, device="cpu").seeds == rows


@pytest.mark.parametrize(
    "seeds", [None, 0.5, "12", [0.5], np.array(1.5), [None], [[1]], True, [True], np.array([True]), torch.tensor(True)]
)
@pytest.mark.parametrize("make", [DQN, rlkit.envs.make], ids=["agent", "env"])
def test_seeds_that_are_not_integers_are_refused(make, seeds):
    with pytest.raises(ValueError, match="seeds must be a count such as 8, or one integer per row"):
        make("CartPole-v1", seeds=seeds)


@pytest.mark.parametrize("seeds", [0, -1, [], range(0), np.zeros(0, int)])
@pytest.mark.parametrize("make", [DQN, rlkit.envs.make], ids=["agent", "env"])
def test_no_seeds_are_refused_and_the_message_names_seed_0(make, seeds):
    with pytest.raises(ValueError, match=r"seeds must be at least one, got .*: pass seeds=\[0\] for seed 0 alone"):
        make("CartPole-v1", seeds=seeds)


def test_without_seeds_there_is_one_seed_0():
    assert DQN("CartPole-v1", device="cpu").seeds == rlkit.envs.make("CartPole-v1").seeds == (0,)


@pytest.mark.parametrize("num_envs", [2.0, "2", [2]])
@pytest.mark.parametrize("make", [DQN, rlkit.envs.make], ids=["agent", "env"])
def test_copies_that_are_no_integer_are_refused(make, num_envs):
    with pytest.raises(ValueError, match="num_envs must be an integer at least 1, got"):
        make("CartPole-v1", num_envs=num_envs)


def test_what_is_refused_unless_it_is_zero_or_one_may_be_so_in_every_row():
    whole = {"returns": "whole", "unfinished": "end", "baseline": "none"}
    assert REINFORCE("CartPole-v1", seeds=range(2), device="cpu", gamma=[1.0, 1.0], **whole).config.gamma == (1.0, 1.0)
    with pytest.raises(ValueError, match="or gamma=1"):
        REINFORCE("CartPole-v1", seeds=range(2), device="cpu", gamma=[1.0, 0.9], **whole)
    latest = DQN("CartPole-v1", seeds=range(2), device="cpu", priority_exponent=[0.0, 0.0], replay=False)
    assert latest.memory.alpha is None
    with pytest.raises(ValueError, match="needs a replay"):
        DQN("CartPole-v1", seeds=range(2), device="cpu", priority_exponent=[0.0, 0.6], replay=False)


class Unsupported(gymnasium.Env):
    """Spaces that no agent here can use."""

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space


BOX, TWO = spaces.Box(-1.0, 1.0, (3,)), spaces.Discrete(2)


@ALL
@pytest.mark.parametrize(
    ("observation_space", "action_space", "message"),
    [
        (spaces.Tuple((BOX, BOX)), TWO, "is not of arrays of numbers: flatten"),
        (BOX, BOX, "continuous"),
        (BOX, spaces.MultiDiscrete([2, 3]), "not Discrete"),
    ],
)
def test_a_space_that_is_not_supported_is_refused(algorithm, observation_space, action_space, message):
    with pytest.raises(ValueError, match=message):
        algorithm(lambda: Unsupported(observation_space, action_space), device="cpu")
