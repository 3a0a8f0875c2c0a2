"""Small trainings of every algorithm, in torch unless told, and equality of two of their rows to the bit."""

import functools
import math

import numpy as np
import pytest
import torch

from rlkit.agents import A2C, DQN, PPO, REINFORCE, WocaRDQN
from rlkit.envs import CartPole

STEPS = 576  # more than the buffer of DQN below holds


SMALL = {
    DQN: {
        "learning_rate": 1e-3,
        "learning_starts": 64,
        "batch_size": 16,
        "train_freq": 4,
        "gradient_steps": 2,
        "target_update_interval": 50,
        "net_arch": (32, 32),
        "buffer_size": 500,
    },
    A2C: {"learning_rate": 3e-3, "n_steps": 8, "net_arch": (32, 32), "ent_coef": 0.01},
    PPO: {"learning_rate": 1e-3, "n_steps": 24, "batch_size": 12, "n_epochs": 2, "net_arch": (32, 32)},
    REINFORCE: {"learning_rate": 3e-3, "n_steps": 24, "net_arch": (32, 32), "value_steps": 2},
}


SMALL[WocaRDQN] = {**SMALL[DQN], "attack_epsilon": 0.05, "worst_case_weight": 0.5, "worst_case_fraction": 0.0}


ALL = pytest.mark.parametrize("algorithm", SMALL, ids=lambda algorithm: algorithm.__name__)


def trained(algorithm, seeds, env="CartPole-v1", num_envs=1, engine="torch", **settings):
    settings = {"num_envs": num_envs, "engine": engine, **SMALL[algorithm], **settings}
    agent = algorithm(env, seeds=seeds, device="cpu", **settings)
    agent.learn(STEPS)
    return agent


def kept(agent):
    """Everything with a seed axis that an agent keeps: parameters, moments, memory."""
    parts = {**{name: network.flat for name, network in agent.networks.items()}, **agent.optimizer.state_dict()}
    if isinstance(agent, DQN):
        parts |= {"target": agent.target_network.flat, **agent.memory.replay.state_dict()}
    if isinstance(agent, WocaRDQN):
        parts |= {"worst_target": agent.worst_target_network.flat}
        parts |= {f"worst_{name}": tensor for name, tensor in agent.worst_optimizer.state_dict().items()}
    if isinstance(agent, REINFORCE) and "value" in agent.networks:
        parts |= {f"value_{name}": tensor for name, tensor in agent.value_optimizer.state_dict().items()}
    return {name: tensor for name, tensor in parts.items() if tensor.dim() > 0}


@functools.lru_cache(maxsize=2)
def returns_after(agent, timesteps):
    """Returns of three episodes of every row of an agent that has trained for so many steps."""
    return agent.evaluate(3)


def assert_same_run(agent, row, other, other_row):
    """Parameters, moments, memory, log and returns of two rows are equal to the bit."""
    of_other = kept(other)
    for name, tensor in kept(agent).items():
        one, another = tensor[row], of_other[name][other_row]
        if name in ("successors/numbers", "successors/obs"):  # as wide as the fullest row; the counts are compared too
            width = min(len(one), len(another))
            one, another = one[:width], another[:width]
        assert torch.equal(one, another), name
    for name, logged in agent.history.items():
        np.testing.assert_array_equal(logged[:, row], other.history[name][:, other_row], err_msg=name)
    returns, others = (returns_after(each, each.num_timesteps) for each in (agent, other))
    assert returns[row].tolist() == others[other_row].tolist()


class Poisoned:
    """CartPole whose reward or observation turns NaN in the copies of one row from some step on."""

    def __init__(self, what):
        self.pole, self.what, self.steps = CartPole(), what, 0

    def __getattr__(self, name):
        return getattr(self.__dict__["pole"], name)

    observation_space = property(lambda self: self.pole.observation_space)
    action_space = property(lambda self: self.pole.action_space)
    initial_noise, transition_noise, max_steps = 4, 0, 500

    def initial(self, u):
        return self.pole.initial(u)

    def transition(self, state, action, u):
        self.steps += 1
        state, reward, terminated = self.pole.transition(state, action, u)
        if self.what == "reward" and self.steps == 300:
            reward[0] = math.nan
        return state, reward, terminated

    def observe(self, state):
        obs = self.pole.observe(state).copy()
        if self.what == "observation" and self.steps == 300:
            obs[0] = math.nan
        return obs
