"""Linear bounds of score combinations on many boxes at once.

Boxes come in tiles of ``TILE`` boxes of one row each, ``[T, features, TILE]``, so that boxes of all rows are one batch
and what is computed for a row does not depend on the other rows. Hidden bounds are linear functions of the box's D
coordinates, carried forward as D + 1 columns per box; no array has two hidden axes per box.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .layers import HiddenActivation, LayerStack
from .relaxation import Lines, activated, image, lines

TILE = 32  # boxes of one row in a tile


class TileLayers(NamedTuple):
    """The layers of every tile's row."""

    weights: tuple[Tensor, ...]  # [T, out, in]
    absolute: tuple[Tensor, ...]  # [T, out, in], their absolute values
    biases: tuple[Tensor, ...]  # [T, out, 1]
    activations: tuple[HiddenActivation, ...]

    @classmethod
    def of(cls, stack: LayerStack, row: Tensor | None = None) -> TileLayers:
        """Gather the layers of the rows ``[T]`` of tiles; None for one tile per row."""
        weights, biases = stack.weights, stack.biases
        if row is not None:
            weights, biases = tuple(weight[row] for weight in weights), tuple(bias[row] for bias in biases)
        return cls(weights, tuple(weight.abs() for weight in weights), biases, stack.activations)


class Relaxed(NamedTuple):
    """Hidden layers on boxes: lines around every activation, and intervals of the last layer's input."""

    lines: tuple[Lines, ...]  # [T, hidden, TILE] each
    low: Tensor  # [T, in, TILE]
    high: Tensor  # [T, in, TILE]


class LinearBounds(NamedTuple):
    """``constant + slopes . y <= rows . scores(y)`` for every y of a box, and an interval of the same."""

    slopes: Tensor  # [T, D, R, TILE]
    constant: Tensor  # [T, R, TILE]
    interval: Tensor  # [T, R, TILE], its lower end
    reach: Tensor  # [T, R, TILE], half its length


def scores_at(layers: TileLayers, points: Tensor) -> Tensor:
    """Evaluate the networks, ``[T, D, n] -> [T, A, n]``."""
    h = points
    for i, (weight, bias) in enumerate(zip(layers.weights, layers.biases, strict=True)):
        h = torch.baddbmm(bias, weight, h)
        if i < len(layers.activations):
            h = activated(layers.activations[i], h)
    return h


def relax(layers: TileLayers, center: Tensor, radius: Tensor) -> Relaxed:
    """Bound every hidden unit on boxes and enclose its activation by two lines.

    The bounds are the tighter of two: those of linear functions of the input (CROWN), and intervals.

    Args:
        layers: layers of the tiles.
        center: center of the boxes, ``[T, D, TILE]``.
        radius: half the lengths of their sides, likewise.

    Source: Zhang et al. 2018, "Efficient neural network robustness certification with general activation functions".
    """
    tiles, features, boxes = center.shape
    found: list[Lines] = []
    low, high = center - radius, center + radius
    middle = spread = center  # of the linear functions, set in the first layer
    for i, activation in enumerate(layers.activations):
        weight, absolute, bias = layers.weights[i], layers.absolute[i], layers.biases[i]
        if i == 0:
            value = torch.baddbmm(bias, weight, center)
            reach = torch.bmm(absolute, radius)
            low, high = value - reach, value + reach
            # columns: the value at the center, then the change along every half side
            function = torch.cat([value[:, :, None], weight[..., None] * radius[:, None]], dim=2)  # [T, H, D + 1, K]
            below = above = function
        else:
            interval_middle = torch.baddbmm(bias, weight, (low + high) / 2)
            interval_reach = torch.bmm(absolute, (high - low) / 2)
            # W+ low + W- high = W middle - |W| spread
            around = torch.bmm(weight, middle.flatten(2)).view(tiles, -1, features + 1, boxes)
            width = torch.bmm(absolute, spread.flatten(2)).view(tiles, -1, features + 1, boxes)
            around[:, :, 0] += bias
            below, above = around - width, around + width
            low = below[:, :, 0] - below[:, :, 1:].abs().sum(dim=2)
            high = above[:, :, 0] + above[:, :, 1:].abs().sum(dim=2)
            low = torch.maximum(low, interval_middle - interval_reach)
            high = torch.maximum(torch.minimum(high, interval_middle + interval_reach), low)
        line = lines(activation, low, high)
        found.append(line)
        if i < len(layers.activations) - 1:
            below = below * line.low_slope[:, :, None]
            below[:, :, 0] += line.low
            above = above * line.high_slope[:, :, None]
            above[:, :, 0] += line.high
            middle, spread = (below + above).mul_(0.5), (above - below).mul_(0.5)
        low, high = image(activation, low, high)
    return Relaxed(tuple(found), low, high)


def bound_below(layers: TileLayers, relaxed: Relaxed, rows: Tensor) -> LinearBounds:
    """Bound linear combinations of scores from below on boxes.

    Args:
        layers: layers of the tiles.
        relaxed: linear bounds of the boxes.
        rows: weights of the scores in R combinations on every box, ``[T, A, R, TILE]``.

    The slopes of the bound are carried backward from the scores to the input. Combinations are bounded as such:
    ``score_b - score_a`` is one row, not the difference of two bounds.
    """
    tiles, _, count, boxes = rows.shape
    flat = rows.flatten(2)
    slopes = torch.bmm(layers.weights[-1].mT, flat)  # [T, H, R K]
    constant = (layers.biases[-1] * flat).sum(dim=1)  # [T, R K]
    middle, half = (relaxed.low + relaxed.high) / 2, (relaxed.high - relaxed.low) / 2
    by_box = slopes.view(tiles, -1, count, boxes)
    reach = (by_box.abs() * half[:, :, None]).sum(dim=1)
    interval = (by_box * middle[:, :, None]).sum(dim=1) + constant.view(tiles, count, boxes) - reach
    for i in reversed(range(len(layers.activations))):
        line = relaxed.lines[i]
        by_box = slopes.view(tiles, -1, count, boxes)
        positive, negative = by_box.clamp_min(0.0), by_box.clamp_max(0.0)
        moved = positive * line.low[:, :, None] + negative * line.high[:, :, None]
        slopes = (positive * line.low_slope[:, :, None] + negative * line.high_slope[:, :, None]).flatten(2)
        constant = constant + moved.sum(dim=1).flatten(1) + (slopes * layers.biases[i]).sum(dim=1)
        slopes = torch.bmm(layers.weights[i].mT, slopes)
    return LinearBounds(slopes.view(tiles, -1, count, boxes), constant.view(tiles, count, boxes), interval, reach)
