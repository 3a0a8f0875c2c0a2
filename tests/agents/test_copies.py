"""Copies of an agent by ``copy.deepcopy`` and ``pickle`` continue to the bit, and leave the agent alone."""

import copy
import pickle

import numpy as np
import pytest
import torch
from trained_rows import SMALL

from rlkit.agents import A2C, ALGORITHMS, DQN, PPO, REINFORCE, TabularQ, WocaRDQN
from rlkit.envs import GridWorld
from rlkit.nn import MLP, ActorCritic, Adam, Dueling

COPY = pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda agent: pickle.loads(pickle.dumps(agent))], ids=["deepcopy", "pickle"]
)
LAKE = GridWorld("frozenlake-4x4")
CASES = [
    (DQN, "CartPole-v1", SMALL[DQN]),
    (DQN, "Acrobot-v1", SMALL[DQN]),
    (DQN, "CartPole-v1", {**SMALL[DQN], "dueling": True, "priority_exponent": 0.6, "n_steps": 3}),
    (A2C, "CartPole-v1", {**SMALL[A2C], "normalize_observations": True, "normalize_rewards": True}),
    (A2C, LAKE, {**SMALL[A2C], "use_rms_prop": False}),
    (PPO, "CartPole-v1", SMALL[PPO]),
    (REINFORCE, "CartPole-v1", SMALL[REINFORCE]),
    (REINFORCE, LAKE, {**SMALL[REINFORCE], "baseline": "average", "unfinished": "end"}),
    (TabularQ, LAKE, {"algorithm": "sarsa", "initial_value": 1.0}),
    (TabularQ, "FrozenLake-v1", {"initial_value": 1.0}),
    (WocaRDQN, "CartPole-v1", SMALL[WocaRDQN]),
]


def parameters(agent):
    return {name: network.flat.clone() for name, network in agent.networks.items()}


def assert_equal_runs(one, other):
    for name, flat in parameters(one).items():
        assert torch.equal(flat, other.networks[name].flat), name
    assert set(one.history) == set(other.history)
    for name, logged in one.history.items():
        np.testing.assert_array_equal(logged, other.history[name], err_msg=name)


def test_every_algorithm_is_copied():
    assert {algorithm for algorithm, _, _ in CASES} == set(ALGORITHMS.values())


@pytest.mark.slow
@COPY
@pytest.mark.parametrize(("algorithm", "env", "settings"), CASES)
def test_a_copy_continues_to_the_bit(algorithm, env, settings, duplicate):
    agent = algorithm(env, seeds=2, num_envs=2, device="cpu", **settings).learn(240)
    twin, before = duplicate(agent), parameters(agent)
    twin.learn(240)
    for name, flat in before.items():
        assert torch.equal(agent.networks[name].flat, flat), f"training the copy moved {name}"
        assert not torch.equal(twin.networks[name].flat, flat), f"the copy did not learn {name}"
    agent.learn(240)
    assert_equal_runs(agent, twin)
    obs = agent.env.obs
    assert torch.equal(twin.env.obs, obs)
    assert torch.equal(agent.act(obs, deterministic=False), twin.act(obs, deterministic=False))


@COPY
def test_a_copy_of_an_untrained_agent_trains_as_it_would(duplicate):
    agent = PPO("CartPole-v1", device="cpu", **SMALL[PPO])
    twin = duplicate(agent)
    assert_equal_runs(agent.learn(48), twin.learn(48))


@COPY
def test_the_networks_of_a_copy_share_its_matrix(duplicate):
    dueling = Dueling(MLP((4, 16, 2), [0]), MLP((4, 16, 1), [0], network_index=1))
    actor_critic = ActorCritic(MLP((4, 16, 2), [0]), MLP((4, 16, 1), [0], network_index=1))
    for both in (dueling, actor_critic):
        (network, optimizer), before = duplicate((both, Adam(both.flat))), both.flat.clone()
        optimizer.parameters += 1.0
        x = torch.ones(1, 16, 4)
        networks = [(network.value, both.value)]
        networks += [(network.policy, both.policy)] if both is actor_critic else [(network.advantage, both.advantage)]
        for moved, stayed in networks:
            assert not torch.equal(moved(x), stayed(x))
            assert all(torch.equal(a, b + 1.0) for a, b in zip(moved.parameters, stayed.parameters, strict=True))
        assert torch.equal(both.flat, before)
