"""Adversarial distance: the distance to the nearest observation that changes the action.

Both methods here give upper bounds of the true distance: the observations that they find do change the action, but a
nearer one may exist.
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
    """Step to the nearest boundary of the linearized victim, then bisect back towards the true observation.

    Each step leads to the point where, to first order, the nearest other action (or the target) ties with the greedy
    one. Its length is ``(score_a - score_b) / |scale (grad score_b - grad score_a)|_q`` along the steepest direction,
    with q dual to the budget's norm, plus an overshoot. For a linear victim the first step is exact. The budget's
    epsilon does not enter: a point outside the budget is projected back, and is then no success.

    Args:
        steps: maximum number of steps.
        overshoot: share of the length by which a step goes beyond the boundary.
        halvings: bisections between the true observation and the point found.

    Raises:
        ValueError: steps is below 1, halvings is negative, or overshoot is not positive.

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
        """Return 0: the attack is deterministic."""
        return 0

    def propose(
        self, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None = None, target: Tensor | None = None
    ) -> Tensor:
        """Return the nearest successful point, or the last one tried; arguments as in ``Attack.propose``."""
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
        """Return the step to just beyond the nearest boundary of the linearized victim, ``[S, B, *observation]``."""
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
    """Return the best of the other actions, ``[..., A], [...] -> [...]``."""
    return scores.masked_fill(one_hot(action, scores.shape[-1]).bool(), -torch.inf).argmax(dim=-1)


def bisect_to_boundary(
    victim: Policy, obs: Tensor, found: Tensor, own: Tensor, target: Tensor | None, halvings: int
) -> Tensor:
    """Bisect between the true observation and ``found`` for a nearer point that still succeeds, from actions alone.

    Where ``found`` is no success, it is returned as it is.

    Args:
        victim: queried once per halving, and once at ``found``.
        obs: true observations ``[S, B, *observation]``.
        found: observations of the same shape, at which an attack may have succeeded.
        own: the victim's actions at the true observation, ``[S, B]``.
        target: actions that count as success; None for any other than ``own``.
        halvings: number of bisections.

    Returns:
        Observations ``[S, B, *observation]``.
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
    """The nearest successful observations that were found."""

    obs: Tensor  # [S, B, *observation]; the truth where none was found
    distance: Tensor  # [S, B], epsilon needed to show them; infinite where none was found
    queries: int  # queries of the victim per example


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
    """Find the smallest epsilon at which an attack succeeds, by bisection for every example.

    The result is an upper bound of the true adversarial distance. DeepFool finds its point at once and needs no
    halvings; an attack that spends its whole budget, such as FGSM, gets nearer with each halving. Success need not be
    monotone in epsilon, but every observation returned did succeed.

    Args:
        attack: the attack to run at every epsilon.
        victim: the policy under attack.
        obs: true observations ``[S, B, *observation]``.
        budget: its epsilon is the largest one tried.
        halvings: bisections of the interval from 0 to the smallest success so far.
        u: see ``perturb``; the same numbers for every epsilon.
        target: see ``perturb``.

    Raises:
        ValueError: halvings is negative, or ``perturb`` refuses an argument.
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
    """Return minus the distance of every success, ``[S, B]``, and -inf elsewhere."""
    return torch.where(result.success, -result.distance, -math.inf)
