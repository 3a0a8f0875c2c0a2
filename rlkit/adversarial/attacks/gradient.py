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
    """Fast gradient sign method: one step of the whole budget along the steepest direction.

    The result is ``x + epsilon scale sign(grad J)`` for the norm "inf", ``x + epsilon scale (scale grad J) / |scale
    grad J|_2`` for "2", and for "1" a step on the feature of the largest ``|scale grad J|``. J is the objective. The
    step maximizes J if J is linear. With the objective "kl", whose gradient at the true observation is zero, it has no
    effect.

    Args:
        objective: what to increase.

    Raises:
        ValueError: the objective is unknown.

    Source: Goodfellow, Shlens & Szegedy 2015, "Explaining and harnessing adversarial examples", section 4; on
    policies: Huang et al. 2017, "Adversarial attacks on neural network policies".
    """

    objective: ObjectiveName | Objective = "margin"
    access: ClassVar[Access] = "gradients"

    def __post_init__(self) -> None:
        find_objective(self.objective)

    @property
    def name(self) -> str:
        """``FGSM``, followed by the objective if it is not the default."""
        return named("FGSM", self.objective)

    def noise_width(self, num_features: int) -> int:
        """Return 0: the attack is deterministic."""
        return 0

    def propose(
        self, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None = None, target: Tensor | None = None
    ) -> Tensor:
        """Return ``obs`` plus the steepest offset; arguments as in ``Attack.propose``."""
        _, _, gradient = at_truth(find_objective(self.objective), victim, obs, target)
        return obs + budget.steepest(obs, budget.movable(obs, gradient))


@dataclass(frozen=True)
class PGD:
    """Projected gradient ascent from several starts (iterative FGSM); it returns the best point visited.

    Each step moves ``step epsilon / steps`` along the steepest direction of the norm and projects back into the budget.
    For every example the point with the largest objective is returned, of all points visited and the truth.

    There are ``restarts`` starts, and A - 2 more with ``every_action``:

    - The first start is FGSM's step of the whole budget. The margin is the largest of A - 1 differences ``score_b -
      score_a``, with a the greedy action. FGSM follows the difference that is largest at the true observation, but
      another one may change sign nearer. With ``every_action``, each action b other than a has its own start, which
      takes the steepest step of its own difference and ascends that difference. For a linear victim the best of them is
      exact. This holds for the objective "margin" without a target; with two actions it makes no difference.
    - The other starts are random points of the ball and ascend the objective. All starts are random if the objective is
      flat at the true observation.

    The objective reached is at least FGSM's with the same objective, unless two actions tie for second place at the
    truth. The cost is ``1 + steps starts`` queries.

    Args:
        steps: steps of ascent from every start.
        restarts: number of starts, where those of ``every_action`` count as one.
        objective: what to increase.
        step: length of a step, in epsilon / steps.
        every_action: whether every other action has its own start; False aims at the runner-up alone.

    Raises:
        ValueError: steps or restarts is below 1, step is not positive, or the objective is unknown.

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
        """For example ``PGD-20x5``, with the objective if it is not the default, and ``runner-up`` if it aims there."""
        name = f"PGD-{self.steps}" + (f"x{self.restarts}" if self.restarts > 1 else "")
        aims_at_one = not self.every_action and find_objective(self.objective) is MARGIN
        return named(f"{name} runner-up" if aims_at_one else name, self.objective)

    @property
    def _random_starts(self) -> int:
        return self.restarts if find_objective(self.objective).flat_at_truth else self.restarts - 1

    def noise_width(self, num_features: int) -> int:
        """Return D + 1 for every random start."""
        return self._random_starts * (num_features + 1)

    def propose(
        self, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None, target: Tensor | None = None
    ) -> Tensor:
        """Return the best point visited; arguments as in ``Attack.propose``."""
        objective = find_objective(self.objective)
        scores, pullback = linearize(victim, obs)
        goal = pose(objective, victim, obs, scores, target)
        firsts = [] if objective.flat_at_truth else [goal]
        if self.every_action and objective is MARGIN and target is None:
            firsts = leads_of_others(scores)
        gradients = [pullback(first.value_and_grad(scores)[1]) for first in firsts]
        starts = [obs + budget.steepest(obs, budget.movable(obs, gradient)) for gradient in gradients]
        if u is not None and self._random_starts:
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
    """Return the objectives ``score_b - score_a``, for the greedy action a and each of the A - 1 other actions b.

    Args:
        scores: at the true observation, ``[S, B, A]``.
    """
    own, num_actions = scores.argmax(dim=-1), scores.shape[-1]
    return [PosedObjective(lead, ((own + k) % num_actions, own), 1.0) for k in range(1, num_actions)]


def at_truth(
    objective: Objective, victim: Victim, obs: Tensor, target: Tensor | None
) -> tuple[PosedObjective, Tensor, Tensor]:
    """Return the goal at true observations, its value ``[S, B]`` and its gradient ``[S, B, *observation]``.

    It takes one query.
    """
    scores, pullback = linearize(victim, obs)
    goal = pose(objective, victim, obs, scores, target)
    value, grad = goal.value_and_grad(scores)
    return goal, value, pullback(grad)
