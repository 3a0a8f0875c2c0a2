"""How far the nearest observation is at which the victim does something else.

Both answers are upper bounds on the true distance: what is found is there, but something nearer may not be found.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from rlkit.arrays import Given
from rlkit.types import Policy

from ..budget import Budget, per_feature
from ..victims.base import Access, Victim, linearize
from .base import Attack, AttackResult, achieved, execute, posed
from .best import Best


@dataclass(frozen=True)
class DeepFool:
    """Steps to the nearest boundary of the linearized victim, then bisection back along the way.

    Each step goes to where, to first order, the easiest other action (or the target) draws level with the greedy one:
    ``(score_a - score_b) / |scale (grad score_b - grad score_a)|_q`` along the steepest direction, with q dual to the
    budget's norm, and an ``overshoot`` beyond. For a linear victim the first step is exact. The budget's epsilon is
    not looked at: a point farther away than it is projected back, and then is no success.

    Raises:
        ValueError: steps below one, halvings below zero, or an overshoot that is not positive.

    Source: Moosavi-Dezfooli, Fawzi & Frossard 2016, "DeepFool: a simple and accurate method to fool deep neural
    networks", algorithm 2 and section 3.3 for other norms.
    """

    steps: int = 20
    overshoot: float = 0.02
    halvings: int = 12
    access: ClassVar[Access] = "gradients"

    def __post_init__(self) -> None:
        if self.steps < 1 or self.halvings < 0:
            raise ValueError(
                f"steps must be at least 1 and halvings not negative, got {self.steps} and {self.halvings}"
            )
        if not self.overshoot > 0:
            raise ValueError(f"overshoot must be positive, got {self.overshoot}")

    @property
    def name(self) -> str:
        """``DeepFool``."""
        return "DeepFool"

    def noise_width(self, num_features: int) -> int:
        """None needed."""
        return 0

    def propose(
        self, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None = None, target: Tensor | None = None
    ) -> Tensor:
        """The nearest point found at which the action is another one; where none was, the last point tried."""
        unit = replace(budget, epsilon=1.0)
        scores, pullback = linearize(victim, obs)
        x, own = obs, scores.argmax(dim=-1)
        for _ in range(self.steps):
            arrived = achieved(scores.argmax(dim=-1), own, target)  # [S, B]
            if arrived.all():
                break
            step = self._step(unit, x, scores, pullback, own, target)
            x = torch.where(per_feature(arrived, x), x, unit.cut(x + step))
            scores, pullback = linearize(victim, x)
        return bisect_to_boundary(victim, obs, x, own, target, self.halvings)

    def _step(
        self,
        unit: Budget,
        x: Tensor,
        scores: Tensor,
        pullback: Callable[[Tensor], Tensor],
        own: Tensor,
        target: Tensor | None,
    ) -> Tensor:
        """To the nearest boundary of the linearized victim and a little beyond, ``[S, B, *observation]``."""
        num_actions = scores.shape[-1]
        if target is None:
            leader, others = own, [torch.full_like(own, b) for b in range(num_actions)]
        else:
            leader, others = second_to(scores, target), [target]
        nearest = Best(torch.zeros_like(x), torch.full(own.shape, -math.inf, device=x.device, dtype=x.dtype))
        for other in others:
            grad = one_hot(other, num_actions) - one_hot(leader, num_actions)
            gradient = unit.movable(x, pullback(grad.to(scores.dtype)))
            gap = -(grad * scores).sum(dim=-1)  # [S, B]
            beyond = gap * (1.0 + self.overshoot) + scores.abs().amax(dim=-1) * torch.finfo(scores.dtype).eps
            gain = unit.dual_norm(gradient)
            length = torch.where(gain > 0, beyond / gain, math.inf)
            step = per_feature(torch.where(gain > 0, length, 0.0), x) * unit.steepest(x, gradient)
            nearest = nearest.or_else(step, torch.where(other == leader, -math.inf, -length))
        return nearest.obs


def second_to(scores: Tensor, action: Tensor) -> Tensor:
    """The best of the other actions, ``[..., A], [...] -> [...]``."""
    return scores.masked_fill(one_hot(action, scores.shape[-1]).bool(), -torch.inf).argmax(dim=-1)


def bisect_to_boundary(
    victim: Policy, obs: Tensor, found: Tensor, own: Tensor, target: Tensor | None, halvings: int
) -> Tensor:
    """Points between the truth and what was found, at which the victim still does what it does there.

    Bisection of the way by labels alone: each of the ``halvings`` halves what may be too much. Where ``found`` is no
    success it is returned as it is.

    Args:
        victim: asked once per halving, and once at ``found``.
        obs: true observations ``[S, B, *observation]``.
        found: others.
        own: the victim's actions at the truth ``[S, B]``.
        target: actions that count as success; None for any other than ``own``.
        halvings: of the way from truth to ``found``.
    """
    success = achieved(victim.act(found, True), own, target)  # [S, B]
    low, high = torch.zeros_like(own, dtype=obs.dtype), torch.ones_like(own, dtype=obs.dtype)
    for _ in range(halvings):
        middle = (low + high) / 2
        far_enough = achieved(victim.act(obs + per_feature(middle, obs) * (found - obs), True), own, target)
        low, high = torch.where(far_enough, low, middle), torch.where(far_enough, middle, high)
    nearer = obs + per_feature(high, obs) * (found - obs)
    return torch.where(per_feature(success & (high < 1), obs), nearer, found)


class Nearest(NamedTuple):
    """The nearest observations found that succeed."""

    obs: Tensor  # [S, B, *observation]; the truth where none was found
    distance: Tensor  # [S, B], the epsilon that it takes; infinite where none was found
    queries: int


@torch.no_grad()
def adversarial_distance(
    attack: Attack,
    victim: Victim,
    obs: Given,
    budget: Budget | float,
    halvings: int = 10,
    u: Given | None = None,
    target: Given | None = None,
) -> Nearest:
    """The smallest epsilon at which an attack succeeds, by bisection for every example on its own.

    An upper bound on the true adversarial distance. DeepFool finds its point at once and needs no halvings; an attack
    that spends its whole budget, such as FGSM, gets nearer with each. Success need not be monotone in epsilon: what is
    returned did succeed.

    Args:
        attack: any; it sees every epsilon as if it were the only one.
        victim: under attack.
        obs: true observations ``[S, B, *observation]``.
        budget: its epsilon is the largest that is tried.
        halvings: of the interval from 0 to the smallest success so far.
        u: see ``perturb``; the same numbers for every epsilon.
        target: see ``perturb``.

    Raises:
        ValueError: halvings below zero, and what ``perturb`` refuses.
    """
    if halvings < 0:
        raise ValueError(f"halvings must not be negative, got {halvings}")
    victim, obs, budget, u, target = posed(victim, obs, budget, u, target)
    result = execute(attack, victim, obs, budget, u, target)
    queries = result.queries
    nearest = Best(obs, torch.full_like(result.distance, -math.inf)).or_else(result.obs, _worth(result))
    low = torch.zeros_like(result.distance)
    for _ in range(halvings):
        largest = torch.as_tensor(budget.epsilon, dtype=obs.dtype, device=obs.device)
        high = torch.minimum(-nearest.value, largest)  # [S, B]
        middle = (low + high) / 2
        result = execute(attack, victim, obs, replace(budget, epsilon=middle), u, target)
        queries += result.queries
        low = torch.where(result.success, low, middle)
        nearest = nearest.or_else(result.obs, _worth(result))
    return Nearest(nearest.obs, -nearest.value, queries)


def _worth(result: AttackResult) -> Tensor:
    """Minus the distance of what succeeded, ``[S, B]``."""
    return torch.where(result.success, -result.distance, -math.inf)
