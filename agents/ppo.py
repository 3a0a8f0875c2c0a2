"""Proximal policy optimisation (Schulman et al. 2017, "Proximal policy optimization algorithms", algorithm 1, with the
clipped objective and generalised advantages).

    repeat:
        play n_steps of every copy by pi(.; theta), and call that policy pi_old
        A_t by generalised advantage estimation from V(.; theta), R_t = A_t + V(s_t)
        n_epochs times, for each minibatch of a random partition:
            A <- (A - mean) / std                          (of the minibatch, per seed)
            r = pi(a|s; theta) / pi_old(a|s)
            descend  mean[ -min(r A, clip(r, 1 - c, 1 + c) A) - ent_coef H + vf_coef (V - R)^2 ]
            (gradient norm clipped, per seed; a seed stops for this batch when KL(pi_old, pi) > 1.5 target_kl)

Every line is done for S seeds at once. Hyper-parameters have the names, meanings and defaults of
stable-baselines3's PPO, so the same settings mean the same algorithm there and here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from rlkit.architectures import NetworkName
from rlkit.exploration import masked
from rlkit.layers import Activation
from rlkit.losses import (
    clipped_squared,
    clipped_surrogate,
    entropy,
    entropy_slope,
    explained_variance,
    log_softmax,
    one_hot,
    score_slope,
    standardised,
)
from rlkit.networks import MLP, ActorCritic
from rlkit.optim import Adam
from rlkit.returns import gae
from rlkit.schedules import Schedule
from rlkit.streams import Stream
from rlkit.types import Transition

from .agent import Agent
from .hyperparameters import Count, NotNegative, Options, Positive, Share, Widths, verify
from .presets import PPO_PRESETS


@dataclass(frozen=True)
class PPOConfig:
    """Hyper-parameters of PPO; the defaults are stable-baselines3's.

    A ``PerRow`` number may be one for all seeds or one per seed.
    """

    learning_rate: Positive = 3e-4
    learning_rate_schedule: Schedule = "constant"
    n_steps: Count = 2048  # of every copy between batches
    batch_size: Count = 64  # of a minibatch; divides n_steps times the number of copies
    n_epochs: Count = 10
    gamma: Share = 0.99
    gae_lambda: Share = 0.95
    clip_range: Positive = 0.2
    clip_range_schedule: Schedule = "constant"
    clip_range_vf: Positive | None = None  # how far V may move from its old value, on the same schedule; None: no limit
    normalize_advantage: bool = True
    ent_coef: NotNegative = 0.0
    vf_coef: NotNegative = 0.5
    max_grad_norm: Positive = 0.5
    target_kl: Positive | None = None
    normalize_observations: bool = False  # to mean 0 and deviation 1, running, of every row
    normalize_rewards: bool = False  # by the running deviation of the discounted return
    network: NetworkName = "auto"  # what reads the observations, and its options by name: see Architecture
    network_kwargs: Options = field(default_factory=dict)
    net_arch: Widths = (64, 64)  # of the policy and of the value, which share nothing
    activation: Activation = "tanh"
    ortho_init: bool = True

    def __post_init__(self) -> None:
        verify(self)
        if self.normalize_advantage and self.batch_size < 2:
            raise ValueError("normalize_advantage needs batch_size of at least 2, got 1: raise it or switch it off")


class Experience(NamedTuple):
    """What a batch or minibatch consists of, ``[S, M, ...]``."""

    features: Tensor  # [S, M, D]
    action: Tensor
    taken: Tensor  # 1 at the action and 0 at the others, [S, M, A]
    old_log_p: Tensor  # log pi_old(a|s)
    old_value: Tensor
    advantage: Tensor
    target: Tensor  # R
    action_mask: Tensor | None = None  # what was allowed, [S, M, A]


class Loss(NamedTuple):
    """The loss, its parts and what is watched, ``[S]`` each."""

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor
    approx_kl: Tensor  # mean of (r - 1) - log r, an estimate of KL(pi_old, pi) (Schulman 2020)
    clip_fraction: Tensor


def ppo_loss(
    logits: Tensor,
    value: Tensor,
    batch: Experience,
    clip_range: Tensor,
    clip_range_vf: Tensor | None,
    ent_coef: Tensor | None,
    vf_coef: Tensor,
) -> tuple[Loss, Tensor, Tensor]:
    """mean[-min(r A, clip(r) A) - ent_coef H + vf_coef (V - R)^2] over M and its derivatives by logits and values.

    Args:
        logits: ``[S, M, A]``.
        value: V(s), ``[S, M]``.
        batch: the minibatch.
        clip_range, clip_range_vf, ent_coef, vf_coef: ``[S]``; None leaves the clipping of V, or the bonus, out.

    Returns:
        the loss, its derivative by logits ``[S, M, A]`` and by values ``[S, M]``.
    """
    log_p = log_softmax(logits)
    log_ratio = log_p.gather(-1, batch.action[..., None])[..., 0] - batch.old_log_p  # [S, M]
    ratio = log_ratio.exp()
    surrogate, surrogate_slope = clipped_surrogate(ratio, batch.advantage, clip_range[:, None])
    limit = torch.full_like(clip_range, torch.inf) if clip_range_vf is None else clip_range_vf
    error, error_slope = clipped_squared(value, batch.old_value, batch.target, limit[:, None])
    policy_loss, value_loss = surrogate.mean(dim=1), error.mean(dim=1)
    mean_entropy = entropy(log_p).mean(dim=1)
    bonus = 0.0 if ent_coef is None else ent_coef * mean_entropy
    loss = Loss(
        total=policy_loss - bonus + vf_coef * value_loss,
        policy=policy_loss,
        value=value_loss,
        entropy=mean_entropy,
        approx_kl=(ratio - 1.0 - log_ratio).mean(dim=1),
        clip_fraction=((ratio - 1.0).abs() > clip_range[:, None]).to(ratio.dtype).mean(dim=1),
    )
    size = ratio.shape[1]
    # the surrogate is a policy gradient whose weight is its derivative by log pi
    logits_slope = score_slope(log_p, batch.taken, -surrogate_slope)
    if ent_coef is not None:
        logits_slope = logits_slope - ent_coef[:, None, None] * entropy_slope(log_p)
    return loss, logits_slope / size, vf_coef[:, None] * error_slope / size


class PPO(Agent):
    """PPO on the seed axis; see ``Agent`` for the arguments and ``PPOConfig`` for the hyper-parameters."""

    config_class = PPOConfig
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = PPO_PRESETS
    checkpointed = ("optimizer", "_explore", "_shuffle")
    config: PPOConfig

    def _build(self) -> dict[str, MLP]:
        config = self.config
        self._batch = config.n_steps * self.env.num_envs
        if self._batch % config.batch_size:
            raise ValueError(
                f"batch_size {config.batch_size} does not divide the {self._batch} transitions of n_steps "
                f"{config.n_steps} x {self.env.num_envs} copies: a minibatch would be left over"
            )
        architecture = self._architecture()
        policy = architecture.policy(int(self.action_space.n), config.ortho_init)
        self.actor_critic = ActorCritic(policy, architecture.value(config.ortho_init))
        self.optimizer = Adam(self.actor_critic.flat, eps=1e-5)
        self._ent_coef = None if config.ent_coef == 0.0 else self.per_row.ent_coef
        everything = torch.full((self.num_seeds,), torch.inf, device=self.device)
        self._target_kl = everything if config.target_kl is None else self.per_row.target_kl
        self._explore = Stream(self.seeds, "explore", width=1, copies=self.env.num_envs, device=self.device)
        self._shuffle = Stream(self.seeds, "replay", width=self._batch, device=self.device)
        return {"policy": self.actor_critic.policy, "value": self.actor_critic.value}

    def iteration(self) -> None:
        """``n_steps`` steps of every copy, then ``n_epochs`` passes over them in minibatches."""
        batch = self.experience(self._segment(self.config.n_steps, self._explore))
        self._means.add(explained_variance=explained_variance(batch.old_value, batch.target))
        going_on = torch.ones_like(self.active)  # [S], False once the policy has moved too far from this batch's
        for minibatch in self.minibatches(batch):
            going_on = self.update(minibatch, going_on)

    def experience(self, batch: Transition) -> Experience:
        """A segment ``[S, T, B]`` with its advantages and the old policy's probabilities, ``[S, T B]``."""
        shape = batch.reward.shape
        features = self._features(batch.obs).flatten(1, 2)  # [S, T B, D]
        value = self.actor_critic.values(features)
        next_value = self.actor_critic.values(self._features(batch.next_obs).flatten(1, 2))
        advantage = gae(
            batch.reward,
            value.view(shape),
            next_value.view(shape),
            batch.terminated,
            batch.truncated,
            self.per_row.gamma[:, None],
            self.per_row.gae_lambda[:, None],
        ).flatten(1, 2)
        action = batch.action.flatten(1, 2)
        mask = None if batch.action_mask is None else batch.action_mask.flatten(1, 2)
        with torch.no_grad():
            log_p = log_softmax(masked(self.actor_critic.policy(features), mask))
        old_log_p = log_p.gather(-1, action[..., None])[..., 0]
        taken = one_hot(action, log_p)
        return Experience(features, action, taken, old_log_p, value, advantage, advantage + value, mask)

    def minibatches(self, batch: Experience) -> Iterator[Experience]:
        """``n_epochs`` random partitions of each row's batch; a single minibatch needs no order."""
        size = self.config.batch_size
        if size == self._batch:
            yield from [self._normalised(batch)] * self.config.n_epochs
            return
        rows = torch.arange(self.num_seeds, device=self.device)[:, None] * self._batch
        for _ in range(self.config.n_epochs):
            order = (self._shuffle.next().argsort(dim=1) + rows).flatten()  # [S T B]
            fields = [field for field in batch if field is not None]
            shuffled = [field.flatten(0, 1).index_select(0, order).view(field.shape) for field in fields]
            parts = [torch.split(field, size, dim=1) for field in shuffled]
            for minibatch in zip(*parts, strict=True):
                yield self._normalised(Experience(*minibatch))

    def _normalised(self, minibatch: Experience) -> Experience:
        advantage = minibatch.advantage
        return minibatch._replace(advantage=standardised(advantage)) if self.config.normalize_advantage else minibatch

    @torch.inference_mode()
    def update(self, batch: Experience, going_on: Tensor) -> Tensor:
        """One gradient step of every row that is ``going_on [S]``; returns which still are."""
        schedule = self.config.clip_range_schedule
        clip_range = self._scheduled(self.per_row.clip_range, schedule)
        limited = self.config.clip_range_vf is not None
        clip_range_vf = self._scheduled(self.per_row.clip_range_vf, schedule) if limited else None
        logits, value, pullback = self.actor_critic.vjp(batch.features)
        loss, logits_slope, value_slope = ppo_loss(
            masked(logits, batch.action_mask),
            value,
            batch,
            clip_range,
            clip_range_vf,
            self._ent_coef,
            self.per_row.vf_coef,
        )
        gradient = pullback(logits_slope, value_slope)  # [S, P]
        going_on = going_on & ~(loss.approx_kl > 1.5 * self._target_kl)
        learning_rate = self._scheduled(self.per_row.learning_rate, self.config.learning_rate_schedule)
        norm = self._descend(self.optimizer, gradient, learning_rate, going_on)
        self._means.add(
            loss=loss.total,
            policy_loss=loss.policy,
            value_loss=loss.value,
            entropy=loss.entropy,
            approx_kl=loss.approx_kl,
            clip_fraction=loss.clip_fraction,
            gradient_norm=norm,
        )
        return going_on

    def scores(self, obs: Tensor) -> Tensor:
        """Logits of the policy, differentiable in the observation: ``[S, B, *observation] -> [S, B, A]``."""
        return self.actor_critic.policy(self._features(obs))

    def _score_network(self) -> Any:
        return self.actor_critic.policy

    def values(self, obs: Tensor) -> Tensor:
        """V(s) of every row, ``[S, B, *observation] -> [S, B]``, without gradients."""
        return self.actor_critic.values(self._features(obs))
