"""Adversarial distance as a curve: the share of states at which an attack succeeds within each epsilon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.arrays import Given, as_numbers
from rlkit.statistics import Estimate, share_interval

from ..attacks.base import Attack, posed, sweep
from ..attacks.deepfool import adversarial_distance
from ..budget import Budget, as_budget
from ..victims.base import Victim


class DistanceCurve(NamedTuple):
    """The smallest successful epsilon at every state, and its distribution over states."""

    attack: str  # name of the attack
    epsilons: tuple[float, ...]  # L
    distance: Tensor  # [S, B], an upper bound of the true distance; infinite where the attack found nothing
    queries: int  # queries of the victim per state

    @property
    def flipped(self) -> NDArray[np.float64]:
        """Share of states with a distance of at most each epsilon, ``[L, S]``; it is monotone."""
        within = torch.stack([self.distance <= epsilon for epsilon in self.epsilons])
        share: NDArray[np.float64] = within.to(torch.float64).mean(dim=-1).cpu().numpy()
        return share

    @property
    def median(self) -> NDArray[np.float64]:
        """Median distance of every row, ``[S]``; infinite where the attack fails at more than half of the states."""
        middle: NDArray[np.float64] = self.distance.to(torch.float64).median(dim=1).values.cpu().numpy()
        return middle

    def points(self, confidence: float = 0.95) -> tuple[Estimate[float], ...]:
        """Return the curve, L shares with intervals over rows."""
        return tuple(share_interval(row, confidence) for row in self.flipped)


def distance_curve(
    attack: Attack,
    victim: Victim,
    obs: Given,
    budget: Budget | float,
    epsilons: Sequence[float] | float,
    halvings: int = 10,
    u: Given | None = None,
) -> DistanceCurve:
    """Find the adversarial distance of every state: the smallest successful epsilon, and bisection below it.

    Every share of the curve is therefore at least that of the attack at this epsilon alone. Success need not be
    monotone in epsilon: an attack that spends its whole budget may step over the region where the action changes.

    Args:
        attack: see ``adversarial_distance``.
        victim: the policy under attack.
        obs: true observations ``[S, B, *observation]``, for example of ``visited``.
        budget: norm, scale, mask and bounds; its epsilon is not used.
        epsilons: L numbers, in units of the budget's scale.
        halvings: see ``adversarial_distance``.
        u: see ``adversarial_distance``.

    Raises:
        ValueError: ``sweep`` or ``adversarial_distance`` refuses an argument.
    """
    epsilons, unit = as_numbers(epsilons, "epsilons"), replace(as_budget(budget), epsilon=0.0)
    victim, obs, budget, u, _ = posed(victim, obs, unit, u)
    tried = sweep(attack, victim, obs, budget, epsilons, u)  # [L, S, B]
    found = torch.where(tried.success, tried.distance, torch.inf).amin(dim=0)
    below = replace(budget, epsilon=found.clamp(max=float(max(epsilons))))
    nearest = adversarial_distance(attack, victim, obs, below, halvings, u)
    queries = len(epsilons) * tried.queries + nearest.queries
    distance = torch.minimum(found, nearest.distance)
    return DistanceCurve(attack.name, tuple(float(each) for each in epsilons), distance, queries)
