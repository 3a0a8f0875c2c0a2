"""Policies that see their observations through Gaussian noise, as certificates of policy smoothing need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rlkit.arrays import Given, as_observations
from rlkit.streams import Stream
from rlkit.types import Starts

from ..budget import SMALLEST_UNIFORM, Budget, apart, as_budget, tiled
from .base import Victim, as_victim


class SmoothedPolicy:
    """The Gaussian-smoothed policy: at every step it takes the greedy action of ``policy`` at ``x + sigma scale z``.

    z is standard normal, independent at every step and of what an attacker knows. Features that ``budget`` masks get no
    noise. ``act(obs, deterministic=False)`` plays this policy, with numbers of the stream (seed, "smoothing", copy),
    from its start after every ``restart()``. Its return differs from that of ``policy``.

    Attacks aim at the mean of the scores over ``draws`` fixed draws of the noise, in pairs of opposite sign:
    ``scores``, and ``act(obs, deterministic=True)``, their argmax. They do not see the noise of the step.

    Args:
        policy: S rows with scores.
        sigma: standard deviation of the noise, positive, in units of the budget's scale.
        budget: its scale and mask are used; None for raw units.
        seeds: one integer per row; None for ``policy.seeds``, or 0, 1, ... where the policy has none.
        draws: even number of draws that scores are averaged over.

    Raises:
        ValueError: sigma is not positive and finite, or draws is not a positive even number.

    Source: Kumar, Levine & Feizi 2022, "Policy smoothing for provably robust reinforcement learning", section 4.
    """

    def __init__(
        self,
        policy: Victim,
        sigma: float,
        budget: Budget | None = None,
        seeds: Sequence[int] | None = None,
        draws: int = 4,
    ) -> None:
        if not 0.0 < sigma < math.inf:
            raise ValueError(f"sigma must be positive and finite, got {sigma}")
        if draws < 2 or draws % 2:
            raise ValueError(f"draws must be an even number of at least 2, got {draws}")
        self.policy: Any = as_victim(policy)
        self.sigma, self.draws = sigma, draws
        self.budget = as_budget(0.0 if budget is None else budget)
        self.given_seeds = seeds
        self._noise: Stream | None = None
        self._draws: Tensor | None = None

    @property
    def num_seeds(self) -> int | None:
        """S of the policy; None if it is unknown."""
        return getattr(self.policy, "num_seeds", None)

    @property
    def seeds(self) -> Sequence[int] | None:
        """One integer per row, those of the policy where none were given; None if neither has any."""
        return self.given_seeds if self.given_seeds is not None else getattr(self.policy, "seeds", None)

    @property
    def starts(self) -> Starts:
        """First numbers of the policy's Discrete observations and actions."""
        return getattr(self.policy, "starts", Starts())

    @property
    def scores_are_values(self) -> bool:
        """Whether the policy's scores are action values."""
        return bool(getattr(self.policy, "scores_are_values", False))

    def restart(self, ended: Tensor | None = None, /) -> None:
        """Begin the noise anew, unless ``ended [S, B]`` says which copies begin an episode: these go on with theirs."""
        if ended is None and self._noise is not None:
            self._noise.step = 0

    def act(self, obs: Given, deterministic: bool = True) -> Tensor:
        """Return actions ``[S, B]`` of observations ``[S, B, *observation]``.

        Args:
            obs: observations that the smoothed policy receives.
            deterministic: False for the smoothed policy itself; True for the action of the highest mean score.

        Raises:
            ValueError: integer observations.
        """
        obs = as_observations(obs, self.policy)
        if not obs.is_floating_point():
            raise ValueError(f"Gaussian noise needs floating observations, got {obs.dtype}: encode them first")
        if deterministic:
            with torch.no_grad():
                return self.scores(obs).argmax(dim=-1)
        u = self._next(obs)
        noise = torch.special.ndtri(u.clamp(min=SMALLEST_UNIFORM)).reshape(obs.shape).to(obs.dtype)
        action: Tensor = self.policy.act(obs + self.sigma * self.budget.extent(obs) * noise, True)
        return action

    def scores(self, obs: Given) -> Tensor:
        """Return the mean scores over the fixed draws, ``[S, B, *observation] -> [S, B, A]``, differentiable."""
        obs = as_observations(obs, self.policy)
        noise = self._fixed(obs).repeat_interleave(obs.shape[1], dim=0)[None]  # [1, draws B, *observation]
        many = tiled(obs, self.draws) + self.sigma * self.budget.extent(obs) * noise
        return apart(self.policy.scores(many), self.draws).mean(dim=1)

    def _fixed(self, obs: Tensor) -> Tensor:
        """Give the draws that scores are averaged over, ``[draws, *observation]``, the same for all rows."""
        if self._draws is None:
            u = Stream((0,), "smoothing", math.prod(obs.shape[2:])).take(self.draws // 2)[:, 0]  # [draws / 2, D]
            z = torch.special.ndtri(u.clamp(min=SMALLEST_UNIFORM))
            self._draws = torch.cat([z, -z]).reshape(self.draws, *obs.shape[2:]).to(obs)
        return self._draws

    def _next(self, obs: Tensor) -> Tensor:
        """Draw the uniforms of this step, ``[S, B, D]``."""
        features = math.prod(obs.shape[2:])
        if self._noise is None or (self._noise.copies, self._noise.width) != (obs.shape[1], features):
            seeds = self.seeds if self.seeds is not None else range(len(obs))
            self._noise = Stream(seeds, "smoothing", features, obs.shape[1], obs.device)
        return self._noise.next()
