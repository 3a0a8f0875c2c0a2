"""Running normalization of observations and rewards, one set of moments per row: stable-baselines3's VecNormalize.

The moments are part of the policy: they belong to the graph of its scores, are saved with it, and change only in
training.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from torch import Tensor

from .encoding import num_features

CLIP = 10.0  # of normalized numbers, in standard deviations
TINY = 1e-8  # added to variances
FIRST_COUNT = 1e-4  # weight of the initial mean 0 and variance 1, in observations


class Moments(NamedTuple):
    """Mean and variance of D numbers, of each row."""

    mean: Tensor  # [S, D]
    variance: Tensor  # [S, D], divided by the count
    weight: Tensor  # [S, 1], how many numbers they are of


def merged(moments: Moments, batch: Tensor) -> Moments:
    """Merge moments with those of a batch ``[S, N, D]``.

    Source: Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance", equation 2.1.
    """
    mean, variance, count = batch.mean(dim=1), batch.var(dim=1, correction=0), batch.shape[1]
    total = moments.weight + count
    change = mean - moments.mean
    squares = moments.variance * moments.weight + variance * count + change.square() * moments.weight * count / total
    return Moments(moments.mean + change * count / total, squares / total, total)


class Normalizer:
    """Observations with mean 0 and deviation 1, rewards in units of the deviation of the discounted return.

    Everything is kept in one matrix ``flat`` ``[S, 2 (D + 1) + 1]`` float64: mean and variance of D features and of the
    return, and their count.

    Args:
        num_features: D.
        num_envs: B.
        gamma: discount of the return, ``[S]``.
        of_observations: whether to normalize observations.
        of_rewards: whether to normalize rewards.
    """

    columns = slice(None)  # all of ``flat`` is saved

    def __init__(
        self, num_features: int, num_envs: int, gamma: Tensor, of_observations: bool, of_rewards: bool
    ) -> None:
        self.of_observations, self.of_rewards = of_observations, of_rewards
        self._gamma = gamma.double()[:, None]
        width = num_features + 1
        self._return = self._gamma.new_zeros(len(gamma), num_envs)  # of running episodes
        self.flat = self._gamma.new_zeros(len(gamma), 2 * width + 1)
        self.flat[:, width:] = 1.0
        self.flat[:, -1] = FIRST_COUNT

    @property
    def moments(self) -> Moments:
        """Of the features and, last, of the discounted return."""
        width = self.flat.shape[1] // 2
        return Moments(self.flat[:, :width], self.flat[:, width : 2 * width], self.flat[:, 2 * width :])

    def update(self, features: Tensor, reward: Tensor, done: Tensor, active: Tensor) -> None:
        """Update the moments with a segment.

        A row that is not active, or whose segment is not finite, keeps its moments.

        Args:
            features: ``[S, T, B, D]``.
            reward: ``[S, T, B]``.
            done: whether the episode ended at a step, ``[S, T, B]`` bool.
            active: ``[S]`` bool.
        """
        returns = []
        for reward_t, done_t in zip(reward.double().unbind(1), done.unbind(1), strict=True):
            returns.append(self._gamma * self._return + reward_t)  # [S, B]
            self._return = torch.where(done_t, 0.0, returns[-1])
        batch = torch.cat([features.double(), torch.stack(returns, dim=1)[..., None]], dim=-1)  # [S, T, B, D + 1]
        flat = torch.cat(merged(self.moments, batch.flatten(1, 2)), dim=1)
        sound = active & flat.isfinite().all(dim=1)
        self.flat.copy_(torch.where(sound[:, None], flat, self.flat))

    def drop(self, copies: Tensor) -> None:
        """Forget the returns of the running episodes of ``copies [S, B]`` bool."""
        self._return = self._return.masked_fill(copies, 0.0)

    def state_dict(self) -> dict[str, Tensor]:
        """The moments and the returns of the running episodes, for a checkpoint."""
        return {"moments": self.flat, "return": self._return}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from saved moments."""
        self.flat.copy_(state["moments"])
        self._return = state["return"].clone()

    def observations(self, features: Tensor) -> Tensor:
        """(x - mean) / deviation, clipped to +-10, differentiable in x: ``[S, ..., D] -> [S, ..., D]``."""
        if not self.of_observations:
            return features
        shape = (len(features), *[1] * (features.dim() - 2), -1)
        mean, inverse, limit = self.scaling()
        centered = features.double() - mean.reshape(shape)
        return (centered * inverse.reshape(shape)).clamp(-limit, limit).to(features.dtype)

    def scaling(self) -> tuple[Tensor, Tensor, float]:
        """Return mean and 1 / deviation of the features, ``[S, D]`` float64, and the limit of normalized ones."""
        moments = self.moments
        return moments.mean[:, :-1], (moments.variance[:, :-1] + TINY).rsqrt(), CLIP

    def reward_deviation(self) -> Tensor:
        """Return the divisor of rewards, ``[S, 1]`` float64; ``[S, 0]`` where rewards are not normalized."""
        deviation = (self.moments.variance[:, -1:] + TINY).sqrt()
        return deviation if self.of_rewards else deviation[:, :0]

    def rewards(self, reward: Tensor, summed: int = 1) -> Tensor:
        """r / deviation of the return, clipped to +-10: ``[S, ...] -> [S, ...]``.

        Args:
            reward: rewards of steps, or sums of rewards.
            summed: largest number of summed rewards; the limit is 10 times that.
        """
        if not self.of_rewards:
            return reward
        deviation = self.reward_deviation().view(-1, *[1] * (reward.dim() - 1))
        return (reward / deviation).clamp(-CLIP * summed, CLIP * summed).to(reward.dtype)


def normalizer(
    space: spaces.Space[Any], num_envs: int, gamma: Tensor, of_observations: bool, of_rewards: bool
) -> Normalizer | None:
    """Make a ``Normalizer`` for a space; None if neither observations nor rewards are normalized.

    Args:
        space: observation space.
        num_envs: number of copies B per seed.
        gamma: discount of the running returns, ``[S]``.
        of_observations: whether to normalize observations.
        of_rewards: whether to normalize rewards.

    Raises:
        ValueError: observations to be normalized that are no Box.
    """
    if of_observations and not isinstance(space, spaces.Box):
        raise ValueError(f"normalize_observations needs Box observations, got {space}")
    if not (of_observations or of_rewards):
        return None
    return Normalizer(num_features(space), num_envs, gamma, of_observations, of_rewards)
