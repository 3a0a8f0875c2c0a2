"""Inner maximization: projected gradient ascent on what a defense lowers in the worst case."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from rlkit.types import Targets

from ..budget import Budget, per_feature

STEP = 2.5  # length of a step, in epsilon / steps, as of ``PGD``


def random_start(features: Tensor, budget: Budget, targets: Targets) -> Tensor:
    """Draw a point of every ball uniformly, ``[S, M, D]``, with numbers of the stream (seed, "term")."""
    assert targets.uniform is not None
    return budget.project(features, features + budget.sample(features, targets.uniform(features.shape[-1] + 1)))


def path(
    value: Callable[[Tensor], Tensor], features: Tensor, budget: Budget, steps: int, start: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the points of projected gradient ascent, ``[S, M, D]``, each with the value at the point before.

    Args:
        value: function of features with one number per example ``[S, M]``, or per row ``[S]`` as the mean of such.
        features: centers of the balls, ``[S, M, D]``.
        budget: the balls.
        steps: number of steps; a single one is of the whole budget.
        start: first point, ``[S, M, D]``.

    Source: Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks", section 2.1.
    """
    x, length = start, STEP / steps if steps > 1 else 1.0
    for _ in range(steps):
        leaf = x.detach().requires_grad_()
        found = value(leaf)
        (gradient,) = torch.autograd.grad(found, leaf, torch.ones_like(found))
        uphill = budget.steepest(features, budget.movable(x, gradient))
        x = budget.project(features, x + length * uphill)
        yield x, found.detach()


def ascend(value: Callable[[Tensor], Tensor], features: Tensor, budget: Budget, steps: int, start: Tensor) -> Tensor:
    """Return the last point of ``path``, ``[S, M, D]``; arguments as of ``path``."""
    x = start
    for point, _ in path(value, features, budget, steps, start):
        x = point
    return x


def ascend_to_best(
    value: Callable[[Tensor], Tensor], features: Tensor, budget: Budget, steps: int, start: Tensor
) -> Tensor:
    """Return the best point of ``path`` and its center for every example, ``[S, M, D]``.

    The value there is at least that at the center, up to rounding. Arguments as of ``path``, with a value per example.
    """
    with torch.no_grad():
        best, highest = features, value(features)
    at = start
    for point, found in path(value, features, budget, steps, start):
        best, highest = _better(best, highest, at, found)
        at = point
    with torch.no_grad():
        return _better(best, highest, at, value(at))[0]


def _better(best: Tensor, highest: Tensor, x: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """Return for every example the point with the larger value, and the value; the first where one is NaN."""
    wins = found > highest
    return torch.where(per_feature(wins, x), x, best), torch.where(wins, found, highest)
