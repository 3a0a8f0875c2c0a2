"""The base class of A2C, PPO and REINFORCE, which learn from the segment that their current policy has just played."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rlkit.exploration import categorical
from rlkit.losses import entropy
from rlkit.nn import ActorCritic
from rlkit.returns import gae
from rlkit.types import Transition, segment

from .agent import Agent


class OnPolicyAgent(Agent):
    """An ``Agent`` that plays a segment with its policy, learns from it, and discards it."""

    def actor_critic_networks(self) -> ActorCritic:
        """Make the networks of the policy and of the value function as the configuration describes them."""
        architecture = self.config.architecture(self.observation_space, self.seeds, self.device, self.dtype)
        policy = architecture.policy(self.num_actions, self.config.ortho_init)
        return ActorCritic(policy, architecture.value(self.config.ortho_init))

    def play(self, steps: int) -> Transition:
        """Play ``steps`` steps of every copy with actions sampled from softmax(scores).

        Returns:
            the segment, ``[S, T, B, ...]`` each field. Where rewards are normalized, its rewards are the normalized
            ones; the log has the environment's own.
        """
        with torch.no_grad():
            numbers = self.explore.take(steps)[..., 0]  # [T, S, B]
            batch = segment(
                [self.env.step(categorical(self.scores(self.env.obs), u, self.env.action_mask)) for u in numbers]
            )
        return self.recorded(batch)

    def recorded(self, batch: Transition) -> Transition:
        """Count and log a segment that was played; return it with the rewards normalized, if they are to be."""
        self.record(batch)
        return batch if self.normalizer is None else batch._replace(reward=self.normalizer.rewards(batch.reward))

    def advantages(self, batch: Transition, value: Tensor) -> Tensor:
        """Estimate the advantages of a segment ``[S, T, B]``, given V(s) ``[S, T B]``: ``[S, T B]``; see ``gae``."""
        shape = batch.reward.shape
        next_value = self.values(batch.next_obs.flatten(1, 2))
        gamma, gae_lambda = self.per_row.gamma[:, None], self.per_row.gae_lambda[:, None]
        ends = batch.terminated, batch.truncated
        return gae(batch.reward, value.view(shape), next_value.view(shape), *ends, gamma, gae_lambda).flatten(1, 2)


def flat_action_mask(batch: Transition) -> Tensor | None:
    """Return the allowed actions of a segment, ``[S, T B, A]`` bool; None where every action is always allowed."""
    return None if batch.action_mask is None else batch.action_mask.flatten(1, 2)


class Losses(NamedTuple):
    """The loss of every transition and its parts, ``[S, M]`` each, named as they are logged, and the policy."""

    loss: Tensor
    policy_loss: Tensor
    value_loss: Tensor
    log_p: Tensor  # log pi, [S, M, A], of which the entropy is logged


def actor_critic_loss(
    log_p: Tensor, policy_loss: Tensor, value_loss: Tensor, ent_coef: Tensor | None, vf_coef: Tensor
) -> Losses:
    """Combine the parts of an actor-critic loss, policy_loss - ent_coef H(pi) + vf_coef value_loss, elementwise.

    Args:
        log_p: log pi, ``[S, M, A]``.
        policy_loss, value_loss: ``[S, M]``.
        ent_coef, vf_coef: ``[S]``; None omits the entropy bonus.
    """
    with_bonus = policy_loss if ent_coef is None else policy_loss - ent_coef[:, None] * entropy(log_p)
    return Losses(with_bonus + vf_coef[:, None] * value_loss, policy_loss, value_loss, log_p)
