"""Lipschitz bounds over a ball, and the radius that they certify."""

from __future__ import annotations

import torch
from torch import Tensor

from rlkit.arrays import Given

from ..budget import DUAL, Budget
from ..victims.base import Victim
from .bounds import TileLayers, scores_at
from .problem import VerificationProblem, pose_problem
from .region import length_of, normalized, rounding_of_shown
from .relaxation import flattest_on, image, steepest_on

GRADIENT_MARGIN = 2.0**-40  # relative; more than float64 rounding of a product of layers


@torch.no_grad()
def local_lipschitz_bound(victim: Victim, obs: Given, budget: Budget | float) -> Tensor:
    """Bound the Lipschitz constant of every score difference over the ball around every observation.

    The derivative of every activation is enclosed over the region, and the products of the layers are carried backward
    in interval arithmetic. The result is the dual norm of the largest magnitudes.

    Args:
        victim: as in ``reachable_actions``, without trees.
        obs: true observations ``[S, B, *observation]``, floating.
        budget: norm, scale, mask, bounds and epsilon of the ball.

    Returns:
        ``[S, B, A, A]`` float64: entry (b, a) bounds the change of ``score_b - score_a`` per epsilon.

    Raises:
        ValueError: as in ``reachable_actions``.
    """
    problem = pose_problem(victim, obs, budget)
    return _bound_of(problem)


@torch.no_grad()
def local_margin_radius(victim: Victim, obs: Given, budget: Budget | float) -> Tensor:
    """Return an epsilon ``[S, B]`` float64 within which the greedy action cannot change: a certificate.

    It is ``min over b of (f_a - f_b) / L_ab`` for the greedy a, with L_ab a bound of the Lipschitz constant of ``f_a -
    f_b`` over the ball, and at most the budget's epsilon, beyond which L_ab says nothing. The scores are lowered by the
    rounding error of the victim. ``margin_radius`` with constants from ``steepness`` is an estimate instead.

    Args:
        victim: as in ``reachable_actions``, without trees.
        obs: true observations ``[S, B, *observation]``, floating.
        budget: norm, scale, mask, bounds and epsilon of the ball over which the bound holds.

    Raises:
        ValueError: as in ``reachable_actions``.

    Source: Hein & Andriushchenko 2017, "Formal guarantees on the robustness of a classifier against adversarial
    manipulation", theorem 2.1.
    """
    problem = pose_problem(victim, obs, budget)
    stack, (rows, count) = problem.stack, problem.obs.shape[:2]
    speed = _bound_of(problem)  # [S, B, A, A]
    own = problem.victim.act(problem.obs, True)
    scores = scores_at(TileLayers.of(stack), normalized(stack, problem.obs)).mT  # [S, B, A]
    slack = problem.slack.permute(2, 0, 1).reshape(rows, count, *problem.slack.shape[:2])
    lead = scores.gather(-1, own[..., None]) - scores  # of the own action over b
    pick = own[..., None, None].expand(*own.shape, 1, scores.shape[-1])
    lead = lead - slack.gather(2, pick)[:, :, 0]
    speed = speed.gather(2, pick)[:, :, 0]
    radius = torch.where(lead > 0, lead / speed.clamp_min(1e-300), 0.0) * (1.0 - GRADIENT_MARGIN)
    radius = radius.masked_fill(torch.nn.functional.one_hot(own, scores.shape[-1]).bool(), torch.inf).amin(dim=-1)
    # an observation shown in floating point may lie a little farther away
    extent = problem.budget.extent(problem.obs.double()).flatten()
    radius = radius - length_of(rounding_of_shown(problem.obs, problem.budget), extent, problem.budget.norm)
    return torch.minimum(radius.clamp_min(0.0), problem.budget.per_example(problem.obs.double()).reshape(rows, count))


def _bound_of(problem: VerificationProblem) -> Tensor:
    stack, (rows, count) = problem.stack, problem.obs.shape[:2]
    low, high = (
        end.reshape(len(end), rows, count).movedim(1, 0) for end in (problem.region.low, problem.region.high)
    )  # [S, D, B]
    slopes = []
    for weight, bias, activation in zip(stack.weights[:-1], stack.biases[:-1], stack.activations, strict=True):
        middle, reach = torch.baddbmm(bias, weight, (low + high) / 2), torch.bmm(weight.abs(), (high - low) / 2)
        reach = reach + GRADIENT_MARGIN * (middle.abs() + reach + bias.abs())
        low, high = middle - reach, middle + reach
        slopes.append((flattest_on(activation, low, high), steepest_on(activation, low, high)))
        low, high = image(activation, low, high)
    last = stack.weights[-1]
    actions = last.shape[1]
    rows_of = (last[:, :, None] - last[:, None]).flatten(1, 2)  # [S, A A, H]
    center = rows_of[..., None].expand(-1, -1, -1, count).movedim(1, 2).flatten(2)  # [S, H, A A B]
    radius = torch.zeros_like(center)
    for weight, (flat, steep) in zip(reversed(stack.weights[:-1]), reversed(slopes), strict=True):
        flat, steep = flat.repeat(1, 1, actions**2), steep.repeat(1, 1, actions**2)
        ends = torch.stack([end * slope for end in (center - radius, center + radius) for slope in (flat, steep)])
        below, above = ends.amin(dim=0), ends.amax(dim=0)
        center, radius = torch.bmm(weight.mT, (below + above) / 2), torch.bmm(weight.abs().mT, (above - below) / 2)
        radius = radius + GRADIENT_MARGIN * torch.bmm(weight.abs().mT, torch.maximum(below.abs(), above.abs()))
    largest = (center.abs() + radius).view(rows, -1, actions**2, count) * stack.gain[:, :, None]
    extent = problem.budget.extent(problem.obs.double()).flatten()[None, :, None, None]
    bound: Tensor = torch.linalg.vector_norm(largest * extent, ord=DUAL[problem.budget.norm], dim=1)  # [S, A A, B]
    return (bound * (1.0 + GRADIENT_MARGIN)).mT.reshape(rows, count, actions, actions)
