"""The shared part of PPO, A2C and REINFORCE on the compiled engine: segments are played, and their arrays viewed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.compiled.layout import AdamArrays, MLPArrays, RMSpropArrays
from rlkit.compiled.learn import Descent, Rewards, blocks, descend_rows, prepare_rows
from rlkit.compiled.losses import OnPolicyBatch
from rlkit.compiled.rollout import Scaling
from rlkit.nn import Adam
from rlkit.types import Transition

from .hyperparameters import PerRowNumbers


class Player:
    """Plays segments with an agent's policy: compiled where the environment's dynamics have numbers, else in torch.

    Args:
        agent: an ``OnPolicyAgent``.
        policy: the views of its policy's network.
    """

    def __init__(self, agent: Any, policy: MLPArrays) -> None:
        self.agent, self.policy = agent, policy
        numbers_of = getattr(agent.env, "numbers", None)
        self.numbers = None if numbers_of is None else numbers_of(agent.dtype)

    def __call__(self, steps: int) -> Transition:
        """Play ``steps`` steps of every copy; as ``OnPolicyAgent.play``."""
        agent = self.agent
        if self.numbers is None:
            played: Transition = agent.play(steps)
            return played
        u = agent.explore.take(steps)[..., 0]
        recorded: Transition = agent.recorded(agent.env.play(self.numbers, self.policy, scaling_of(agent), u))
        return recorded


def scaling_of(agent: Any) -> Scaling:
    """Return what normalizes the features of an agent."""
    normalizer = agent.normalizer
    if normalizer is None or not normalizer.of_observations:
        nothing = np.empty((agent.num_seeds, 0))
        return Scaling(nothing, nothing, 0.0)
    mean, inverse, clip = normalizer.scaling()
    return Scaling(mean.contiguous().numpy(), inverse.contiguous().numpy(), clip)


def features_of(agent: Any, obs: Tensor) -> NDArray[Any]:
    """Return the features of a segment's observations ``[S, T, B, ...]`` as ``[S, N, D]``."""
    plain = agent.normalizer is None and obs.dtype == agent.dtype and obs.dim() == 4  # encoded as it is
    features: NDArray[Any] = (obs if plain else agent.features(obs)).flatten(1, 2).contiguous().numpy()
    return features


def mask_of(agent: Any, played: Transition) -> NDArray[np.bool_]:
    """Return the allowed actions of a segment, ``[S, N, A]``; ``[S, 0, A]`` where all are."""
    if played.action_mask is None:
        return np.empty((agent.num_seeds, 0, agent.num_actions), np.bool_)
    mask: NDArray[np.bool_] = played.action_mask.flatten(1, 2).contiguous().numpy()
    return mask


def views_of(per_row: PerRowNumbers) -> dict[str, NDArray[Any]]:
    """Return the hyper-parameters that may differ by row, by name, ``[S]`` each."""
    return {name: tensor.numpy() for name, tensor in vars(per_row).items()}


def rewards_of(played: Transition) -> Rewards:
    """Return the rewards and ends of a segment."""
    fields = played.reward, played.terminated, played.truncated
    return Rewards(*(field.contiguous().numpy() for field in fields))


class ActorCriticIteration:
    """The views of an agent with an ``ActorCritic``, and one iteration on them.

    A subclass defines ``numbers`` of the loss, ``order`` of the transitions, and the iteration.
    """

    def __init__(self, agent: Any) -> None:
        self.agent = agent
        networks, optimizer = agent.actor_critic, agent.optimizer
        self.policy = MLPArrays.of(networks.policy, networks.flat)
        self.value = MLPArrays.of(networks.value, networks.flat)
        self.optimizer = AdamArrays.of(optimizer) if isinstance(optimizer, Adam) else RMSpropArrays.of(optimizer)
        self.play = Player(agent, self.policy)
        self.per_row = views_of(agent.per_row)
        self.per_row.setdefault("target_kl", np.full(agent.num_seeds, np.inf, self.policy.flat.dtype))
        self.active = agent.active.numpy()

    def numbers(self) -> Any:
        """Return the numbers of the loss, see ``rlkit.compiled.losses``."""
        raise NotImplementedError

    def order(self, count: int) -> NDArray[np.int64]:
        """Return the transitions of each minibatch out of ``count``, ``[S, n, M]``."""
        raise NotImplementedError

    def learn(self, played: Transition) -> tuple[Tensor, Tensor]:
        """Learn from a segment; return the losses, their parts and norms ``[S, n, 7]``, and explained variances."""
        batch, explained = self.prepared(played)
        return torch.from_numpy(self.descended(batch)), torch.from_numpy(explained)

    def prepared(self, played: Transition) -> tuple[OnPolicyBatch, NDArray[Any]]:
        """Return what a segment teaches, and the explained variance ``[S]``."""
        agent, dtype = self.agent, self.policy.flat.dtype
        features = features_of(agent, played.obs)
        rows, count, _ = features.shape
        action = played.action.flatten(1, 2).contiguous().numpy()
        old_log_p, old_value, advantage, target = np.empty((4, rows, count), dtype)
        batch = OnPolicyBatch(features, action, mask_of(agent, played), old_log_p, old_value, advantage, target)
        explained, per_row = np.empty(rows, dtype), self.per_row
        discounts = per_row["gamma"], per_row["gae_lambda"]
        arrays = rewards_of(played), features_of(agent, played.next_obs), *discounts, batch, explained
        for first, last in blocks(rows, 2 * count * self.policy.flat.shape[1]):
            prepare_rows(first, last, self.policy, self.value, *arrays)
        return batch, explained

    def descended(self, batch: OnPolicyBatch) -> NDArray[Any]:
        """Descend the loss of every minibatch; return the losses, their parts and the norms, ``[S, n, 7]``."""
        state, config, order = self.agent.training_state, self.agent.config, self.order(batch.action.shape[1])
        rows, updates, size = order.shape
        rate = state.scheduled(self.agent.per_row.learning_rate, config.learning_rate_schedule).numpy()
        limits = self.per_row["max_grad_norm"], self.per_row["target_kl"]
        descent = Descent(rate, *limits, config.normalize_advantage)
        losses = np.empty((rows, updates, 7), self.policy.flat.dtype)
        arrays = self.numbers(), descent, self.policy, self.value, self.optimizer, batch, order, self.active, losses
        for first, last in blocks(rows, 3 * updates * size * self.policy.flat.shape[1]):
            descend_rows(first, last, *arrays)
        return losses
