"""CAR-DQN: the worst Bellman error over the ball, weighted towards the worst examples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rlkit.losses import LOSSES, td_error
from rlkit.types import Targets

from ..budget import Budget
from .ascent import ascend_to_best, random_start
from .base import Defense, Serves
from .interval import interval_bounds
from .sa_dqn import Inner, check_inner


@dataclass(frozen=True, eq=False)
class CARDQN(Defense):
    """``(1 - strength) L + strength sum_m alpha_m l_m`` with ``l_m = loss(max_x' |Q(x', a) - y|)`` of every example.

    The weights are ``alpha = softmax(l / temperature)`` over the minibatch, held fixed. They approach the largest
    example for a small temperature, and the mean for a large one. The target y is that of the true successor. With
    strength 1 the loss L is replaced, as published. The loss is the agent's own: the published code has
    ``min(d^2, |d|)`` for Huber's, with a slope that falls from 2 to 1 at 1.

    Args:
        budget, strength, curriculum: as in ``Defense``.
        temperature: lambda of the weights, in units of the loss; infinite for the mean.
        loss: the agent's ``loss``.
        method: "interval" bounds the error over the ball from above, "pgd" finds it by gradient
            ascent of the error and of its negative.
        steps: steps of "pgd".

    Raises:
        ValueError: a temperature that is not positive, an unknown loss or method, or steps below 1; at the first update
            a policy, or with "interval" a network with convolutions or a radial basis.

    Source: Li et al. 2024, "Towards optimal adversarial robust Q-learning with Bellman infinity-error".
    """

    temperature: float = 1.0
    loss: Literal["huber", "squared"] = "huber"
    method: Inner = "interval"
    steps: int = 10
    name: ClassVar[str] = "car_dqn"
    serves: ClassVar[Serves] = "values"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_inner(self.method, self.steps)
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {self.loss!r}")

    def penalty(self, network: Any, features: Tensor, budget: Budget, targets: Targets) -> Tensor:
        """Return the worst loss minus the loss of every row, ``[S]``; arguments as in ``Defense.penalty``."""
        assert targets.loss is not None
        each = LOSSES[self.loss](self._worst_error(network, features, budget, targets))
        if targets.importance is not None:
            each = targets.importance * each
        return (soft_weights(each.detach(), self.temperature) * each).sum(dim=1) - targets.loss(features)

    def _worst_error(self, network: Any, features: Tensor, budget: Budget, targets: Targets) -> Tensor:
        """Return max |Q(x', a) - y| over the ball, ``[S, M]``."""
        if self.method == "interval":
            lower, upper = interval_bounds(network, features, budget)
            return worst_bellman_error(lower, upper, targets.action, targets.target)

        def error(q: Tensor, sign: float = 1.0) -> Tensor:
            return sign * td_error(q, targets.action, targets.target)

        start, found = random_start(features, budget, targets), []
        for sign in (1.0, -1.0):
            worst = ascend_to_best(network, partial(error, sign=sign), features, budget, self.steps, start)
            found.append(error(network(worst)).abs())
        return torch.maximum(*found)


def worst_bellman_error(lower: Tensor, upper: Tensor, action: Tensor, target: Tensor) -> Tensor:
    """Return ``max(|lower_a - y|, |upper_a - y|)``, the largest |Q(a) - y| within bounds, ``[S, M]``.

    Args:
        lower, upper: bounds of action values, ``[S, M, A]``.
        action: a, ``[S, M]``.
        target: y, ``[S, M]``.
    """
    return torch.maximum(td_error(lower, action, target).abs(), td_error(upper, action, target).abs())


def soft_weights(each: Tensor, temperature: float) -> Tensor:
    """Return the weights of the examples, ``softmax(each / temperature)`` over the minibatch, ``[S, M]``."""
    return torch.softmax(each / temperature if temperature < math.inf else torch.zeros_like(each), dim=1)
