"""Advantage actor-critic (Mnih et al. 2016, "Asynchronous methods for deep reinforcement learning", algorithm S3,
with all copies stepped together).

    repeat:
        play n_steps of every copy by pi(.; theta)
        delta_t = r_t + gamma V(s_(t+1)) - V(s_t)         (no V after an ending; V(s_T) after a time limit)
        A_t = delta_t + gamma lambda A_(t+1)              (within an episode)
        R_t = A_t + V(s_t)
        descend  mean_t[ -A_t log pi(a_t|s_t) - ent_coef H(pi(.|s_t)) + vf_coef (V(s_t) - R_t)^2 ]
        in theta with A and R held fixed                  (gradient norm clipped, per seed)

Every line is done for S seeds at once. Hyper-parameters have the names, meanings and defaults of
stable-baselines3's A2C, so equal settings define the same algorithm in both libraries.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from rlkit.exploration import mask_logits
from rlkit.losses import (
    entropy,
    explained_variance,
    kl_divergence,
    log_softmax,
    policy_gradient_loss,
    squared_difference,
    standardized,
)
from rlkit.nn import MLP, Adam, RMSprop
from rlkit.types import Targets, Transition

from .configs import A2CConfig
from .core.descent import Forward
from .core.on_policy import Losses, OnPolicyAgent, actor_critic_loss, flat_action_mask
from .presets import A2C_PRESETS

KL_EVERY = 16  # updates between two logged values of KL(pi before, pi after), which cost one more forward pass


def a2c_loss(
    logits: Tensor,
    value: Tensor,
    action: Tensor,
    advantage: Tensor,
    target: Tensor,
    ent_coef: Tensor | None,
    vf_coef: Tensor,
    action_mask: Tensor | None = None,
) -> Losses:
    """Compute -A log pi(a|s) - ent_coef H + vf_coef (V - R)^2, elementwise.

    Args:
        logits: ``[S, M, A]``.
        value: V(s), ``[S, M]``.
        action, advantage, target: a, A and R, ``[S, M]``.
        ent_coef, vf_coef: ``[S]``; None omits the bonus.
        action_mask: the allowed actions, ``[S, M, A]`` bool; None for all.
    """
    log_p = log_softmax(mask_logits(logits, action_mask))
    policy_loss = policy_gradient_loss(log_p, action, advantage)
    return actor_critic_loss(log_p, policy_loss, squared_difference(value, target), ent_coef, vf_coef)


def kl_is_due(update: Any) -> Any:
    """Return whether KL(pi before, pi after) is logged at the update of this number; elementwise for an array."""
    return update % KL_EVERY == 0


class A2C(OnPolicyAgent):
    """A2C on the seed axis; see ``Agent`` for the arguments and ``A2CConfig`` for the hyper-parameters."""

    config_class = A2CConfig
    presets = A2C_PRESETS
    checkpointed = ("optimizer", "_updates")
    config: A2CConfig

    def _build(self) -> dict[str, MLP]:
        config = self.config
        if config.normalize_advantage and config.n_steps * self.env.num_envs < 2:
            raise ValueError("normalize_advantage needs two transitions, got n_steps 1 x 1 copy: raise one of them")
        self.actor_critic = self.actor_critic_networks()
        flat = self.actor_critic.flat
        self.optimizer = RMSprop(flat, eps=config.rms_prop_eps) if config.use_rms_prop else Adam(flat, eps=1e-5)
        self._updates = 0
        self._ent_coef = None if config.ent_coef == 0.0 else self.per_row.ent_coef
        return {"policy": self.actor_critic.policy, "value": self.actor_critic.value}

    def torch_iteration(self) -> None:
        """Play ``n_steps`` steps of every copy, then make one update on all of them."""
        self.update(self.play(self.config.n_steps))

    def branch(self) -> bool:
        """See ``Agent``: whether KL is logged."""
        return bool(kl_is_due(self._updates))

    @torch.no_grad()
    def update(self, batch: Transition) -> None:
        """Make one gradient step of every row on its own segment, ``[S, T, B]``."""
        config, per_row = self.config, self.per_row
        features, action = self.features(batch.obs).flatten(1, 2), batch.action.flatten(1, 2)  # [S, T B, ...]
        mask = flat_action_mask(batch)
        forward = Forward(self.actor_critic, features)
        value = forward.outputs[1].detach()
        error = self.advantages(batch, value)
        target = error + value
        advantage = standardized(error) if config.normalize_advantage else error
        loss = partial(
            a2c_loss,
            action=action,
            advantage=advantage,
            target=target,
            ent_coef=self._ent_coef,
            vf_coef=per_row.vf_coef,
            action_mask=mask,
        )
        targets = Targets(action, target, advantage, mask)
        losses, gradient = self.differentiate(forward, loss, targets, self.optimizer.gradient)
        learning_rate = self.training_state.scheduled(per_row.learning_rate, config.learning_rate_schedule)
        norm = self.gradient_step(self.optimizer, gradient, learning_rate, per_row.max_grad_norm)
        if kl_is_due(self._updates):
            after = log_softmax(mask_logits(self.actor_critic.policy(features), mask))
            self.training_state.means.add(kl=kl_divergence(losses.log_p, after).mean(dim=1))
        self._updates += 1
        measured = torch.stack([*losses[:3], entropy(losses.log_p)]).mean(dim=2)  # [4, S]
        loss, policy_loss, value_loss, mean_entropy = measured
        self.training_state.means.add(
            loss=loss,
            policy_loss=policy_loss,
            value_loss=value_loss,
            entropy=mean_entropy,
            gradient_norm=norm,
            explained_variance=explained_variance(error, target),
        )
