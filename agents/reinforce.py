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

from typing import NamedTuple

import torch
from torch import Tensor

from rlkit.arrays import Given
from rlkit.baselines import MovingAverage, leave_one_out_mean, optimal_constant, time_dependent_mean
from rlkit.exploration import mask_logits
from rlkit.losses import entropy, entropy_grad, explained_variance, kl_divergence, log_softmax, one_hot, score_grad
from rlkit.nn import MLP, Adam
from rlkit.returns import discounted_returns, ends_by_terminating, episode_returns, steps_since_start
from rlkit.types import Transition, by_copy

from .configs import REINFORCEConfig
from .core.on_policy import OnPolicyAgent
from .presets import REINFORCE_PRESETS

FROM_OTHER_COPIES = ("time", "leave-one-out", "optimal")


class Gradients(NamedTuple):
    """The gradients of a batch, with the policy and loss that they belong to."""

    by_copy: Tensor  # [S, B, P], of the loss, per step played
    log_p: Tensor  # [S B, T, A]
    loss: Tensor  # [S], mean of -(w - b) log pi(a|s); without the entropy bonus


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
        architecture = config.architecture(self.observation_space, self.seeds, self.device)
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

    def iteration(self) -> None:
        """Play ``n_steps`` steps of every copy, then make one update on all of them."""
        self.update(self.play(self.config.n_steps))

    @torch.inference_mode()
    def update(self, batch: Transition) -> None:
        """Make one gradient step of every row on its own segment, ``[S, T, B]``."""
        returns = self.returns(batch)
        gradient, log_p, loss = self.gradients(batch, returns)  # [S, B, P]
        learning_rate = self.training_state.scheduled(self.per_row.learning_rate, self.config.learning_rate_schedule)
        norm = self.gradient_step(self.optimizer, gradient.mean(dim=1), learning_rate, self.per_row.max_grad_norm)
        after = self._log_p(batch, self.policy.repeated(self.env.num_envs)(by_copy(self.features(batch.obs))))
        self.training_state.means.add(
            policy_loss=loss,
            entropy=entropy(log_p).mean(dim=1).view(norm.shape[0], -1).mean(dim=1),
            kl=kl_divergence(log_p, after).mean(dim=1).view(norm.shape[0], -1).mean(dim=1),
            gradient_norm=norm,
        )
        if self.env.num_envs > 1:  # of the mean over copies, summed over parameters
            self.training_state.means.add(gradient_variance=gradient.var(dim=1).sum(dim=1) / self.env.num_envs)
        if self.config.baseline == "value":
            self.fit_value(batch, returns)

    def returns(self, batch: Transition) -> Tensor:
        """Compute the return G of every step, ``[S, T, B]``."""
        bootstrap = torch.zeros_like(batch.reward)
        if self.config.unfinished == "bootstrap":
            bootstrap = self._value_of(batch.next_obs)
        gamma = self.per_row.gamma[:, None]
        return discounted_returns(batch.reward, bootstrap, batch.terminated, batch.truncated, gamma)

    def weights(self, batch: Transition, returns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the weights of the scores, which steps count, and steps since the start, ``[S, T, B]`` each."""
        config, weight = self.config, returns
        step = steps_since_start(batch.done, self._before)
        self._before = torch.where(batch.done[:, -1], 0, step[:, -1] + 1)
        if config.discount_states:
            weight = self.per_row.gamma[:, None, None] ** step * weight
        if config.returns == "whole":
            weight = episode_returns(weight, batch.done)
        drop = config.unfinished == "drop"
        counted = ends_by_terminating(batch.terminated, batch.truncated) if drop else torch.ones_like(batch.terminated)
        return weight, counted, step

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

    def gradients(self, batch: Transition, returns: Tensor) -> Gradients:
        """Compute the gradient of the loss (minus the return) by copy, with the policy and the loss."""
        seeds, steps, copies = batch.reward.shape
        weight, counted, step = self.weights(batch, returns)
        weight = torch.where(counted, weight - self.baseline(batch, weight, counted, step), 0.0)

        # every copy is a row of its own: its sum over time is its own gradient
        logits, pullback = self.policy.repeated(copies).vjp(by_copy(self.features(batch.obs)))  # [S B, T, ...]
        log_p, action = self._log_p(batch, logits), by_copy(batch.action)
        taken = one_hot(action, log_p)

        def gradient_by_copy(grad: Tensor) -> Tensor:
            """Map the derivative of a loss by the logits to its gradient: ``[S B, T, A] -> [S, B, P]``."""
            return pullback(grad).view(seeds, copies, -1)

        gradient = gradient_by_copy(score_grad(log_p, taken, by_copy(weight)))
        if self.config.baseline == "optimal":
            score = gradient_by_copy(score_grad(log_p, taken, by_copy(counted.to(weight.dtype))))
            gradient = gradient - optimal_constant(gradient, score)[..., None] * score
        if self.config.ent_coef != 0.0:
            bonus = gradient_by_copy(-entropy_grad(log_p))
            gradient = gradient + self.per_row.ent_coef[:, None, None] * bonus
        loss = -(by_copy(weight) * log_p.gather(-1, action[..., None])[..., 0]).mean(dim=1)
        return Gradients(gradient / steps, log_p, loss.view(seeds, copies).mean(dim=1))

    def fit_value(self, batch: Transition, returns: Tensor) -> None:
        """Make ``value_steps`` gradient steps of V on the squared error to the returns of the batch."""
        features, target = self.features(batch.obs).flatten(1, 2), returns.flatten(1, 2)  # [S, T B, ...]
        for i in range(self.config.value_steps):
            value, pullback = self.value.vjp(features)
            error = value[..., 0] - target
            gradient = pullback(2.0 / error.shape[1] * error[..., None], self.value_optimizer.gradient)
            learning_rate, max_norm = self.per_row.value_learning_rate, self.per_row.max_grad_norm
            self.gradient_step(self.value_optimizer, gradient, learning_rate, max_norm)
            if i == 0:
                variance = explained_variance(value[..., 0], target)
                self.training_state.means.add(value_loss=error.square().mean(dim=1), explained_variance=variance)

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
