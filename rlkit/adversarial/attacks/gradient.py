"""Attacks that follow the victim's gradient with respect to its observation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..budget import Budget, tiled
from ..objectives import Objective, ObjectiveName, PosedObjective, find_objective, named, pose
from ..victims.base import Access, Victim, linearise, scores_of, value_and_gradient
from .best import Best


@dataclass(frozen=True)
class FGSM:
    """The fast gradient sign method: one step of the whole budget along the steepest direction.

    ``x + epsilon scale sign(grad J)`` for the norm "inf", ``x + epsilon scale (scale grad J) / |scale grad J|_2`` for
    "2", the feature of the largest ``|scale grad J|`` for "1", where J is the objective. It maximises J where J is
    linear. With the objective "kl", whose gradient at the truth is zero, it does nothing.

    Raises:
        ValueError: an unknown objective.

    Source: Goodfellow, Shlens & Szegedy 2015, "Explaining and harnessing adversarial examples", section 4; on
    policies: Huang et al. 2017, "Adversarial attacks on neural network policies".
    """

    objective: ObjectiveName | Objective = "margin"
    access: ClassVar[Access] = "gradients"

    def __post_init__(self) -> None:
        find_objective(self.objective)

    @property
    def name(self) -> str:
        """``FGSM``, with the objective if it is not the default."""
        return named("FGSM", self.objective)

    def noise_width(self, num_features: int) -> int:
        """None needed."""
        return 0

    def propose(
        self, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None = None, target: Tensor | None = None
    ) -> Tensor:
        """``obs`` plus the steepest offset."""
        _, _, gradient = at_truth(find_objective(self.objective), victim, obs, target)
        return obs + budget.steepest(obs, budget.movable(obs, gradient))


@dataclass(frozen=True)
class PGD:
    """Projected gradient ascent with restarts, also called iterative FGSM; keeps the best point that it met.

    Each step goes ``step epsilon / steps`` along the steepest direction of the norm and is projected back. The first
    restart begins at the truth with one step of the whole budget, which is FGSM's; the others begin at random points of
    the ball (all of them for an objective that is flat at the truth). The best is chosen for every example from the
    truth and everything visited, so the objective is never less than FGSM's with the same objective. Costs
    ``1 + restarts steps`` queries.

    Raises:
        ValueError: steps or restarts below one, a step that is not positive, an unknown objective.

    Source: Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks", section 2.1; Kurakin,
    Goodfellow & Bengio 2017, "Adversarial examples in the physical world", section 2.2.
    """

    steps: int = 20
    restarts: int = 1
    objective: ObjectiveName | Objective = "margin"
    step: float = 2.5  # a step's length in epsilon / steps
    access: ClassVar[Access] = "gradients"

    def __post_init__(self) -> None:
        find_objective(self.objective)
        if self.steps < 1 or self.restarts < 1:
            raise ValueError(f"steps and restarts must be at least 1, got {self.steps} and {self.restarts}")
        if not self.step > 0:
            raise ValueError(f"step must be positive, got {self.step}")

    @property
    def name(self) -> str:
        """For example ``PGD-20x5``, with the objective if it is not the default."""
        return named(f"PGD-{self.steps}" + (f"x{self.restarts}" if self.restarts > 1 else ""), self.objective)

    @property
    def _random_starts(self) -> int:
        return self.restarts if find_objective(self.objective).flat_at_truth else self.restarts - 1

    def noise_width(self, num_features: int) -> int:
        """D + 1 for every random start."""
        return self._random_starts * (num_features + 1)

    def propose(
        self, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None, target: Tensor | None = None
    ) -> Tensor:
        """The best point met."""
        goal, value, gradient = at_truth(find_objective(self.objective), victim, obs, target)
        starts = (
            [] if self._random_starts == self.restarts else [obs + budget.steepest(obs, budget.movable(obs, gradient))]
        )
        if u is not None:
            starts += [obs + budget.sample(obs, numbers) for numbers in u.chunk(self._random_starts, dim=-1)]
        truth, budget, goal = tiled(obs, self.restarts), budget.tiled(self.restarts), goal.tiled(self.restarts)
        x = budget.project(truth, torch.cat(starts, dim=1))  # [S, restarts B, ...]
        best = Best(truth, tiled(value, self.restarts))
        for _ in range(self.steps - 1):
            value, gradient = value_and_gradient(victim, goal, x)
            best = best.or_else(x, value)
            uphill = budget.steepest(truth, budget.movable(x, gradient))
            x = budget.project(truth, x + self.step / self.steps * uphill)
        best = best.or_else(x, goal.value(scores_of(victim, x)))
        return best.of_each(self.restarts).obs


def at_truth(
    objective: Objective, victim: Victim, obs: Tensor, target: Tensor | None
) -> tuple[PosedObjective, Tensor, Tensor]:
    """The goal posed for true observations, its value ``[S, B]`` and its gradient ``[S, B, *observation]`` there.

    One query for all three.
    """
    scores, pullback = linearise(victim, obs)
    goal = pose(objective, victim, obs, scores, target)
    value, grad = goal.value_and_grad(scores)
    return goal, value, pullback(grad)
