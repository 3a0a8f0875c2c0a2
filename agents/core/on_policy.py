"""What the agents that learn from what their present policy has just played share."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rlkit.exploration import categorical
from rlkit.losses import entropy, entropy_grad
from rlkit.nn import ActorCritic
from rlkit.returns import gae
from rlkit.types import Transition, segment

from .agent import Agent


def actor_critic(agent: Agent) -> ActorCritic:
    """A policy's and a value's networks as the agent's configuration describes them."""
    config = agent.config
    architecture = config.architecture(agent.observation_space, agent.seeds, agent.device)
    policy = architecture.policy(agent.num_actions, config.ortho_init)
    return ActorCritic(policy, architecture.value(config.ortho_init))


def play(agent: Agent, steps: int) -> Transition:
    """``steps`` steps of every copy with actions sampled from softmax(scores), ``[S, T, B, ...]`` each field.

    Normalised rewards are given as they are learned from.
    """
    env = agent.env
    with torch.no_grad():
        numbers = agent.explore.take(steps)[..., 0]  # [T, S, B]
        batch = segment([env.step(categorical(agent.scores(env.obs), u, env.action_mask)) for u in numbers])
    agent.record(batch)
    return batch if agent.normalizer is None else batch._replace(reward=agent.normalizer.rewards(batch.reward))


def advantages(agent: Agent, batch: Transition, value: Tensor) -> Tensor:
    """Generalised advantage estimates of a segment ``[S, T, B]``, given V(s) ``[S, T B]``: ``[S, T B]``."""
    shape = batch.reward.shape
    next_value = agent.values(batch.next_obs.flatten(1, 2))
    gamma, gae_lambda = agent.per_row.gamma[:, None], agent.per_row.gae_lambda[:, None]
    ends = batch.terminated, batch.truncated
    return gae(batch.reward, value.view(shape), next_value.view(shape), *ends, gamma, gae_lambda).flatten(1, 2)


def allowed(batch: Transition) -> Tensor | None:
    """What was allowed in a segment's observations, ``[S, T B, A]`` bool; None: everything."""
    return None if batch.action_mask is None else batch.action_mask.flatten(1, 2)


class Losses(NamedTuple):
    """The loss and its parts, ``[S]`` each, named as they are logged."""

    loss: Tensor
    policy_loss: Tensor
    value_loss: Tensor
    entropy: Tensor


def with_entropy(
    log_p: Tensor,
    policy_loss: Tensor,
    policy_grad: Tensor,
    value_loss: Tensor,
    ent_coef: Tensor | None,
    vf_coef: Tensor,
) -> tuple[Losses, Tensor]:
    """mean[policy_loss - ent_coef H(pi) + vf_coef value_loss] over M and its derivative by the logits.

    Args:
        log_p: log pi, ``[S, M, A]``.
        policy_loss, value_loss: ``[S, M]``.
        policy_slope: derivative of the policy's loss by the logits, ``[S, M, A]``.
        ent_coef, vf_coef: ``[S]``; None leaves the bonus out.

    Returns:
        the losses ``[S]`` and the derivative ``[S, M, A]``.
    """
    policy, value = policy_loss.mean(dim=1), value_loss.mean(dim=1)
    mean_entropy = entropy(log_p).mean(dim=1)
    bonus = 0.0 if ent_coef is None else ent_coef * mean_entropy
    if ent_coef is not None:
        policy_grad = policy_grad - ent_coef[:, None, None] * entropy_grad(log_p)
    return Losses(policy - bonus + vf_coef * value, policy, value, mean_entropy), policy_grad / log_p.shape[1]
