"""REINFORCE on the compiled engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.compiled.layout import MLPArrays, OptimizerArrays
from rlkit.compiled.learn import blocks
from rlkit.compiled.reinforce import (
    PlayedSegment,
    PolicyDescent,
    Weighting,
    Weights,
    descend_policy_rows,
    fit_value_rows,
    weigh_rows,
)
from rlkit.types import Transition

from .compiled_on_policy import Player, features_of, rewards_of


class REINFORCEIteration:
    """The views of a REINFORCE agent, and one iteration on them."""

    def __init__(self, agent: Any) -> None:
        self.agent = agent
        self.policy, self.optimizer = MLPArrays.of(agent.policy), OptimizerArrays.of(agent.optimizer)
        if agent.config.baseline == "value":
            self.value, self.value_optimizer = MLPArrays.of(agent.value), OptimizerArrays.of(agent.value_optimizer)
        self.play = Player(agent, self.policy)

    def __call__(self) -> None:
        """Play ``n_steps`` steps of every copy, then make one update on all of them."""
        agent = self.agent
        played = self.play(agent.config.n_steps)
        weights = self.weights(played)
        self.descend_policy(played, weights)
        if agent.config.baseline == "value":
            self.fit_value(played, weights)

    def weights(self, played: Transition) -> Weights:
        """Return the weights of a segment."""
        agent, config, shape = self.agent, self.agent.config, played.reward.shape
        dtype = self.policy.flat.dtype
        bootstrap = np.zeros(shape, dtype)
        if config.unfinished == "bootstrap":
            bootstrap = agent._value_of(played.next_obs).numpy()
        whole, drop = config.returns == "whole", config.unfinished == "drop"
        weighting = Weighting(agent.per_row.gamma.numpy(), config.discount_states, whole, drop)
        out = Weights(
            np.empty(shape, dtype), np.empty(shape, dtype), np.empty(shape, np.bool_), np.empty(shape, np.int64)
        )
        weigh_rows(0, len(bootstrap), weighting, rewards_of(played), bootstrap, agent._before.numpy(), out)
        return out

    def descend_policy(self, played: Transition, weights: Weights) -> None:
        """Make one gradient step of every row's policy, and log it."""
        agent, per_row, config = self.agent, self.agent.per_row, self.agent.config
        weight, counted, step = (torch.from_numpy(array) for array in (weights.weight, weights.counted, weights.step))
        weight = torch.where(counted, weight - agent.baseline(played, weight, counted, step), 0.0)
        rows, steps, copies = weight.shape
        segment = PlayedSegment(
            self.by_copy(agent.features(played.obs)),
            self.by_copy(played.action),
            self.mask_by_copy(played),
            self.by_copy(weight),
            self.by_copy(counted),
        )
        rate = agent.training_state.scheduled(per_row.learning_rate, config.learning_rate_schedule)
        optimal = config.baseline == "optimal"
        descent = PolicyDescent(rate.numpy(), per_row.max_grad_norm.numpy(), per_row.ent_coef.numpy(), optimal)
        log = np.empty((rows, 5), self.policy.flat.dtype)
        for first, last in blocks(rows, 5 * steps * copies * self.policy.flat.shape[1]):
            arrays = self.policy, self.optimizer, segment, agent.active.numpy(), log
            descend_policy_rows(first, last, descent, *arrays)
        loss, entropy, kl, norm, variance = torch.from_numpy(log).unbind(1)
        means = agent.training_state.means
        means.add(policy_loss=loss, entropy=entropy, kl=kl, gradient_norm=norm)
        if copies > 1:
            means.add(gradient_variance=variance)

    def fit_value(self, played: Transition, weights: Weights) -> None:
        """Make ``value_steps`` gradient steps of every row's V, and log the first."""
        agent, per_row, config = self.agent, self.agent.per_row, self.agent.config
        features, flat = features_of(agent, played.obs), self.value.flat
        rows, count, _ = features.shape
        target = weights.returns.reshape(rows, count)
        log = np.empty((rows, 2), flat.dtype)
        rates: Any = per_row.value_learning_rate.numpy(), per_row.max_grad_norm.numpy()
        arrays: Any = self.value, self.value_optimizer, features, target, agent.active.numpy(), log
        for first, last in blocks(rows, 3 * config.value_steps * count * flat.shape[1]):
            fit_value_rows(first, last, config.value_steps, *rates, *arrays)
        loss, explained = torch.from_numpy(log).unbind(1)
        agent.training_state.means.add(value_loss=loss, explained_variance=explained)

    def by_copy(self, field: Tensor) -> NDArray[Any]:
        """Order a field of a segment by copy, ``[S, T, B, ...] -> [S, B, T, ...]``."""
        array: NDArray[Any] = field.transpose(1, 2).contiguous().numpy()
        return array

    def mask_by_copy(self, played: Transition) -> NDArray[Any]:
        """Return the allowed actions ``[S, B, T, A]``; ``[S, B, 0, A]`` where all are."""
        agent = self.agent
        if played.action_mask is None:
            return np.empty((agent.num_seeds, agent.env.num_envs, 0, agent.num_actions), np.bool_)
        return self.by_copy(played.action_mask)
