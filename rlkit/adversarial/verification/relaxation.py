"""Lines below and above an activation on an interval, and what an activation does to intervals and errors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .layers import HiddenActivation

# Relative to 1 + |l| + |u|. torch's vectorized tanh is within 4 units in the last place in float64, and a line takes
# five further operations on numbers of that size.
TANH_MARGIN = 2.0**-44
# Of a victim: rlkit computes float32 tanh as 2 sigmoid(2 y) - 1, within 2e-7; other libraries are closer.
TANH_ERROR = {torch.float32: 5e-7, torch.float64: 2.0**-48}
CONTACT = 0.545  # 0.545 asinh(-l) is right of the point whose tangent goes through (l, tanh l): see the tests


class Lines(NamedTuple):
    """``low_slope y + low <= activation(y) <= high_slope y + high`` for every y of an interval."""

    low_slope: Tensor
    low: Tensor
    high_slope: Tensor
    high: Tensor


def lines(activation: HiddenActivation, l: Tensor, u: Tensor) -> Lines:  # noqa: E741
    """Return lines below and above the activation on [l, u], elementwise; slopes are in [0, 1].

    relu: the upper line is the chord; the lower one has slope 1 if u > -l, else 0 (Zhang et al. 2018, "Efficient neural
    network robustness certification with general activation functions", the adaptive choice of CROWN). tanh: chord or
    tangent, moved outward by the rounding error.
    """
    if activation == "relu":
        return _relu_lines(l, u)
    if activation == "tanh":
        return _tanh_lines(l, u)
    one, zero = torch.ones_like(l), torch.zeros_like(l)
    return Lines(one, zero, one, zero)


def image(activation: HiddenActivation, l: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:  # noqa: E741
    """Return the interval that an activation maps [l, u] into."""
    if activation == "relu":
        return l.relu(), u.relu()
    if activation == "tanh":
        return l.tanh() - TANH_MARGIN, u.tanh() + TANH_MARGIN
    return l, u


def activated(activation: HiddenActivation, y: Tensor) -> Tensor:
    """Apply an activation."""
    if activation == "relu":
        return y.relu()
    return y.tanh() if activation == "tanh" else y


def steepest_on(activation: HiddenActivation, l: Tensor, u: Tensor) -> Tensor:  # noqa: E741
    """Return the largest derivative of an activation on [l, u], rounded up."""
    if activation == "relu":
        return (u > 0).to(u)
    if activation == "tanh":
        return (1.0 - nearest_zero(l, u).tanh().square() + TANH_MARGIN).clamp(max=1.0)
    return torch.ones_like(u)


def flattest_on(activation: HiddenActivation, l: Tensor, u: Tensor) -> Tensor:  # noqa: E741
    """Return the smallest derivative of an activation on [l, u], rounded down."""
    if activation == "relu":
        return (l > 0).to(l)
    if activation == "tanh":
        return (1.0 - torch.maximum(l.abs(), u.abs()).tanh().square() - TANH_MARGIN).clamp(min=0.0)
    return torch.ones_like(l)


def nearest_zero(l: Tensor, u: Tensor) -> Tensor:  # noqa: E741
    """Return the point of [l, u] nearest to 0."""
    return torch.minimum(torch.maximum(l, torch.zeros_like(l)), u)


def _relu_lines(l: Tensor, u: Tensor) -> Lines:  # noqa: E741
    crossing = (l < 0) & (u > 0)
    active = (l >= 0).to(l)
    high_slope = torch.where(crossing, u / (u - l).clamp_min(torch.finfo(l.dtype).tiny), active)
    high = torch.where(crossing, -high_slope * l, 0.0)
    low_slope = torch.where(crossing, (u > -l).to(l), active)
    return Lines(low_slope, torch.zeros_like(l), high_slope, high)


def _tanh_lines(l: Tensor, u: Tensor) -> Lines:  # noqa: E741
    at_l, at_u = l.tanh(), u.tanh()
    high_slope, high = _line_above_tanh(l, u, at_l, at_u)
    low_slope, low = _line_above_tanh(-u, -l, -at_u, -at_l)  # tanh is odd
    return Lines(low_slope, -low, high_slope, high)


def _line_above_tanh(l: Tensor, u: Tensor, at_l: Tensor, at_u: Tensor) -> tuple[Tensor, Tensor]:  # noqa: E741
    """Return slope and intercept of a line above tanh on [l, u].

    - If the chord is no steeper than tanh at u, tanh is below the chord: it is convex and then concave, and the concave
      part ends above the chord only if it ends flatter.
    - Otherwise the tangent at a point d > 0 is above tanh where tanh is concave, and at l, and therefore, tanh being
      convex below 0, between l and 0 too. If l >= 0, d is the middle.
    """
    width = u - l
    chord = (at_u - at_l) / width.clamp_min(torch.finfo(l.dtype).tiny)
    slope_u = 1.0 - at_u.square()
    below_chord = chord <= slope_u
    contact = torch.where(l >= 0, 0.5 * (l + u), torch.minimum(CONTACT * torch.asinh(-l), u)).clamp_min(0.0)
    at_contact = contact.tanh()
    slope_contact = 1.0 - at_contact.square()
    above_l = at_contact - slope_contact * (contact - l) >= at_l
    # the flattest derivative is at an end, so that tanh minus this line grows from l to u
    parallel = torch.minimum(1.0 - at_l.square(), slope_u)
    slope = torch.where(below_chord, chord, torch.where(above_l, slope_contact, parallel)).clamp(0.0, 1.0)
    point = torch.where(below_chord | ~above_l, u, contact)
    at_point = torch.where(below_chord | ~above_l, at_u, at_contact)
    margin = TANH_MARGIN * (1.0 + l.abs() + u.abs())
    return slope, at_point - slope * point + margin
