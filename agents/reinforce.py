"""REINFORCE (Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement
learning") with a choice of return and of baseline.

    repeat:
        play n_steps of every copy by pi(.; theta)
        G_t = r_t + gamma G_(t+1)             (within an episode; what follows the last step: see ``unfinished``)
        w_t = G_t, or gamma^t G_t, or the whole episode's return
        b_t = a baseline that does not depend on this episode
        theta <- theta + learning_rate * mean over copies of  sum_t (w_t - b_t) grad log pi(a_t|s_t)
                                                              (per step played; norm clipped, per seed)

With ``discount_states`` (and with whole returns) the estimate is of the gradient of the discounted return from the
start. Without it, it is of an average over the visited states in which late states have the same weight as early ones.
For gamma = 1 both are equal. The gradients of the copies stay separate until the last line, so the variance of their
mean is known at every update, and is logged. Every line is done for S seeds at once.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from rlkit.arrays import Given
from rlkit.baselines import MovingAverage, leave_one_out_mean, optimal_constant, time_dependent_mean
from rlkit.devices import constant
from rlkit.exploration import mask_logits
from rlkit.losses import (
    entropy,
    explained_variance,
    kl_divergence,
    log_softmax,
    policy_gradient_loss,
    squared_difference,
)
from rlkit.nn import MLP, Adam
from rlkit.returns import discounted_returns, ends_by_terminating, episode_returns, steps_since_start
from rlkit.types import Targets, Transition, by_copy

from .configs import REINFORCEConfig
from .core.descent import Forward
from .core.on_policy import OnPolicyAgent, flat_action_mask
from .presets import REINFORCE_PRESETS

FROM_OTHER_COPIES = ("time", "leave-one-out", "optimal")


class Gradients(NamedTuple):
    """The gradients of a batch, with the policy and loss that they belong to."""

    by_copy: Tensor  # [S, B, P], of the loss, per step played
    log_p: Tensor  # [S B, T, A]
    loss: Tensor  # [S], mean of -(w - b) log pi(a|s); without the entropy bonus
    weight: Tensor  # w - b, [S, T, B]; for baseline "optimal" w


def reinforce_loss(logits: Tensor, action: Tensor, weight: Tensor, action_mask: Tensor | None = None) -> Tensor:
    """Compute -w log pi(a|s), elementwise.

    Args:
        logits: ``[S, M, A]``.
        action, weight: ``[S, M]``.
        action_mask: the allowed actions, ``[S, M, A]`` bool; None for all.
    """
    log_p = log_softmax(mask_logits(logits, action_mask))
    return policy_gradient_loss(log_p, action, weight)


def negative_entropy(logits: Tensor, action_mask: Tensor | None = None) -> Tensor:
    """Compute -H(pi(.|s)), ``[S, M]``; arguments as of ``reinforce_loss``."""
    return -entropy(log_softmax(mask_logits(logits, action_mask)))


def value_loss(value: Tensor, target: Tensor) -> Tensor:
    """Compute (V - G)^2 of values ``[S, M, 1]`` and returns ``[S, M]``, elementwise."""
    return squared_difference(value.squeeze(-1), target)


class REINFORCE(OnPolicyAgent):
    """REINFORCE on the seed axis; see ``Agent`` for the arguments and ``REINFORCEConfig`` for the hyper-parameters."""

    config_class = REINFORCEConfig
    presets = REINFORCE_PRESETS
    checkpointed = ("optimizer", "value_optimizer", "_average", "_before")
    config: REINFORCEConfig

    def _build(self) -> dict[str, MLP]:
        config, copies = self.config, self.env.num_envs
        if config.baseline in FROM_OTHER_COPIES and copies < 2:
            raise ValueError(
                f"baseline {config.baseline!r} is computed from the other copies: num_envs must be at least 2"
            )
        if config.baseline == "time" and self.env.max_episode_steps is None:
            raise ValueError("baseline 'time' needs an environment with a time limit: use 'leave-one-out'")
        architecture = config.architecture(self.observation_space, self.seeds, self.device, self.dtype)
        self.policy = architecture.policy(self.num_actions, config.ortho_init)
        self.optimizer = Adam(self.policy.flat)
        self._average = MovingAverage(self.per_row.average_decay)
        self._before = torch.zeros(self.num_seeds, copies, dtype=torch.int64, device=self.device)  # of the episode
        if config.baseline != "value":
            return {"policy": self.policy}
        self.value = architecture.value(config.ortho_init)
        self.value_optimizer = Adam(self.value.flat)
        return {"policy": self.policy, "value": self.value}

    def drop_episodes(self, copies: Tensor) -> None:
        """See ``Agent``; the episodes that these copies are in have no steps before."""
        super().drop_episodes(copies)
        self._before = self._before.masked_fill(copies, 0)

    def torch_iteration(self) -> None:
        """Play ``n_steps`` steps of every copy, then make one update on all of them."""
        self.update(self.play(self.config.n_steps))

    @torch.no_grad()
    def update(self, batch: Transition) -> None:
        """Make one gradient step of every row on its own segment, ``[S, T, B]``."""
        returns = self.returns(batch)
        gradient, log_p, loss, weight = self.gradients(batch, returns)
        mean = gradient.mean(dim=1)  # [S, P]
        self._add_terms_to(mean, batch, returns, weight)
        learning_rate = self.training_state.scheduled(self.per_row.learning_rate, self.config.learning_rate_schedule)
        norm = self.gradient_step(self.optimizer, mean, learning_rate, self.per_row.max_grad_norm)
        after = self._log_p(batch, self.policy.repeated(self.env.num_envs)(by_copy(self.features(batch.obs))))
        self.training_state.means.add(
            policy_loss=loss,
            entropy=entropy(log_p).view(self.num_seeds, -1).mean(dim=1),
            kl=kl_divergence(log_p, after).view(self.num_seeds, -1).mean(dim=1),
            gradient_norm=norm,
        )
        if self.env.num_envs > 1:  # of the mean over copies, summed over parameters
            self.training_state.means.add(gradient_variance=gradient.var(dim=1).sum(dim=1) / self.env.num_envs)
        if self.config.baseline == "value":
            self.fit_value(batch, returns)

    def returns(self, batch: Transition) -> Tensor:
        """Compute the return G of every step, ``[S, T, B]``."""
        bootstrapped = self.config.unfinished == "bootstrap"
        bootstrap = self._value_of(batch.next_obs) if bootstrapped else torch.zeros_like(batch.reward)
        gamma = self.per_row.gamma[:, None]
        return discounted_returns(batch.reward, bootstrap, batch.terminated, batch.truncated, gamma)

    def weights(self, batch: Transition, returns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the weights of the scores, which steps count, and steps since the start, ``[S, T, B]`` each."""
        config, weight = self.config, returns
        done = batch.done
        step = steps_since_start(done, self._before)
        self._before = (step[:, -1] + 1).masked_fill(done[:, -1], 0)
        if config.discount_states:
            weight = self.per_row.gamma[:, None, None] ** step * weight
        if config.returns == "whole":
            weight = episode_returns(weight, done)
        if config.unfinished == "drop":
            return weight, ends_by_terminating(batch.terminated, batch.truncated), step
        return weight, constant(1.0, torch.bool, done.device).expand_as(done), step

    def baseline(self, batch: Transition, weight: Tensor, counted: Tensor, step: Tensor) -> Tensor:
        """Compute the baseline of every weight, broadcastable to ``[S, T, B]``; 0 for "optimal", see ``gradients``.

        Args:
            batch: steps of whole episodes, ``[S, T, B]``.
            weight: weights of the scores, ``[S, T, B]``.
            counted: whether a step counts, ``[S, T, B]`` bool.
            step: steps since the start of the episode, ``[S, T, B]``.
        """
        name = self.config.baseline
        if name == "leave-one-out":
            return leave_one_out_mean(weight, counted)
        if name == "time":
            assert self.env.max_episode_steps is not None
            return time_dependent_mean(weight, counted, step, self.env.max_episode_steps)
        if name == "average":
            return self._average.next(weight, counted)
        if name == "value":
            value = self._value_of(batch.obs)
            return self.per_row.gamma[:, None, None] ** step * value if self.config.discount_states else value
        return torch.zeros_like(weight[:, :1])

    @torch.no_grad()
    def gradients(self, batch: Transition, returns: Tensor) -> Gradients:
        """Compute the gradient of the loss (minus the return) by copy, with the policy and the loss."""
        seeds, copies = self.num_seeds, self.env.num_envs
        weight, counted, step = self.weights(batch, returns)
        zero = constant(0.0, weight.dtype, weight.device)
        weight = torch.where(counted, weight - self.baseline(batch, weight, counted, step), zero)

        # every copy is a row of its own: the gradient of its mean over time is its own
        forward = Forward(self.policy.repeated(copies), by_copy(self.features(batch.obs)))
        mask = None if batch.action_mask is None else by_copy(batch.action_mask)
        reinforce = partial(reinforce_loss, action=by_copy(batch.action), action_mask=mask)
        loss, gradient = forward.gradient(partial(reinforce, weight=by_copy(weight)))  # [S B], [S B, P]
        gradient = gradient.view(seeds, copies, -1)
        if self.config.baseline == "optimal":
            _, of_ones = forward.gradient(partial(reinforce, weight=by_copy(counted.to(weight.dtype))))
            score = of_ones.view(seeds, copies, -1)
            gradient = gradient - optimal_constant(gradient, score)[..., None] * score
        if self.config.ent_coef != 0.0:
            coef = self.per_row.ent_coef.repeat_interleave(copies)[:, None]  # [S B, 1]
            _, bonus = forward.gradient(lambda logits: coef * negative_entropy(logits, mask))
            gradient = gradient + bonus.view(seeds, copies, -1)
        log_p = self._log_p(batch, forward.outputs[0].detach())
        return Gradients(gradient, log_p, loss.view(seeds, -1).mean(dim=1), weight)

    def _add_terms_to(self, gradient: Tensor, batch: Transition, returns: Tensor, weight: Tensor) -> None:
        """Add the gradient of the terms to that of the loss, in place; returns and weights are ``[S, T, B]``."""
        action, weight, mask = batch.action.flatten(1, 2), weight.flatten(1, 2), flat_action_mask(batch)
        targets = Targets(action, returns.flatten(1, 2), weight, mask, value=self.networks.get("value"))

        def loss(logits: Tensor) -> Tensor:
            bonus = self.per_row.ent_coef[:, None] * negative_entropy(logits, mask)
            return reinforce_loss(logits, action, weight, mask) + bonus

        self.add_terms(gradient, self.policy, self.features(batch.obs).flatten(1, 2), loss, targets)

    def fit_value(self, batch: Transition, returns: Tensor) -> None:
        """Make ``value_steps`` gradient steps of V on the squared error to the returns of the batch."""
        features, target = self.features(batch.obs).flatten(1, 2), returns.flatten(1, 2)  # [S, T B, ...]
        learning_rate, max_norm = self.per_row.value_learning_rate, self.per_row.max_grad_norm
        for i in range(self.config.value_steps):
            forward = Forward(self.value, features)
            loss, gradient = forward.gradient(partial(value_loss, target=target), self.value_optimizer.gradient)
            self.gradient_step(self.value_optimizer, gradient, learning_rate, max_norm)
            if i == 0:
                variance = explained_variance(target - forward.outputs[0].detach().squeeze(-1), target)
                self.training_state.means.add(value_loss=loss.mean(dim=1), explained_variance=variance)

    def _log_p(self, batch: Transition, logits: Tensor) -> Tensor:
        """Compute log pi over the allowed actions, by copy ``[S B, T, A]``."""
        return log_softmax(mask_logits(logits, None if batch.action_mask is None else by_copy(batch.action_mask)))

    def _value_of(self, obs: Tensor) -> Tensor:
        """Compute V of a segment's observations, ``[S, T, B, ...] -> [S, T, B]``."""
        return self.values(obs.flatten(1, 2)).view(obs.shape[:3])

    def values(self, obs: Given) -> Tensor:
        """Compute V(s) of every row, ``[S, B, *observation] -> [S, B]``, without gradients.

        Raises:
            ValueError: the agent has no value function.
        """
        if self.config.baseline != "value":
            raise ValueError(f"REINFORCE with baseline {self.config.baseline!r} learns no values: use baseline='value'")
        return super().values(obs)
