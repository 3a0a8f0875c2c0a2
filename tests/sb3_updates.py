"""Algorithms of stable-baselines3 with the weights and rollouts of an agent, in double."""

import gymnasium
import numpy as np
import torch
from double import DoubleFeatures
from stable_baselines3.common.logger import Logger
from torch import nn

from rlkit.nn import Adam, RMSprop


def in_double(agent):
    """Convert an actor-critic agent to float64, in place."""
    agent.actor_critic.place(agent.actor_critic.flat.double())
    flat, optimizer = agent.actor_critic.flat, agent.optimizer
    rms = isinstance(optimizer, RMSprop)
    agent.optimizer = RMSprop(flat, eps=optimizer.eps) if rms else Adam(flat, eps=optimizer.eps)
    for name in vars(agent.per_row):
        setattr(agent.per_row, name, torch.tensor([getattr(agent.config, name)], dtype=torch.float64))
    agent.features = lambda obs: obs.double()


def linear_layers(module):
    return [layer for layer in module if isinstance(layer, nn.Linear)]


def linears(policy):
    """Return the layers of an SB3 actor-critic in rlkit's order: those of the policy, then those of the value."""
    extractor = policy.mlp_extractor
    actor, critic = linear_layers(extractor.policy_net), linear_layers(extractor.value_net)
    return [*actor, policy.action_net, *critic, policy.value_net]


def load_layers(layers, *networks):
    """Load row 0 of rlkit's networks into the SB3 layers."""
    own = [layer for network in networks for layer in linear_layers(network.as_module(0))]
    for layer, loaded in zip(layers, own, strict=True):
        layer.load_state_dict(loaded.state_dict())


def sb3_in_double(algorithm, **settings):
    """Make an algorithm of stable-baselines3 for the cart-pole, in float64 and without a log."""
    env, policy_kwargs = gymnasium.make("CartPole-v1"), {"features_extractor_class": DoubleFeatures}
    reference = algorithm("MlpPolicy", env, device="cpu", seed=0, policy_kwargs=policy_kwargs, **settings)
    reference.policy.double()
    reference.set_logger(Logger(None, []))
    return reference


def sb3_of(agent, algorithm, **settings):
    """Make an actor-critic of stable-baselines3 with the parameters of an agent of one seed."""
    reference = sb3_in_double(algorithm, **settings)
    load_layers(linears(reference.policy), agent.actor_critic.policy, agent.actor_critic.value)
    return reference


def fill(reference, batch, gamma):
    """Give the SB3 buffer a segment ``[1, T, 1]``, as its ``collect_rollouts`` would."""
    buffer, policy = reference.rollout_buffer, reference.policy
    buffer.reset()
    for name in ("rewards", "returns", "values", "advantages", "log_probs", "episode_starts"):
        setattr(buffer, name, getattr(buffer, name).astype(np.float64))
    start = np.ones(1)
    with torch.no_grad():
        for t in range(buffer.buffer_size):
            obs, next_obs = batch.obs[0, t], batch.next_obs[0, t]
            reward = batch.reward[0, t].double().numpy()
            if batch.truncated[0, t, 0] and not batch.terminated[0, t, 0]:
                reward = reward + gamma * policy.predict_values(next_obs)[0].numpy()
            values, log_p, _ = policy.evaluate_actions(obs, batch.action[0, t])
            buffer.add(obs.numpy(), batch.action[0, t].numpy()[:, None], reward, start, values, log_p)
            start = batch.done[0, t].numpy()
        buffer.compute_returns_and_advantage(policy.predict_values(batch.next_obs[0, -1]), start)


def parameters(agent):
    networks = (agent.actor_critic.policy, agent.actor_critic.value)
    return torch.cat([p.flatten() for network in networks for p in network.as_module(0).parameters()]).detach()


def their_parameters(reference):
    return torch.cat([p.flatten() for layer in linears(reference.policy) for p in layer.parameters()]).detach()
