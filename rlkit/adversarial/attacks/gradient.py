"""Attacks that follow the victim's gradient with respect to its observation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..budget import Budget, tiled
from ..objectives import MARGIN, Objective, ObjectiveName, PosedObjective, find_objective, lead, named, pose
from ..victims.base import Access, Victim, linearize, scores_of
from .best import Best


@dataclass(frozen=True)
class FGSM:
    """The fast gradient sign method: one step of the whole budget along the steepest direction.

    ``x + epsilon scale sign(grad J)`` for the norm "inf", ``x + epsilon scale (scale grad J) / |scale grad J|_2`` for
    "2", the feature of the largest ``|scale grad J|`` for "1", where J is the objective. It maximizes J where J is
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
    """Projected gradient ascent from several starts, also called iterative FGSM; keeps the best point that it met.

    Each step goes ``step epsilon / steps`` along the steepest direction of the norm and is projected back. The best is
    chosen by the objective, for every example, from the truth and everything visited.

    The starts, ``restarts`` and with ``every_action`` A - 2 more:

    - The first begins with one step of the whole budget, FGSM's. The margin is the largest of A - 1 differences
      ``score_b - score_a``, a the greedy action, and FGSM follows the one that leads at the truth, though another may
      be the nearest to turn. So with ``every_action`` each action b other than a has a start of its own, which begins
      with the steepest step of its difference and climbs that: for a linear victim the best of them is exact. This is
      for the objective "margin" without a target. With two actions it makes no difference.
    - The others begin at random points of the ball and climb the objective. Of an objective that is flat at the truth
      all starts are random.

    The objective is never less than FGSM's with the same objective, unless two actions share the second place at the
    truth. Costs ``1 + steps starts`` queries.

    Args:
        steps: of ascent, from every start.
        restarts: starts, where those of ``every_action`` count as one.
        objective: what is increased.
        step: length of a step, in epsilon / steps.
        every_action: whether every other action has a start of its own; False aims at the runner-up alone.

    Raises:
        ValueError: steps or restarts below one, a step that is not positive, an unknown objective.

    Source: Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks", section 2.1; Kurakin,
    Goodfellow & Bengio 2017, "Adversarial examples in the physical world", section 2.2; a start per action is the
    targeted version of Croce & Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse
    parameter-free attacks", section 4.
    """

    steps: int = 20
    restarts: int = 1
    objective: ObjectiveName | Objective = "margin"
    step: float = 2.5
    every_action: bool = True
    access: ClassVar[Access] = "gradients"

    def __post_init__(self) -> None:
        find_objective(self.objective)
        if self.steps < 1 or self.restarts < 1:
            raise ValueError(f"steps and restarts must be at least 1, got {self.steps} and {self.restarts}")
        if not self.step > 0:
            raise ValueError(f"step must be positive, got {self.step}")

    @property
    def name(self) -> str:
        """For example ``PGD-20x5``, with the objective if it is not the default, ``runner-up`` if it aims at it."""
        name = f"PGD-{self.steps}" + (f"x{self.restarts}" if self.restarts > 1 else "")
        aims_at_one = not self.every_action and find_objective(self.objective) is MARGIN
        return named(f"{name} runner-up" if aims_at_one else name, self.objective)

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
        objective = find_objective(self.objective)
        scores, pullback = linearize(victim, obs)
        goal = pose(objective, victim, obs, scores, target)
        firsts = [] if objective.flat_at_truth else [goal]
        if self.every_action and objective is MARGIN and target is None:
            firsts = leads_of_others(scores)
        gradients = [pullback(first.value_and_grad(scores)[1]) for first in firsts]
        starts = [obs + budget.steepest(obs, budget.movable(obs, gradient)) for gradient in gradients]
        if u is not None:
            starts += [obs + budget.sample(obs, numbers) for numbers in u.chunk(self._random_starts, dim=-1)]
        climbed = [*firsts, *[goal] * self._random_starts]
        value, copies = goal.value(scores), len(starts)
        truth, budget, goal = tiled(obs, copies), budget.tiled(copies), goal.tiled(copies)
        x = budget.project(truth, torch.cat(starts, dim=1))  # [S, starts B, ...]
        best = Best(truth, tiled(value, copies))
        for _ in range(self.steps - 1):
            scores, pullback = linearize(victim, x)
            best = best.or_else(x, goal.value(scores))
            parts = zip(climbed, scores.chunk(copies, dim=1), strict=True)
            gradient = pullback(torch.cat([each.value_and_grad(part)[1] for each, part in parts], dim=1))
            uphill = budget.steepest(truth, budget.movable(x, gradient))
            x = budget.project(truth, x + self.step / self.steps * uphill)
        best = best.or_else(x, goal.value(scores_of(victim, x)))
        return best.of_each(copies).obs


def leads_of_others(scores: Tensor) -> list[PosedObjective]:
    """``score_b - score_a`` of the greedy action a at the truth and each of the A - 1 other actions b.

    Args:
        scores: at the truth, ``[S, B, A]``.
    """
    own, num_actions = scores.argmax(dim=-1), scores.shape[-1]
    return [PosedObjective(lead, ((own + k) % num_actions, own), 1.0) for k in range(1, num_actions)]


def at_truth(
    objective: Objective, victim: Victim, obs: Tensor, target: Tensor | None
) -> tuple[PosedObjective, Tensor, Tensor]:
    """The goal posed for true observations, its value ``[S, B]`` and its gradient ``[S, B, *observation]`` there.

    One query for all three.
    """
    scores, pullback = linearize(victim, obs)
    goal = pose(objective, victim, obs, scores, target)
    value, grad = goal.value_and_grad(scores)
    return goal, value, pullback(grad)
