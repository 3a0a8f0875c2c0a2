"""Universal perturbations: one offset for all observations of a row, computed once."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from rlkit.arrays import Given
from rlkit.types import Policy

from ..budget import Budget
from ..objectives import MARGIN, pose
from ..victims.base import Access, Victim, linearize
from .base import posed
from .best import Best


@dataclass(frozen=True, eq=False)
class Universal:
    """The same offset at every observation, without a query of the victim.

    Args:
        offset: one offset per row, ``[S, *observation]``, for example of ``universal_offset``.
        label: name in reports.
    """

    offset: Tensor
    label: str = "universal"
    access: ClassVar[Access] = "nothing"

    @property
    def name(self) -> str:
        """The label."""
        return self.label

    def noise_width(self, num_features: int) -> int:
        """Return 0: the attack is deterministic."""
        return 0

    def propose(
        self, victim: Policy, obs: Tensor, budget: Budget, u: Tensor | None = None, target: Tensor | None = None
    ) -> Tensor:
        """Return ``obs`` plus the offset, for any target; arguments as in ``Attack.propose``."""
        return obs + self.offset[:, None]


@torch.no_grad()
def universal_offset(
    victim: Victim,
    obs: Given,
    budget: Budget | float,
    steps: int = 100,
    step: float = 0.1,
    target: Given | None = None,
) -> Tensor:
    """Find one offset per row that flips many observations, ``[S, *observation]``.

    The method is projected gradient ascent on a smooth count of flips, the mean over observations of
    ``sigmoid(margin / reach)``. The reach is the median, over observations, of what the budget can add to the margin to
    first order. Observations that are already flipped, or that are out of reach, have little weight. Because
    observations with different actions need different directions, the ascent starts from the zero offset and from the
    steepest offset towards each action. Of all offsets visited, the one with the most flips is returned; among equals,
    the one with the largest mean.

    Args:
        victim: queried at all observations 1 + (1 + A) (1 + steps) times.
        obs: natural observations ``[S, N, *observation]``.
        budget: has one epsilon; its bounds clip the observations, not the offset.
        steps: steps of ascent from every start.
        step: length of the first step in epsilon; it decreases linearly to 0.
        target: target actions ``[S, N]``; None for any action other than the victim's own.

    Raises:
        ValueError: the budget has several epsilons, steps is below 1, step is not positive, or
            ``rlkit.adversarial.perturb`` refuses an argument.

    Source: Moosavi-Dezfooli et al. 2017, "Universal adversarial perturbations", for the aim; Shafahi et al. 2020,
    "Universal adversarial training", section 3, for ascent on a loss that ignores actions that have changed.
    """
    victim, obs, budget, _, target = posed(victim, obs, budget, None, target)
    if torch.as_tensor(budget.epsilon).numel() != 1:
        raise ValueError("a universal offset has one epsilon: pass a budget with a number")
    if steps < 1 or not step > 0:
        raise ValueError(f"steps must be at least 1 and step positive, got {steps} and {step}")
    scores, pullback = linearize(victim, obs)
    goal = pose(MARGIN, victim, obs, scores, target)
    free = replace(budget, low=-math.inf, high=math.inf)
    origin = torch.zeros_like(obs[:, :1])  # [S, 1, ...]
    _, grad = goal.value_and_grad(scores)
    reach = (budget.dual_norm(pullback(grad)) * budget.per_example(obs).flatten(1)).median(dim=1, keepdim=True).values
    reach = torch.where(reach > 0, reach, 1.0)  # [S, 1]
    uphill = [pullback(preferred(b, scores)).mean(dim=1, keepdim=True) for b in range(scores.shape[-1])]
    best = Best(origin, torch.full(origin.shape[:2], -math.inf, dtype=obs.dtype, device=obs.device))
    for start in (origin, *(free.steepest(origin, gradient) for gradient in uphill)):
        offset = start
        for i in range(steps + 1):
            scores, pullback = linearize(victim, budget.cut(obs + offset))
            lead, grad = goal.value_and_grad(scores)  # [S, N]
            soft = torch.sigmoid(lead / reach)
            best = best.or_else(offset, (lead > 0).sum(dim=1, keepdim=True) + soft.mean(dim=1, keepdim=True))
            gradient = pullback(grad * (soft * (1.0 - soft))[..., None]).mean(dim=1, keepdim=True)
            length = step * (1.0 - i / steps)
            offset = free.project(origin, offset + length * free.steepest(origin, gradient))
    return best.obs[:, 0]


def preferred(action: int, scores: Tensor) -> Tensor:
    """Return the derivative, by scores ``[S, N, A]``, of one action's score minus the mean of all."""
    grad = torch.full_like(scores, -1.0 / scores.shape[-1])
    grad[..., action] += 1.0
    return grad
