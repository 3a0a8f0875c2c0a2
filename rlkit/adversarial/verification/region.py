"""Regions of observations: a box and a ball in the normalized features of a network, and linear functions on them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..budget import ORDER, Budget, Norm
from .layers import LayerStack

ROUNDOFF = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8, torch.float32: 2.0**-24, torch.float64: 2.0**-53}
DUAL_STEPS = 24  # bisections of the multiplier of the Euclidean ball; every multiplier gives a bound
SEARCHED = 14.0  # logarithm of the factor by which the multiplier may differ from that of the ball alone


class Balls(NamedTuple):
    """The norm's part of regions around O observations; ``unit`` is one unit of epsilon in normalized features."""

    norm: Norm
    center: Tensor  # [D, O], the true observation
    unit: Tensor  # [D, O], 0 where the attacker may change nothing
    radius: Tensor  # [O], epsilon and what rounding may add


class Region(NamedTuple):
    """What the features of O = S B true observations can become, rounding included: ``box`` and ``ball`` both hold.

    The image of a ball of observations under the clipping of a normalizer is the part of the ball inside the clip, if
    the true observation is inside; otherwise the image is contained in the region around the clipped observation.
    """

    low: Tensor  # [D, O]
    high: Tensor  # [D, O]
    balls: Balls | None  # None for the norm "inf", whose ball is the box


def region_of_features(obs: Tensor, budget: Budget) -> Region:
    """Return the region of observations ``[S, B, *observation]`` within a budget, in their own units.

    It contains everything that ``budget.project`` can return, in the dtype of ``obs``, and every observation that is
    within the budget in real numbers.
    """
    true = obs.flatten(2).double()  # [S, B, D]
    extent = budget.extent(obs.double()).flatten()  # [D]
    epsilon = budget.per_example(obs.double()).reshape(obs.shape[:2])
    reach = epsilon[..., None] * extent
    low, high = true - reach, true + reach
    blur = rounding_of_shown(obs, budget)
    if budget.norm == "inf":
        # projection rounds monotonically, so its extremes are those of these two observations
        limit = budget.per_example(obs) * budget.extent(obs)
        low = torch.minimum(low, (obs - limit).flatten(2).double())
        high = torch.maximum(high, (obs + limit).flatten(2).double())
    else:
        low, high = low - blur, high + blur
    low, high = _bounded(low, high, obs, budget)
    low, high = torch.where(extent > 0, low, true), torch.where(extent > 0, high, true)
    if budget.norm == "inf":
        return Region(_flat(low), _flat(high), None)
    radius = torch.maximum(epsilon, budget.per_example(obs).reshape(obs.shape[:2]).double())
    # the norm as ``project`` computes it, and the rounding of what it returns
    radius = radius * (1.0 + 2.0 * (len(extent) + 16) * ROUNDOFF[obs.dtype]) + length_of(blur, extent, budget.norm)
    balls = Balls(budget.norm, _flat(true), _flat(extent.expand(true.shape)), radius.flatten())
    return Region(_flat(low), _flat(high), balls)


def rounding_of_shown(obs: Tensor, budget: Budget) -> Tensor:
    """Bound the rounding of ``obs + offset`` by ``budget.project``, ``[S, B, D]`` float64."""
    reach = budget.per_example(obs.double()) * budget.extent(obs.double())
    return 4.0 * ROUNDOFF[obs.dtype] * (obs.double().abs() + reach).flatten(2)


def length_of(offset: Tensor, extent: Tensor, norm: Norm) -> Tensor:
    """Return the norm ``[S, B]`` of offsets ``[S, B, D]`` in units of ``extent [D]``, where that is not 0."""
    z = torch.where(extent > 0, offset / torch.where(extent > 0, extent, 1.0), 0.0)
    length: Tensor = torch.linalg.vector_norm(z, ord=ORDER[norm], dim=-1)
    return length


def normalized(stack: LayerStack, obs: Tensor) -> Tensor:
    """Return what a network is shown of observations ``[S, B, *observation]``, in real numbers: ``[S, D, B]``."""
    return ((obs.flatten(2).double().mT - stack.mean) * stack.gain).clamp(-stack.clip, stack.clip)


def region_of(stack: LayerStack, obs: Tensor, budget: Budget) -> Region:
    """Return the region of observations ``[S, B, *observation]`` within a budget, in normalized features.

    They are ``clamp((x - mean) gain, -clip, clip)``; the box is widened by the rounding of this in float64.
    """
    region = region_of_features(obs, budget)
    mean, gain, clip = (
        _flat(x.mT.expand(len(obs), obs.shape[1], stack.num_features)) for x in (stack.mean, stack.gain, stack.clip)
    )

    size = torch.maximum(region.low.abs(), region.high.abs())
    margin = 8.0 * ROUNDOFF[torch.float64] * (size + mean.abs()) * gain
    low = ((region.low - mean) * gain - margin).clamp(-clip, clip)
    high = ((region.high - mean) * gain + margin).clamp(-clip, clip)
    if region.balls is None:
        return Region(low, high, None)
    center = ((region.balls.center - mean) * gain).clamp(-clip, clip)
    unit = region.balls.unit * gain
    # the rounding of center and unit in float64
    blur = torch.where(unit > 0, 2.0 * margin / torch.where(unit > 0, unit, 1.0), 0.0)
    radius = region.balls.radius + torch.linalg.vector_norm(blur, ord=ORDER[region.balls.norm], dim=0)
    return Region(low, high, region.balls._replace(center=center, unit=unit, radius=radius))


def least(slopes: Tensor, low: Tensor, high: Tensor, balls: Balls | None) -> tuple[Tensor, Tensor]:
    """Minimize linear functions over boxes, each intersected with its ball.

    Args:
        slopes: slopes of R functions on N boxes, ``[D, R, N]``.
        low: lower corners ``[D, N]``.
        high: upper corners ``[D, N]``.
        balls: one for every box, or None.

    Returns:
        A lower bound of ``slopes . y`` for y of every region, ``[R, N]``, exact but for rounding with "inf" and "1" and
        up to the error of the multiplier with "2"; and points ``[D, R, N]`` near the minimum, in the ball.

    Source: for "2" Lagrange duality, where every multiplier gives a lower bound; for "1" the fractional knapsack
    (Dantzig 1957).
    """
    low, high = low[:, None], high[:, None]
    corner = torch.where(slopes > 0, low, high)
    value = (slopes * corner).sum(dim=0)
    if balls is None:
        return value, corner
    center, unit = balls.center[:, None], balls.unit[:, None]
    free = unit > 0
    safe = torch.where(free, unit, 1.0)
    # z = (y - center) / unit is what the norm measures
    z_low, z_high = (torch.where(free, (end - center) / safe, 0.0) for end in (low, high))
    base = (slopes * torch.where(free, center, torch.where(slopes > 0, low, high))).sum(dim=0)
    gains = torch.where(free, slopes * unit, 0.0)
    solve = _least_in_l1 if balls.norm == "1" else _least_in_l2
    of_ball, z = solve(gains, z_low, z_high, balls.radius)
    point = torch.where(free, center + unit * z, corner)
    return torch.maximum(value, base + of_ball), point


def pulled_in(points: Tensor, balls: Balls) -> Tensor:
    """Move points ``[D, N]`` towards the centers of their balls until they are inside."""
    free = balls.unit > 0
    z = torch.where(free, (points - balls.center) / torch.where(free, balls.unit, 1.0), 0.0)
    length = torch.linalg.vector_norm(z, ord=ORDER[balls.norm], dim=0)
    share = (balls.radius / length.clamp_min(1e-300)).clamp(max=1.0)
    return torch.where(free, balls.center + (points - balls.center) * share, points)


def tightened(low: Tensor, high: Tensor, balls: Balls) -> tuple[Tensor, Tensor, Tensor]:
    """Shrink boxes ``[D, N]`` to what their balls leave of them.

    Returns:
        low, high and whether any point of the ball is in the box, ``[N]``.
    """
    free = balls.unit > 0
    safe = torch.where(free, balls.unit, 1.0)
    z_low, z_high = (torch.where(free, (end - balls.center) / safe, 0.0) for end in (low, high))
    order = ORDER[balls.norm]
    nearest = torch.minimum(torch.maximum(z_low, torch.zeros_like(z_low)), z_high).abs() ** order
    others = nearest.sum(dim=0) - nearest
    # relative rounding of the sums, outward
    left = balls.radius**order * (1.0 + 2.0**-40) - others * (1.0 - 2.0**-40)
    meets = (left - nearest * (1.0 - 2.0**-40) >= 0).all(dim=0)
    reach = balls.unit * left.clamp_min(0.0) ** (1.0 / order) * (1.0 + 2.0**-40)
    margin = 2.0**-48 * (balls.center.abs() + reach)
    tight_low = torch.maximum(low, balls.center - reach - margin)
    tight_high = torch.minimum(high, balls.center + reach + margin)
    low, high = torch.where(free & meets, tight_low, low), torch.where(free & meets, tight_high, high)
    return low, torch.maximum(low, high), meets


def _least_in_l1(gains: Tensor, z_low: Tensor, z_high: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Minimize gains . z over a box and |z|_1 <= radius: spend the radius where a unit of it gains most."""
    zero = torch.zeros_like(gains)
    start = torch.minimum(torch.maximum(z_low, zero), z_high)  # nearest to 0
    goal = torch.where(gains > 0, z_low, z_high)
    # moving towards 0 is free, and is where ``start`` is already: only moves away from 0 cost
    width = torch.where(goal.abs() > start.abs(), (goal - start).abs(), zero)
    order = gains.abs().argsort(dim=0, descending=True)
    sorted_width = width.gather(0, order)
    left = (radius - start.abs().sum(dim=0)).clamp_min(0.0)
    before = sorted_width.cumsum(dim=0) - sorted_width
    taken = torch.minimum(sorted_width, (left - before).clamp_min(0.0))
    z = start - gains.sign() * zero.scatter(0, order, taken)
    return (gains * z).sum(dim=0), z


def _least_in_l2(gains: Tensor, z_low: Tensor, z_high: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Minimize gains . z over a box and |z|_2 <= radius through the dual function of one multiplier."""
    length = torch.linalg.vector_norm(gains, dim=0)
    limit = radius.expand(length.shape)

    def point(multiplier: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(-gains / multiplier, z_low), z_high)

    # without the box, -gains / multiplier reaches the sphere at length / radius; a box that the ball barely meets asks
    # for a larger multiplier, one that ends inside the ball for a smaller one
    free_multiplier = (length / limit.clamp_min(1e-300)).clamp(1e-290, 1e290).log()
    inside, outside = free_multiplier + SEARCHED, free_multiplier - SEARCHED
    for _ in range(DUAL_STEPS):
        middle = 0.5 * (inside + outside)
        fits = point(middle.exp()).square().sum(dim=0) <= limit.square()
        inside, outside = torch.where(fits, middle, inside), torch.where(fits, outside, middle)
    multiplier = inside.exp()
    z = point(multiplier)
    value = (gains * z).sum(dim=0) + 0.5 * multiplier * (z.square().sum(dim=0) - limit.square())
    return value, z * (limit / torch.linalg.vector_norm(z, dim=0).clamp_min(1e-300)).clamp(max=1.0)


def _bounded(low: Tensor, high: Tensor, obs: Tensor, budget: Budget) -> tuple[Tensor, Tensor]:
    """Cut ``[S, B, D]`` to the budget's bounds, in the dtype of ``obs`` or in float64, whichever is wider."""
    if not budget.bounded:
        return low, high
    low, high = low.reshape(obs.shape), high.reshape(obs.shape)
    low = torch.minimum(budget.cut(low), _cut_in(low, obs.dtype, budget))
    high = torch.maximum(budget.cut(high), _cut_in(high, obs.dtype, budget))
    return low.flatten(2), high.flatten(2)


def _cut_in(end: Tensor, dtype: torch.dtype, budget: Budget) -> Tensor:
    bounds = [torch.as_tensor(bound, dtype=dtype, device=end.device).double() for bound in (budget.low, budget.high)]
    return torch.minimum(torch.maximum(end, bounds[0]), bounds[1])


def _flat(x: Tensor) -> Tensor:
    """``[S, B, D]`` as ``[D, S B]``."""
    return x.reshape(-1, x.shape[-1]).mT.contiguous()
