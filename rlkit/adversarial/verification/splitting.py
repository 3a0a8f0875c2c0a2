"""Boxes to be decided, of all rows and observations in one list: how they are tiled, and how they are split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .bounds import TILE
from .layers import LayerStack
from .region import Balls, Region, tightened

COLUMNS = 2**15  # columns that hidden layers carry at once: what fits into a cache


class Boxes(NamedTuple):
    """N boxes of normalized features, in the order of their owners and hence of their rows."""

    low: Tensor  # [D, N]
    high: Tensor  # [D, N]
    owner: Tensor  # [N] int64, which observation (or extreme) a box belongs to

    def pick(self, keep: Tensor) -> Boxes:
        """Return the boxes of a mask or index."""
        return Boxes(self.low[:, keep], self.high[:, keep], self.owner[keep])


class Tiles(NamedTuple):
    """A batch of tiles: tile t holds boxes of one row, the last repeated to fill it."""

    row: Tensor  # [T]
    box: Tensor  # [T, TILE], which
    filled: Tensor  # [T, TILE] bool, whether a place holds a box of its own


def whole(region: Region) -> Boxes:
    """Return one box per observation: the region's."""
    return Boxes(region.low, region.high, torch.arange(region.low.shape[1], device=region.low.device))


def batches(stack: LayerStack, row: Tensor) -> Iterator[Tiles]:
    """Divide boxes of rows ``[N]``, ascending, into batches of tiles, in order."""
    rows = len(stack.weights[0])
    counts = torch.bincount(row, minlength=rows)
    tiles = (counts + TILE - 1) // TILE
    of_tile = torch.repeat_interleave(torch.arange(rows, device=row.device), tiles)
    number = torch.arange(len(of_tile), device=row.device) - (tiles.cumsum(0) - tiles)[of_tile]
    place = number[:, None] * TILE + torch.arange(TILE, device=row.device)
    last = (counts - 1)[of_tile][:, None]
    filled = place <= last
    index = (counts.cumsum(0) - counts)[of_tile][:, None] + torch.minimum(place, last)
    size = max(1, COLUMNS // (TILE * (stack.num_features + 1)))
    for start in range(0, len(of_tile), size):
        part = slice(start, start + size)
        yield Tiles(of_tile[part], index[part], filled[part])


def tiled_boxes(boxes: Boxes, tiles: Tiles) -> tuple[Tensor, Tensor]:
    """Return lower and upper corners of the boxes in tiles, ``[T, D, TILE]``."""
    return (boxes.low[:, tiles.box].movedim(0, 1).contiguous(), boxes.high[:, tiles.box].movedim(0, 1).contiguous())


def tiled(x: Tensor, tiles: Tiles) -> Tensor:
    """Put what belongs to boxes, ``[..., n]`` in their order, into tiles: ``[T, ..., TILE]``; the rest is 0."""
    places = torch.zeros(*x.shape[:-1], *tiles.filled.shape, dtype=x.dtype, device=x.device)
    places[..., tiles.filled] = x
    return places.movedim(-2, 0).contiguous()


def untiled(x: Tensor, tiles: Tiles) -> Tensor:
    """Return what ``x [T, ..., TILE]`` holds of the boxes, in their order: ``[..., n]``."""
    return x.movedim(0, -2)[..., tiles.filled]


def halved(boxes: Boxes, along: Tensor, balls: Balls | None, observation: Tensor | None = None) -> tuple[Boxes, Tensor]:
    """Split every box in the middle of one side and drop halves outside their ball.

    Args:
        boxes: boxes to split.
        along: the feature to split, ``[N]``.
        balls: one per observation, or None.
        observation: the observation of every owner; None if owners are observations.

    Returns:
        The halves next to each other, and the box that each comes from.
    """
    side = torch.nn.functional.one_hot(along, len(boxes.low)).mT.bool()  # [D, N]
    middle = (boxes.low + boxes.high) / 2
    low = torch.stack([boxes.low, torch.where(side, middle, boxes.low)], dim=-1).flatten(1)
    high = torch.stack([torch.where(side, middle, boxes.high), boxes.high], dim=-1).flatten(1)
    parent = torch.arange(len(boxes.owner), device=along.device).repeat_interleave(2)
    owner = boxes.owner[parent]
    if balls is None:
        return Boxes(low, high, owner), parent
    low, high, meets = tightened(low, high, balls_of(balls, owner if observation is None else observation[owner]))
    return Boxes(low, high, owner).pick(meets), parent[meets]


def best_of_each(key: Tensor, value: Tensor) -> Tensor:
    """Return the index of the largest value of every key ``[n]``, in ascending order of the keys; the first of ties."""
    order = value.argsort(descending=True, stable=True)
    order = order[key[order].argsort(stable=True)]
    first = torch.ones_like(order, dtype=torch.bool)
    first[1:] = key[order][1:] != key[order][:-1]
    return order[first]


def widest(boxes: Boxes, spread: Tensor) -> tuple[Tensor, Tensor]:
    """Choose the feature along which bounds vary most.

    Args:
        boxes: boxes to split.
        spread: change of the bounds over every side, ``[D, N]``.

    Returns:
        The feature of every box ``[N]``, and whether it can be halved in float64, ``[N]``.
    """
    middle = (boxes.low + boxes.high) / 2
    divisible = (boxes.low < middle) & (middle < boxes.high)
    # the width decides among features without slope
    width = boxes.high - boxes.low
    return torch.where(divisible, spread + 1e-12 * width, -1.0).argmax(dim=0), divisible.any(dim=0)


def balls_of(balls: Balls, owner: Tensor) -> Balls:
    """Return the balls of the observations ``[N]``."""
    return Balls(balls.norm, balls.center[:, owner], balls.unit[:, owner], balls.radius[owner])
