"""Equality with stable-baselines3: equal weights, rollouts and permutations give equal weights after 50 updates.

Both compute in double. The largest difference: stable-baselines3 adds 1e-6 to the norm by which it clips.
"""

import numpy as np
import pytest
import torch
from sb3_updates import fill, in_double, linear_layers, load_layers, parameters, sb3_in_double, sb3_of, their_parameters
from stable_baselines3 import A2C as SB3A2C
from stable_baselines3 import DQN as SB3DQN
from stable_baselines3 import PPO as SB3PPO
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from rlkit.agents import A2C, DQN, PPO
from rlkit.replay import as_observed

UPDATES = 50
TOLERANCE = {"atol": 1e-5, "rtol": 0.0}


@pytest.mark.slow
def test_fifty_updates_of_a2c_are_stable_baselines3s():
    agent = A2C("CartPole-v1", seeds=[5], device="cpu", n_steps=5, ortho_init=False)
    in_double(agent)
    reference, first = sb3_of(agent, SB3A2C, n_steps=5), parameters(agent)
    for _ in range(UPDATES):
        batch = agent.play(5)
        fill(reference, batch, agent.config.gamma)
        agent.update(batch)
        reference.train()
        torch.testing.assert_close(parameters(agent), their_parameters(reference), **TOLERANCE)
    assert (parameters(agent) - first).abs().max() > 0.01


@pytest.mark.slow
def test_fifty_updates_of_ppo_are_stable_baselines3s(monkeypatch):
    """Each update is two epochs of two shuffled minibatches."""
    settings = {"n_steps": 16, "batch_size": 8, "n_epochs": 2}
    agent = PPO("CartPole-v1", seeds=[5], device="cpu", ortho_init=False, **settings)
    in_double(agent)
    reference, first = sb3_of(agent, SB3PPO, **settings), parameters(agent)
    for _ in range(UPDATES):
        batch = agent.play(16)
        fill(reference, batch, agent.config.gamma)
        before = agent._shuffle.state_dict()
        orders = iter([agent._shuffle.next().argsort(dim=1)[0].numpy() for _ in range(2)])
        agent._shuffle.load_state(before)
        monkeypatch.setattr(np.random, "permutation", lambda size, orders=orders: next(orders))
        going_on = torch.tensor([True])
        for minibatch in agent.minibatches(agent.experience(batch)):
            going_on, _ = agent.update(minibatch, going_on)
        reference.train()
        torch.testing.assert_close(parameters(agent), their_parameters(reference), **TOLERANCE)
    assert (parameters(agent) - first).abs().max() > 0.01


@pytest.mark.slow
def test_fifty_updates_of_dqn_are_stable_baselines3s(monkeypatch):
    """With a target network that is moved before every tenth update."""
    settings = {"learning_starts": 0, "batch_size": 32, "learning_rate": 1e-3}
    agent = DQN("CartPole-v1", seeds=[3], device="cpu", engine="torch", _dtype=torch.float64, **settings)
    agent.training_state.end = 1000
    agent._start()
    agent.collect(200)
    reference = sb3_in_double(SB3DQN, **settings)
    load_layers(linear_layers(reference.q_net.q_net), agent.network)
    load_layers(linear_layers(reference.q_net_target.q_net), agent.target_network)
    first = agent.network.flat.clone()
    for update in range(UPDATES):
        agent.collect(4)
        if update % 10 == 0:
            agent.target_network.flat.copy_(agent.network.flat)
            reference.q_net_target.load_state_dict(reference.q_net.state_dict())
        before = agent._sample.state_dict()
        batch = as_observed(agent.memory.replay.sample(agent._sample.next()), agent.env.obs.dtype)
        agent._sample.load_state(before)
        column = (batch.action, batch.terminated.double(), batch.reward.double())
        action, done, reward = (field[0, :, None] for field in column)
        samples = ReplayBufferSamples(batch.obs[0], action, batch.next_obs[0], done, reward)
        monkeypatch.setattr(reference.replay_buffer, "sample", lambda *_, samples=samples, **__: samples)
        agent.update()
        reference.train(gradient_steps=1, batch_size=32)
        ours = [p for layer in agent.network.as_module(0) for p in layer.parameters()]
        for own, theirs in zip(ours, reference.q_net.q_net.parameters(), strict=True):
            torch.testing.assert_close(own, theirs, **TOLERANCE)
    assert (agent.network.flat - first).abs().max() > 0.01
