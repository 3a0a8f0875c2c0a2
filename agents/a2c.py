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
stable-baselines3's A2C, so the same settings mean the same algorithm there and here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from rlkit.architectures import NetworkName
from rlkit.exploration import masked
from rlkit.layers import Activation
from rlkit.losses import (
    entropy,
    entropy_slope,
    explained_variance,
    kl_divergence,
    log_softmax,
    one_hot,
    score_slope,
    standardised,
)
from rlkit.networks import MLP, ActorCritic
from rlkit.optim import Adam, RMSprop
from rlkit.returns import gae
from rlkit.schedules import Schedule
from rlkit.streams import Stream
from rlkit.types import Transition

from .agent import Agent
from .hyperparameters import Count, NotNegative, Options, Positive, Range, Share, Widths, verify
from .presets import A2C_PRESETS

KL_EVERY = 16  # updates between those whose KL(pi before, pi after) is logged, which takes the policy's output again


@dataclass(frozen=True)
class A2CConfig:
    """Hyper-parameters of A2C; the defaults are stable-baselines3's.

    A ``PerRow`` number may be one for all seeds or one per seed.
    """

    learning_rate: Positive = 7e-4
    learning_rate_schedule: Schedule = "constant"
    n_steps: Count = 5  # of every copy between updates
    gamma: Share = 0.99
    gae_lambda: Share = 1.0
    ent_coef: NotNegative = 0.0
    vf_coef: NotNegative = 0.5
    max_grad_norm: Positive = 0.5
    rms_prop_eps: Annotated[float, Range(above=0.0)] = 1e-5
    use_rms_prop: bool = True  # else Adam with eps 1e-5
    normalize_advantage: bool = False
    normalize_observations: bool = False  # to mean 0 and deviation 1, running, of every row
    normalize_rewards: bool = False  # by the running deviation of the discounted return
    network: NetworkName = "auto"  # what reads the observations, and its options by name: see Architecture
    network_kwargs: Options = field(default_factory=dict)
    net_arch: Widths = (64, 64)  # of the policy and of the value, which share nothing
    activation: Activation = "tanh"
    ortho_init: bool = True

    def __post_init__(self) -> None:
        verify(self)


class Loss(NamedTuple):
    """The loss and its parts, ``[S]`` each."""

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor


def a2c_loss(
    logits: Tensor,
    value: Tensor,
    action: Tensor,
    advantage: Tensor,
    target: Tensor,
    ent_coef: Tensor | None,
    vf_coef: Tensor,
) -> tuple[Loss, Tensor, Tensor]:
    """mean[-A log pi(a|s) - ent_coef H + vf_coef (V - R)^2] over M and its derivatives by logits and values.

    Args:
        logits: ``[S, M, A]``.
        value: V(s), ``[S, M]``.
        action, advantage, target: a, A and R, ``[S, M]``.
        ent_coef, vf_coef: ``[S]``; None leaves the bonus out.

    Returns:
        the loss, its derivative by logits ``[S, M, A]`` and by values ``[S, M]``.
    """
    log_p = log_softmax(logits)
    policy_loss = -(advantage * log_p.gather(-1, action[..., None])[..., 0]).mean(dim=1)
    value_loss = (value - target).square().mean(dim=1)
    mean_entropy = entropy(log_p).mean(dim=1)
    bonus = 0.0 if ent_coef is None else ent_coef * mean_entropy
    loss = Loss(policy_loss - bonus + vf_coef * value_loss, policy_loss, value_loss, mean_entropy)
    logits_slope = score_slope(log_p, one_hot(action, log_p), advantage)
    if ent_coef is not None:
        logits_slope = logits_slope - ent_coef[:, None, None] * entropy_slope(log_p)
    size = action.shape[1]
    return loss, logits_slope / size, 2.0 / size * vf_coef[:, None] * (value - target)


class A2C(Agent):
    """A2C on the seed axis; see ``Agent`` for the arguments and ``A2CConfig`` for the hyper-parameters."""

    config_class = A2CConfig
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = A2C_PRESETS
    checkpointed = ("optimizer", "_explore", "_updates")
    config: A2CConfig

    def _build(self) -> dict[str, MLP]:
        config = self.config
        if config.normalize_advantage and config.n_steps * self.env.num_envs < 2:
            raise ValueError("normalize_advantage needs two transitions, got n_steps 1 x 1 copy: raise one of them")
        architecture = self._architecture()
        policy = architecture.policy(int(self.action_space.n), config.ortho_init)
        self.actor_critic = ActorCritic(policy, architecture.value(config.ortho_init))
        flat = self.actor_critic.flat
        self.optimizer = RMSprop(flat, eps=config.rms_prop_eps) if config.use_rms_prop else Adam(flat, eps=1e-5)
        self._updates = 0
        self._ent_coef = None if config.ent_coef == 0.0 else self.per_row.ent_coef
        self._explore = Stream(self.seeds, "explore", width=1, copies=self.env.num_envs, device=self.device)
        return {"policy": self.actor_critic.policy, "value": self.actor_critic.value}

    def iteration(self) -> None:
        """``n_steps`` steps of every copy, then one update on all of them."""
        self.update(self._segment(self.config.n_steps, self._explore))

    @torch.inference_mode()
    def update(self, batch: Transition) -> None:
        """One gradient step of every row on a segment of its own, ``[S, T, B]``."""
        shape = batch.reward.shape
        features = self._features(batch.obs).flatten(1, 2)  # [S, T B, D]
        mask = None if batch.action_mask is None else batch.action_mask.flatten(1, 2)
        logits, value, pullback = self.actor_critic.vjp(features)
        logits = masked(logits, mask)
        next_value = self.actor_critic.values(self._features(batch.next_obs).flatten(1, 2)).view(shape)
        advantage = gae(
            batch.reward,
            value.view(shape),
            next_value,
            batch.terminated,
            batch.truncated,
            self.per_row.gamma[:, None],
            self.per_row.gae_lambda[:, None],
        ).flatten(1, 2)  # [S, T B]
        target = advantage + value
        if self.config.normalize_advantage:
            advantage = standardised(advantage)
        loss, logits_slope, value_slope = a2c_loss(
            logits, value, batch.action.flatten(1, 2), advantage, target, self._ent_coef, self.per_row.vf_coef
        )
        gradient = pullback(logits_slope, value_slope)  # [S, P]
        learning_rate = self._scheduled(self.per_row.learning_rate, self.config.learning_rate_schedule)
        norm = self._descend(self.optimizer, gradient, learning_rate)
        if self._updates % KL_EVERY == 0:
            after = masked(self.actor_critic.policy(features), mask)
            self._means.add(kl=kl_divergence(log_softmax(logits), log_softmax(after)).mean(dim=1))
        self._updates += 1
        self._means.add(
            loss=loss.total,
            policy_loss=loss.policy,
            value_loss=loss.value,
            entropy=loss.entropy,
            gradient_norm=norm,
            explained_variance=explained_variance(value, target),
        )

    def scores(self, obs: Tensor) -> Tensor:
        """Logits of the policy, differentiable in the observation: ``[S, B, *observation] -> [S, B, A]``."""
        return self.actor_critic.policy(self._features(obs))

    def _score_network(self) -> Any:
        return self.actor_critic.policy

    def values(self, obs: Tensor) -> Tensor:
        """V(s) of every row, ``[S, B, *observation] -> [S, B]``, without gradients."""
        return self.actor_critic.values(self._features(obs))
