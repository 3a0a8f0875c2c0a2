"""Decision trees: their leaves are boxes, so what is reachable is decided leaf by leaf.

A leaf holds the observations with ``low <= x <= high`` in float32, in which the trees compare: x is at most a threshold
t if it is at most the largest float32 below or at t, and above t from the next float32 on. So half-open leaves are
closed ones, without any tolerance.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..budget import ORDER, Budget, per_feature
from ..victims.decision_trees import DecisionTrees
from .problem import budget_of
from .region import Region, region_of_features

LARGEST_BATCH = 2**22  # numbers of leaves, observations and features together
# Shares of the way from a leaf's nearest point to its middle that are shown: projection rounds, and may step over the
# nearest point.
INWARD = (0.0, 2.0**-20, 2.0**-10, 0.1, 1.0)


class Leaves(NamedTuple):
    """The leaves of S trees as closed boxes of float32 numbers."""

    low: Tensor  # [S, L, D] float32
    high: Tensor  # [S, L, D] float32
    action: Tensor  # [S, L]


def leaves_of(trees: DecisionTrees, num_features: int) -> Leaves:
    """Return the leaves from left to right; those that hold no observation have ``low > high`` somewhere."""
    rows, device = trees.num_seeds, trees.action.device
    low = torch.full((rows, 1, num_features), -math.inf, dtype=torch.float32, device=device)
    high = torch.full_like(low, math.inf)
    for level in range(trees.depth):
        nodes = slice(2**level - 1, 2 ** (level + 1) - 1)
        below = _float32_at_most(trees.threshold[:, nodes])  # [S, 2^level]
        above = torch.nextafter(below, torch.full_like(below, math.inf))
        side = torch.nn.functional.one_hot(trees.feature[:, nodes], num_features).bool()  # [S, 2^level, D]
        left_high = torch.where(side, torch.minimum(high, below[..., None]), high)
        right_low = torch.where(side, torch.maximum(low, above[..., None]), low)
        low = torch.stack([low, right_low], dim=2).flatten(1, 2)
        high = torch.stack([left_high, high], dim=2).flatten(1, 2)
    return Leaves(low, high, trees.action)


class TreeVerdicts(NamedTuple):
    """Verdicts on every action of trees."""

    reachable: Tensor  # [S, B, A] bool
    excluded: Tensor  # [S, B, A] bool
    witness: Tensor  # [S, B, A, *observation]


def verdicts_of_trees(trees: DecisionTrees, obs: Tensor, budget: Budget) -> TreeVerdicts:
    """Decide which leaves the observations ``[S, B, *observation]`` can be moved into.

    A leaf that the region meets in less than rounding can resolve may stay undecided: a single float wide, or at a
    distance that equals epsilon.
    """
    (rows, count), features = obs.shape[:2], obs[0, 0].numel()
    if trees.depth > 0 and int(trees.feature.max()) >= features:
        raise ValueError(f"the trees compare feature {int(trees.feature.max())}, and obs have {features} features")
    leaves = leaves_of(trees, features)
    actions = int(trees.action.max()) + 1
    step = max(1, LARGEST_BATCH // (rows * leaves.action.shape[1] * features))
    parts = [
        _verdicts(trees, leaves, obs[:, part], budget_of(budget, obs, part), actions)
        for part in (slice(start, start + step) for start in range(0, count, step))
    ]
    return TreeVerdicts(*(torch.cat(part, dim=1) for part in zip(*parts, strict=True)))


def _verdicts(trees: DecisionTrees, leaves: Leaves, obs: Tensor, budget: Budget, actions: int) -> TreeVerdicts:
    region = region_of_features(obs, budget)
    low, high = (_by_leaf(end, obs).to(torch.float32) for end in (region.low, region.high))  # [S, B, 1, D]
    low, high = torch.maximum(low, leaves.low[:, None]), torch.minimum(high, leaves.high[:, None])  # [S, B, L, D]
    true = obs.flatten(2)[:, :, None].double()
    nearest = torch.minimum(torch.maximum(true, low.double()), high.double())
    middle = (low.double() + high.double()) / 2
    meets = (low <= high).all(dim=-1)
    distance = _distance(nearest, region, obs)  # [S, B, L]
    if region.balls is not None:
        meets &= distance <= _by_leaf(region.balls.radius[None], obs)[..., 0] * (1.0 + 2.0**-40)
    reachable = torch.nn.functional.one_hot(trees.act(obs), actions).bool()
    possible = torch.zeros_like(reachable)
    witness = obs[:, :, None].repeat(1, 1, actions, *(1,) * (obs.dim() - 2))
    for action in range(actions):
        cost = distance.masked_fill(~meets | (leaves.action[:, None] != action), math.inf)
        least, leaf = cost.min(dim=-1)
        possible[..., action] = least < math.inf
        points = nearest.gather(2, leaf[..., None, None].expand(-1, -1, 1, nearest.shape[-1]))[:, :, 0]
        inner = middle.gather(2, leaf[..., None, None].expand(-1, -1, 1, middle.shape[-1]))[:, :, 0]
        for share in INWARD:
            proposed = points + share * (inner - points)
            shown = budget.project(obs, proposed.reshape(obs.shape).to(obs.dtype))
            provoked = possible[..., action] & ~reachable[..., action] & (trees.act(shown) == action)
            reachable[..., action] |= provoked
            witness[:, :, action] = torch.where(per_feature(provoked, obs), shown, witness[:, :, action])
    return TreeVerdicts(reachable, ~(reachable | possible), witness)


def _distance(points: Tensor, region: Region, obs: Tensor) -> Tensor:
    """Return how much of the ball's radius points ``[S, B, L, D]`` need, ``[S, B, L]``; 0 without a ball."""
    if region.balls is None:
        return points.new_zeros(points.shape[:3])
    center, unit = (_by_leaf(x, obs) for x in (region.balls.center, region.balls.unit))
    z = torch.where(unit > 0, (points - center) / torch.where(unit > 0, unit, 1.0), 0.0)
    length: Tensor = torch.linalg.vector_norm(z, ord=ORDER[region.balls.norm], dim=-1)
    return length


def _by_leaf(x: Tensor, obs: Tensor) -> Tensor:
    """``[D, S B]`` as ``[S, B, 1, D]``."""
    return x.mT.reshape(*obs.shape[:2], 1, -1)


def _float32_at_most(number: Tensor) -> Tensor:
    """Return the largest float32 that is at most a float64."""
    rounded = number.to(torch.float32)
    return torch.where(
        rounded.double() > number, torch.nextafter(rounded, torch.full_like(rounded, -math.inf)), rounded
    )
