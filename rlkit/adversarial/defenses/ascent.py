"""Inner maximization: projected gradient ascent on what a defense lowers in the worst case.

Source: Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks", section 2.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rlkit.nn import MLP
from rlkit.types import Targets

from ..budget import Budget, per_feature

STEP = 2.5  # length of a step, in epsilon / steps, as of ``PGD``
OfScores = Callable[[Tensor], Tensor]  # scores [S, M, A] -> a value for each example [S, M]


def random_start(features: Tensor, budget: Budget, targets: Targets) -> Tensor:
    """Draw a point of every ball uniformly, ``[S, M, D]``, with numbers of the stream (seed, "term")."""
    assert targets.uniform is not None
    return budget.project(features, features + budget.sample(features, targets.uniform(features.shape[-1] + 1)))


def ascend(loss: Callable[[Tensor], Tensor], features: Tensor, budget: Budget, steps: int, start: Tensor) -> Tensor:
    """Return the last point of the ascent on a loss, ``[S, M, D]``.

    Args:
        loss: features -> ``[S]``, the mean of a loss of each example.
        features: centers of the balls, ``[S, M, D]``.
        budget: the balls.
        steps: number of steps; a single one is of the whole budget.
        start: first point, ``[S, M, D]``.
    """
    x = start
    for _ in range(steps):
        leaf = x.detach().requires_grad_()
        found = loss(leaf)
        (gradient,) = torch.autograd.grad(found, leaf, torch.ones_like(found))
        x = _step(x, gradient, features, budget, steps)
    return x


def ascend_to_best(
    network: Any, of_scores: OfScores, features: Tensor, budget: Budget, steps: int, start: Tensor
) -> Tensor:
    """Return for every example the best of the points of the ascent and the center, ``[S, M, D]``.

    The value there is at least that at the center, up to rounding.

    Args:
        network: gives scores of features.
        of_scores: what to increase.
        features: centers of the balls, ``[S, M, D]``.
        budget: the balls.
        steps: number of steps; a single one is of the whole budget.
        start: first point, ``[S, M, D]``.
    """
    with torch.no_grad():
        best, highest = features, of_scores(network(features))
    x = start
    for _ in range(steps):
        found, gradient = _value_and_gradient(network, of_scores, x)
        best, highest = _better(best, highest, x, found)
        x = _step(x, gradient, features, budget, steps)
    with torch.no_grad():
        return _better(best, highest, x, of_scores(network(x)))[0]


def _step(x: Tensor, gradient: Tensor, features: Tensor, budget: Budget, steps: int) -> Tensor:
    uphill = budget.steepest(features, budget.movable(x, gradient))
    return budget.project(features, x + (STEP / steps if steps > 1 else 1.0) * uphill)


def _value_and_gradient(network: Any, of_scores: OfScores, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the value ``[S, M]`` and its gradient by the features ``[S, M, D]``; by hand where the network can."""
    by_hand = isinstance(network, MLP) and network.layers_alone
    if by_hand:
        with torch.no_grad():
            scores, pullback = network.input_vjp(x)
        leaf = scores.requires_grad_()
        value = of_scores(leaf)
    else:
        leaf = x.detach().requires_grad_()
        value = of_scores(network(leaf))
    (gradient,) = torch.autograd.grad(value, leaf, torch.ones_like(value))
    if by_hand:
        with torch.no_grad():
            gradient = pullback(gradient.contiguous())
    return value.detach(), gradient


def _better(best: Tensor, highest: Tensor, x: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """Return for every example the point with the larger value, and the value; the first where one is NaN."""
    wins = found > highest
    return torch.where(per_feature(wins, x), x, best), torch.where(wins, found, highest)
