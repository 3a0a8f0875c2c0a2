"""How far observations within a budget can move the action probabilities of a sampled policy."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rlkit.arrays import Given

from ..attacks.base import posed
from ..budget import Budget
from ..victims.base import Victim, name_of, scores_of
from .bounds import TileLayers, bound_below, relax, scores_at
from .problem import VerificationProblem, answers, other_actions, pose_problems, shown_at
from .reachable import MAX_BOXES
from .region import least, pulled_in
from .splitting import Boxes, Tiles, balls_of, batches, best_of_each, halved, tiled, tiled_boxes, untiled, widest

TOLERANCE = 1e-3
EXP_MARGIN = 1e-13  # more than the rounding of exp and log in float64 can change a probability


class ProbabilityBounds(NamedTuple):
    """Extremes of pi(a | x') over x' within the budget, ``low <= minimum <= low_achieved`` and likewise for high."""

    low: Tensor  # [S, B, A] float64, no observation gives the action a smaller probability
    low_achieved: Tensor  # [S, B, A] float64, the probability at ``low_witness``
    high_achieved: Tensor  # [S, B, A] float64, the probability at ``high_witness``
    high: Tensor  # [S, B, A] float64, no observation gives the action a larger probability
    low_witness: Tensor  # [S, B, A, *observation]
    high_witness: Tensor  # [S, B, A, *observation]
    boxes: Tensor  # [S, B] int64, boxes that were bounded


class _Extremes(NamedTuple):
    """The extremes to search for: item i is of observation ``observation[i]``; ascending in rows."""

    observation: Tensor  # [I]
    action: Tensor  # [I]
    sign: Tensor  # [I], 1 to minimize log pi(a), -1 to maximize it


class _Bounded(NamedTuple):
    """Of ``sign log pi(a)`` on N boxes."""

    low: Tensor  # [N], a lower bound but for rounding
    slack: Tensor  # [N], what rounding may take from it
    found: Tensor  # [N], the smallest value seen in the box
    point: Tensor  # [D, N], where
    spread: Tensor  # [D, N], change of the bounds over every side


@torch.no_grad()
def probability_bounds(
    victim: Victim,
    obs: Given,
    budget: Budget | float,
    tolerance: float = TOLERANCE,
    *,
    max_boxes: int = MAX_BOXES,
) -> ProbabilityBounds:
    """Bound the smallest and the largest probability of every action over the observations within a budget.

    The policy is the softmax of the victim's scores. Every bound comes with the probability that an observation of the
    budget achieves, so that ``low_achieved - low`` and ``high - high_achieved`` are what is not known. They are at most
    the tolerance and rounding, unless ``max_boxes`` ends the search earlier.

    log pi(a) = z_a - log sum exp(z) is bounded on a box by bounds of the differences z_b - z_a, which is exact in two
    actions, where the extremes are those of one difference. With more actions it is also bounded by the tangent of log
    sum exp at the box's center, from below less an eighth of the squared range of the differences.

    Args:
        victim: as in ``reachable_actions``, with logits as scores; trees have none.
        obs: true observations ``[S, B, *observation]``, floating.
        budget: any norm, scale, mask and bounds; a number is epsilon of the norm "inf" in raw units.
        tolerance: largest gap between a bound and what is achieved, positive.
        max_boxes: largest number of boxes per extreme, at least 1.

    Raises:
        ValueError: the victim's scores are action values, tolerance or max_boxes is out of range, or as of
            ``reachable_actions``.
    """
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance must be between 0 and 1, got {tolerance}")
    if max_boxes < 1:
        raise ValueError(f"max_boxes must be at least 1, got {max_boxes}")
    asked, true, limit, _, _ = posed(victim, obs, budget)
    if getattr(asked, "scores_are_values", False):
        raise ValueError(
            f"the scores of {name_of(asked)} are action values, which define no sampled policy: use reachable_actions"
        )
    parts = [_bounds(problem, tolerance, max_boxes) for problem in pose_problems(asked, true, limit)]
    return ProbabilityBounds(*(torch.cat(part, dim=1) for part in zip(*parts, strict=True)))


def _bounds(problem: VerificationProblem, tolerance: float, max_boxes: int) -> ProbabilityBounds:
    if problem.stack.num_actions == 1:
        sure = torch.ones(*problem.obs.shape[:2], 1, dtype=torch.float64, device=problem.obs.device)
        shown = problem.obs[:, :, None]
        return ProbabilityBounds(sure, sure, sure, sure, shown, shown, torch.zeros_like(sure[..., 0]).long())
    items = _extremes(problem)
    bound, point, boxes = _search(problem, items, tolerance, max_boxes)
    shown = shown_at(problem, point, items.observation)
    scores = answers(problem, lambda x: scores_of(problem.victim, x), shown, items.observation).double()
    achieved = torch.softmax(scores, dim=-1).gather(1, items.action[:, None])[:, 0]
    certified = (items.sign * bound).exp() - items.sign * EXP_MARGIN
    certified = items.sign * torch.minimum(items.sign * certified, items.sign * achieved)
    return _assembled(problem, certified.clamp(0.0, 1.0), achieved, shown, boxes)


def _assembled(
    problem: VerificationProblem, certified: Tensor, achieved: Tensor, shown: Tensor, boxes: Tensor
) -> ProbabilityBounds:
    """Sort what was found of every item by observations and actions."""
    shape = problem.obs.shape[:2]
    certified, achieved, boxes = (x.view(*shape, -1, 2) for x in (certified, achieved, boxes))  # [S, B, A or 1, 2]
    shown = shown.view(*shape, -1, 2, *problem.obs.shape[2:])
    if problem.stack.num_actions == 2:  # pi(0) = 1 - pi(1)
        certified, achieved = (torch.cat([1.0 - x.flip(-1), x], dim=2) for x in (certified, achieved))
        shown = torch.cat([shown.flip(3), shown], dim=2)
    return ProbabilityBounds(
        certified[..., 0],
        achieved[..., 0],
        achieved[..., 1],
        certified[..., 1],
        shown[:, :, :, 0],
        shown[:, :, :, 1],
        boxes.sum(dim=(2, 3)),
    )


def _extremes(problem: VerificationProblem) -> _Extremes:
    """Minimum and maximum of every action's probability; of two actions those of the second."""
    total, actions, device = problem.slack.shape[-1], problem.stack.num_actions, problem.obs.device
    which = torch.arange(1 if actions == 2 else 0, actions, device=device)
    sign = torch.tensor([1.0, -1.0], dtype=torch.float64, device=device)
    return _Extremes(
        torch.arange(total, device=device).repeat_interleave(2 * len(which)),
        which.repeat_interleave(2).repeat(total),
        sign.repeat(len(which) * total),
    )


def _search(
    problem: VerificationProblem, items: _Extremes, tolerance: float, max_boxes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Minimize ``sign log pi(a)`` of every item: a lower bound ``[I]``, the best point ``[D, I]``, boxes used ``[I]``.

    A box is given up for its bound as soon as it cannot improve the best value by more than the tolerance.
    """
    count = len(items.observation)
    certified = items.sign.new_full((count,), torch.inf)
    best, used = torch.full_like(certified, torch.inf), torch.zeros_like(items.observation)
    point = problem.region.low[:, items.observation].clone()
    region = problem.region
    low, high = (end[:, items.observation] for end in (region.low, region.high))
    boxes = Boxes(low, high, torch.arange(count, device=used.device))
    while len(boxes.owner):
        used += torch.bincount(boxes.owner, minlength=count)
        bounded = _bound(problem, items, boxes)
        _improve(best, point, boxes.owner, bounded)
        its = best[boxes.owner]
        sign = items.sign[boxes.owner]
        gap = sign * ((sign * its).exp() - (sign * bounded.low).exp())
        along, divisible = widest(boxes, bounded.spread)
        full = (used + 2 * torch.bincount(boxes.owner, minlength=count) > max_boxes)[boxes.owner]
        closed = (gap <= tolerance) | full | ~divisible
        certified.scatter_reduce_(0, boxes.owner[closed], (bounded.low - bounded.slack)[closed], "amin")
        boxes, _ = halved(boxes.pick(~closed), along[~closed], region.balls, items.observation)
    return certified, point, used


def _improve(best: Tensor, point: Tensor, owner: Tensor, bounded: _Bounded) -> None:
    """Replace the best values ``[I]`` and points ``[D, I]`` by better ones."""
    leader = best_of_each(owner, -bounded.found)
    leader = leader[bounded.found[leader] < best[owner[leader]]]
    best[owner[leader]] = bounded.found[leader]
    point[:, owner[leader]] = bounded.point[:, leader]


def _bound(problem: VerificationProblem, items: _Extremes, boxes: Boxes) -> _Bounded:
    found = [
        _bound_batch(problem, items, boxes, tiles)
        for tiles in batches(problem.stack, problem.row_of[items.observation[boxes.owner]])
    ]
    return _Bounded(*(torch.cat(part, dim=-1) for part in zip(*found, strict=True)))


def _bound_batch(problem: VerificationProblem, items: _Extremes, boxes: Boxes, tiles: Tiles) -> _Bounded:
    layers = TileLayers.of(problem.stack, tiles.row)
    low, high = tiled_boxes(boxes, tiles)  # [T, D, K]
    center = (low + high) / 2
    at_center = scores_at(layers, center)  # [T, A, K]
    item = boxes.owner[tiles.box]  # [T, K]
    rows = _combinations(at_center, items.action[item], items.sign[item])  # [T, A, R, K]
    bounds = bound_below(layers, relax(layers, center, (high - low) / 2), rows)
    item, low, high, rows, at_center = (untiled(x, tiles) for x in (item, low, high, rows, at_center))
    slopes, constant, interval, reach = (untiled(x, tiles) for x in bounds)
    observation, action, sign = items.observation[item], items.action[item], items.sign[item]
    balls = None if problem.region.balls is None else balls_of(problem.region.balls, observation)
    lowest, points = least(slopes, low, high, balls)
    value = torch.maximum(constant + lowest, interval)  # [R, n]
    slack = problem.slack[:, action, observation].amax(dim=0)  # [n], of the differences
    middle = (low + high) / 2 if balls is None else pulled_in((low + high) / 2, balls)
    seen = [
        _objective(untiled(scores_at(layers, tiled(x, tiles)), tiles), action, sign) for x in (middle, points[:, 0])
    ]
    best, point = torch.minimum(*seen), torch.where(seen[0] <= seen[1], middle, points[:, 0])
    if len(rows) == 2:
        bound = _of_differences(value, sign)
    else:
        combined = (rows * at_center[:, None]).sum(dim=0)
        objective = _objective(at_center, action, sign)
        bound = _of_tangent(value, interval + 2.0 * reach, combined, objective, sign, slack)
    return _Bounded(bound, 2.0 * slack, best, point, (slopes.abs() * (high - low)[:, None]).amax(dim=1))


def _combinations(scores: Tensor, action: Tensor, sign: Tensor) -> Tensor:
    """Weights ``[T, A, R, K]`` of what is bounded: sign (z_a - z_b) of all other b; with A > 2 first the tangent."""
    actions = scores.shape[1]
    every = torch.arange(actions, device=scores.device)[None, :, None, None]
    others = other_actions(action.flatten(), actions).view(-1, *action.shape).movedim(0, 1)  # [T, A - 1, K]
    own = (every == action[:, None, None]).to(scores)  # [T, A, 1, K]
    differences = own - (every == others[:, None]).to(scores)
    if actions > 2:
        tangent = own - torch.softmax(scores, dim=1)[:, :, None]
        differences = torch.cat([tangent, differences], dim=2)
    return differences * sign[:, None, None]


def _objective(scores: Tensor, action: Tensor, sign: Tensor) -> Tensor:
    """``sign log pi(a)`` of scores ``[A, n]``."""
    return sign * (scores.gather(0, action[None])[0] - scores.logsumexp(dim=0))


def _of_differences(value: Tensor, sign: Tensor) -> Tensor:
    """Bound ``sign log pi(a)`` by bounds ``[A - 1, n]`` of all sign (z_a - z_b)."""
    own = torch.zeros_like(value[:1])  # z_a - z_a
    return -sign * torch.cat([own, -sign * value]).logsumexp(dim=0)


def _of_tangent(
    value: Tensor, above: Tensor, at_center: Tensor, objective: Tensor, sign: Tensor, slack: Tensor
) -> Tensor:
    """Bound ``sign log pi(a)`` by the tangent of log sum exp at the center, or by the differences.

    log sum exp is convex, which bounds -log pi(a) from below. It exceeds its tangent by at most an eighth of the
    squared range of the differences (Hoeffding's lemma), which bounds log pi(a).

    Args:
        value: lower bounds of the tangent and of the differences, ``[A, n]``.
        above: upper bounds of them.
        at_center: their values at the center.
        objective: ``sign log pi(a)`` at the center, ``[n]``.
        sign: sign of the extremes, ``[n]``.
        slack: for rounding, ``[n]``.
    """
    up, down = (above - at_center)[1:].amax(dim=0).relu(), (at_center - value)[1:].amax(dim=0).relu()
    curvature = (up + down + 2.0 * slack).square() / 8.0
    tangent = objective + value[0] - at_center[0] - torch.where(sign > 0, curvature, 0.0)
    return torch.maximum(tangent, _of_differences(value[1:], sign))
