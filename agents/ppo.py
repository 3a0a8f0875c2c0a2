"""Proximal policy optimization (Schulman et al. 2017, "Proximal policy optimization algorithms", algorithm 1, with the
clipped objective and generalized advantages).

    repeat:
        play n_steps of every copy by pi(.; theta), and call that policy pi_old
        A_t by generalized advantage estimation from V(.; theta), R_t = A_t + V(s_t)
        n_epochs times, for each minibatch of a random partition:
            A <- (A - mean) / std                          (of the minibatch, per seed)
            r = pi(a|s; theta) / pi_old(a|s)
            descend  mean[ -min(r A, clip(r, 1 - c, 1 + c) A) - ent_coef H + vf_coef (V - R)^2 ]
            (gradient norm clipped, per seed; a seed stops for this batch when KL(pi_old, pi) > 1.5 target_kl)

Every line is done for S seeds at once. Hyper-parameters have the names, meanings and defaults of
stable-baselines3's PPO, so equal settings define the same algorithm in both libraries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from rlkit.exploration import mask_logits
from rlkit.losses import (
    clipped_squared,
    clipped_surrogate,
    entropy,
    explained_variance,
    log_probability,
    log_softmax,
    standardized,
)
from rlkit.nn import MLP, Adam
from rlkit.streams import Stream
from rlkit.types import Targets, Transition

from .configs import PPOConfig
from .core.descent import Forward
from .core.minibatches import split
from .core.on_policy import OnPolicyAgent, actor_critic_loss, flat_action_mask
from .presets import PPO_PRESETS

LOGGED_AT_ONCE = 32  # updates whose log is computed together; their policies are kept until then


class Experience(NamedTuple):
    """A batch or minibatch, ``[S, M, ...]``."""

    features: Tensor  # [S, M, D]
    action: Tensor
    old_log_p: Tensor  # log pi_old(a|s)
    old_value: Tensor
    advantage: Tensor
    target: Tensor  # R
    action_mask: Tensor | None = None  # the allowed actions, [S, M, A]


class PPOLosses(NamedTuple):
    """The loss of every transition and its parts, ``[S, M]`` each, and the policy and its change."""

    loss: Tensor
    policy_loss: Tensor
    value_loss: Tensor
    log_p: Tensor  # log pi, [S, M, A]
    log_ratio: Tensor  # log r, [S, M]


class Update(NamedTuple):
    """The numbers of an update that are logged."""

    losses: PPOLosses
    gradient_norm: Tensor  # [S]


def ppo_loss(
    logits: Tensor,
    value: Tensor,
    batch: Experience,
    clip_range: Tensor,
    clip_range_vf: Tensor | None,
    ent_coef: Tensor | None,
    vf_coef: Tensor,
) -> PPOLosses:
    """Compute -min(r A, clip(r) A) - ent_coef H + vf_coef (V - R)^2, elementwise.

    Args:
        logits: ``[S, M, A]``.
        value: V(s), ``[S, M]``.
        batch: the minibatch.
        clip_range, clip_range_vf, ent_coef, vf_coef: ``[S]``; None omits the clipping of V, or the bonus.
    """
    log_p = log_softmax(mask_logits(logits, batch.action_mask))
    log_ratio = log_probability(log_p, batch.action) - batch.old_log_p  # [S, M]
    surrogate = clipped_surrogate(log_ratio, batch.advantage, clip_range[:, None])
    clip_value = None if clip_range_vf is None else clip_range_vf[:, None]
    error = clipped_squared(value, batch.old_value, batch.target, clip_value)
    return PPOLosses(*actor_critic_loss(log_p, surrogate, error, ent_coef, vf_coef), log_ratio)


def approximate_kl(log_ratio: Tensor) -> Tensor:
    """Estimate KL(pi_old, pi) by the mean of (r - 1) - log r (Schulman 2020), ``[..., M] -> [...]``."""
    return ((log_ratio.exp() - 1.0) - log_ratio).mean(dim=-1)


def clip_fraction(log_ratio: Tensor, clip_range: Tensor) -> Tensor:
    """Return the fraction of ratios that are farther than ``clip_range [S]`` from 1, ``[..., S, M] -> [..., S]``."""
    distance = (log_ratio.exp() - 1.0).abs()
    return (distance > clip_range[:, None]).mean(dim=-1, dtype=distance.dtype)


class PPO(OnPolicyAgent):
    """PPO on the seed axis; see ``Agent`` for the arguments and ``PPOConfig`` for the hyper-parameters."""

    config_class = PPOConfig
    presets = PPO_PRESETS
    checkpointed = ("optimizer", "_shuffle")
    config: PPOConfig

    def _build(self) -> dict[str, MLP]:
        config = self.config
        self._batch = config.n_steps * self.env.num_envs
        if self._batch % config.batch_size:
            raise ValueError(
                f"batch_size {config.batch_size} does not divide the {self._batch} transitions of n_steps "
                f"{config.n_steps} x {self.env.num_envs} copies: a minibatch would be left over"
            )
        self.actor_critic = self.actor_critic_networks()
        self.optimizer = Adam(self.actor_critic.flat, eps=1e-5, pauses=config.target_kl is not None)
        self._ent_coef = None if config.ent_coef == 0.0 else self.per_row.ent_coef
        self._target_kl: Tensor | None = None if config.target_kl is None else self.per_row.target_kl
        self._shuffle = Stream(self.seeds, "replay", width=self._batch, device=self.device)
        return {"policy": self.actor_critic.policy, "value": self.actor_critic.value}

    def torch_iteration(self) -> None:
        """Play ``n_steps`` steps of every copy, then make ``n_epochs`` passes over them in minibatches."""
        batch = self.experience(self.play(self.config.n_steps))
        self.training_state.means.add(explained_variance=explained_variance(batch.advantage, batch.target))
        going_on = None  # [S], False once the policy has moved too far from this batch's; None: everywhere True
        updates: list[Update] = []
        for minibatch in self.minibatches(batch):
            going_on, update = self.update(minibatch, going_on)
            updates.append(update)
            if len(updates) == LOGGED_AT_ONCE:
                self.record_updates(updates)
                updates.clear()
        if updates:
            self.record_updates(updates)

    @torch.no_grad()
    def experience(self, batch: Transition) -> Experience:
        """Add advantages and the old policy's probabilities to a segment ``[S, T, B]``: ``[S, T B]``."""
        features, action = self.features(batch.obs).flatten(1, 2), batch.action.flatten(1, 2)
        logits, value = self.actor_critic(features)
        mask, advantage = flat_action_mask(batch), self.advantages(batch, value)
        log_p = log_softmax(mask_logits(logits, mask))
        old_log_p = log_probability(log_p, action)
        return Experience(features, action, old_log_p, value, advantage, advantage + value, mask)

    def minibatches(self, batch: Experience) -> Iterator[Experience]:
        """Yield the minibatches of ``n_epochs`` random partitions of each row's batch."""
        size = self.config.batch_size
        if size == self._batch:
            yield from [self._normalized(batch)] * self.config.n_epochs
            return
        rows = torch.arange(self.num_seeds, device=self.device)[:, None] * self._batch
        for _ in range(self.config.n_epochs):
            order = (self._shuffle.next().argsort(dim=1) + rows).flatten()  # [S T B]
            shuffled = (
                None if field is None else field.flatten(0, 1).index_select(0, order).view(field.shape)
                for field in batch
            )
            for minibatch in split(Experience(*shuffled), size):  # type: ignore[arg-type]
                yield self._normalized(minibatch)

    def _normalized(self, minibatch: Experience) -> Experience:
        advantage = minibatch.advantage
        return minibatch._replace(advantage=standardized(advantage)) if self.config.normalize_advantage else minibatch

    @torch.no_grad()
    def update(self, batch: Experience, going_on: Tensor | None) -> tuple[Tensor | None, Update]:
        """Make one gradient step of every row in ``going_on [S]`` bool; None: of all.

        Returns:
            the rows that continue, and what is logged.
        """
        config, per_row, scheduled = self.config, self.per_row, self.training_state.scheduled
        limited = config.clip_range_vf is not None
        loss = partial(
            ppo_loss,
            batch=batch,
            clip_range=scheduled(per_row.clip_range, config.clip_range_schedule),
            clip_range_vf=scheduled(per_row.clip_range_vf, config.clip_range_schedule) if limited else None,
            ent_coef=self._ent_coef,
            vf_coef=per_row.vf_coef,
        )
        forward = Forward(self.actor_critic, batch.features)
        targets = Targets(batch.action, batch.target, batch.advantage, batch.action_mask)
        losses, gradient = self.differentiate(forward, loss, targets, self.optimizer.gradient)
        if self._target_kl is not None:
            near = ~(approximate_kl(losses.log_ratio) > 1.5 * self._target_kl)
            going_on = near if going_on is None else going_on & near
        learning_rate = scheduled(per_row.learning_rate, config.learning_rate_schedule)
        norm = self.gradient_step(self.optimizer, gradient, learning_rate, per_row.max_grad_norm, going_on)
        return going_on, Update(losses, norm)

    @torch.no_grad()
    def record_updates(self, updates: Sequence[Update]) -> None:
        """Log updates of one iteration; what is computed for the log is computed for all of them at once."""
        per_row, state = self.per_row, self.training_state
        losses = PPOLosses(*(torch.stack(parts) for parts in zip(*(each.losses for each in updates), strict=True)))
        clip_range = state.scheduled(per_row.clip_range, self.config.clip_range_schedule)
        measured = {
            "loss": losses.loss.mean(dim=-1),  # [n, S]
            "policy_loss": losses.policy_loss.mean(dim=-1),
            "value_loss": losses.value_loss.mean(dim=-1),
            "entropy": entropy(losses.log_p).mean(dim=-1),
            "approx_kl": approximate_kl(losses.log_ratio),
            "clip_fraction": clip_fraction(losses.log_ratio, clip_range),
        }
        for i, update in enumerate(updates):
            state.means.add(**{name: each[i] for name, each in measured.items()}, gradient_norm=update.gradient_norm)
