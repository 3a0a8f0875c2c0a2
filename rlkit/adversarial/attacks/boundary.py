"""Boundary attack: it sees actions only."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from rlkit.types import Policy

from ..budget import Budget, apart, per_feature, tiled
from ..victims.base import Access
from .base import achieved
from .best import Best
from .deepfool import bisect_to_boundary

RADII = (1.0, 2.0, 4.0)  # ends of the first rays, in epsilon
MIXTURES = (0.25, 0.5, 1.0)  # how far a direction turns towards the normal's in a round


@dataclass(frozen=True)
class Boundary:
    """Follow the decision boundary towards the true observation, from actions alone.

    The attack follows random rays from the true observation to a point where the action differs, and bisects back to
    the boundary. It keeps the nearest point. Each round estimates the normal of the boundary there, as ``mean of (label
    - mean label) direction`` over random points around it. It then tries rays that are turned in parts towards the
    direction that is steepest along that normal in the budget's norm; for a flat boundary this is the shortest way.
    Points beyond epsilon are searched too, because the shortest way may start from them.

    Args:
        rays: number of first rays.
        directions: number of points around the boundary point that estimate the normal.
        rounds: number of rounds after the first rays.
        halvings: bisections of every ray.
        radius: distance of the points around, as a share of the distance to the true observation.

    Raises:
        ValueError: rays, directions, rounds or halvings is below 1, or radius is not positive.

    Source: the normal is that of Chen, Jordan & Wainwright 2020, "HopSkipJumpAttack: a query-efficient decision-based
    attack", equation 9 with the baseline of equation 16; walking the boundary is Brendel, Rauber & Bethge 2018,
    "Decision-based adversarial attacks".
    """

    rays: int = 100
    directions: int = 30
    rounds: int = 6
    halvings: int = 6
    radius: float = 0.1
    access: ClassVar[Access] = "actions"

    def __post_init__(self) -> None:
        numbers = (self.rays, self.directions, self.rounds, self.halvings)
        if min(numbers) < 1:
            raise ValueError(f"rays, directions, rounds and halvings must be at least 1, got {numbers}")
        if not self.radius > 0:
            raise ValueError(f"radius must be positive, got {self.radius}")

    @property
    def name(self) -> str:
        """``boundary``."""
        return "boundary"

    def noise_width(self, num_features: int) -> int:
        """Return D for every ray and every direction; all rounds use the same directions."""
        return (self.rays + self.directions) * num_features

    def propose(
        self, victim: Policy, obs: Tensor, budget: Budget, u: Tensor | None, target: Tensor | None = None
    ) -> Tensor:
        """Return the nearest successful point, or else the true observation; arguments as in ``Attack.propose``."""
        assert u is not None
        own = victim.act(obs, True)
        numbers = u.chunk(self.rays + self.directions, dim=-1)  # [S, B, D] each
        rays = [budget.sample_gaussian(obs, each) for each in numbers[: self.rays]]
        rays[::2] = [budget.steepest(obs, ray) for ray in rays[::2]]  # extreme points of the ball
        unit = replace(budget, epsilon=1.0)
        around = torch.cat([unit.sample_gaussian(obs, each) for each in numbers[self.rays :]], dim=1)
        search = _Rays(victim, obs, unit, own, target, self.halvings)
        ends = torch.cat([radius * ray for radius in RADII for ray in rays], dim=1)
        best = Best(obs, torch.full_like(own, -math.inf, dtype=obs.dtype)).or_else(*search.shortest(ends, len(RADII)))
        for _ in range(self.rounds):
            distance = per_feature(torch.where(best.value.isfinite(), -best.value, 0.0), obs)
            ahead = unit.in_units(best.obs - obs) / torch.where(distance > 0, distance, 1.0)  # of length 1
            normal = search.normal(best.obs, self.radius * distance, around)
            uphill = unit.in_units(unit.steepest(obs, normal))
            turned = [distance * unit.along(obs, (1.0 - part) * ahead + part * uphill) for part in MIXTURES]
            best = best.or_else(*search.shortest(torch.cat(turned, dim=1)))
        return best.obs


class _Rays(NamedTuple):
    """Queries of the victim at points on rays from the true observation."""

    victim: Policy
    obs: Tensor  # [S, B, *observation], the truth
    unit: Budget  # with epsilon 1
    own: Tensor  # [S, B], the victim's actions at the truth
    target: Tensor | None
    halvings: int

    def flips(self, shown: Tensor) -> Tensor:
        """Find where the attack succeeds, ``[S, n B]`` of n points for every example."""
        copies = shown.shape[1] // self.obs.shape[1]
        target = None if self.target is None else tiled(self.target, copies)
        return achieved(self.victim.act(shown, True), tiled(self.own, copies), target)

    def shortest(self, offsets: Tensor, radii: int = 1) -> Best:
        """Return the nearest successful point on n rays, with minus its distance as value.

        Args:
            offsets: ends of the rays ``[S, radii n B, *observation]``, every ray at several radii from near to far; a
                ray is bisected from its first successful end.
            radii: number of radii.
        """
        truth = tiled(self.obs, offsets.shape[1] // self.obs.shape[1])
        ends = self.unit.cut(truth + offsets)
        reached = torch.where(self.flips(ends), -self.unit.distance(truth, ends), -math.inf)
        ends, reached = Best(ends, reached).of_each(radii)  # [S, n B]
        copies = reached.shape[1] // self.obs.shape[1]
        truth, own = tiled(self.obs, copies), tiled(self.own, copies)
        target = None if self.target is None else tiled(self.target, copies)
        near = bisect_to_boundary(self.victim, truth, ends, own, target, self.halvings)
        value = torch.where(reached.isfinite() & self.flips(near), -self.unit.distance(truth, near), -math.inf)
        return Best(near, value).of_each(copies)

    def normal(self, obs: Tensor, radius: Tensor, around: Tensor) -> Tensor:
        """Estimate the normal of the decision boundary at ``obs``, up to a positive factor, from actions around it.

        Args:
            obs: points on the boundary, ``[S, B, *observation]``.
            radius: distance of the queried points, ``[S, B, 1, ...]``.
            around: offsets of length 1, ``[S, n B, *observation]``.
        """
        copies = around.shape[1] // obs.shape[1]
        points = self.unit.cut(tiled(obs, copies) + tiled(radius, copies) * around)
        label = apart(self.flips(points), copies).to(obs.dtype)  # [S, n, B]
        label = (label - label.mean(dim=1, keepdim=True)).flatten(1, 2)
        scaled = apart(per_feature(label, points) * self.unit.in_units(around), copies).mean(dim=1)  # scale * gradient
        return self.unit.in_units(scaled)
