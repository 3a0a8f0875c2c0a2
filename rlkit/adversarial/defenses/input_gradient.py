"""Penalties of the derivative of the loss by the observation: J1, J2 and 2-Lip.

To first order the worst loss within a ball is the loss plus epsilon times the dual norm of its derivative. Exactly so
where the loss is affine; for a smooth loss the difference is O(epsilon^2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from rlkit.types import Targets

from ..budget import Budget, Norm
from .base import ByRow, Defense, by_row, not_negative

Method = Literal["backprop", "difference"]  # how the derivative of a derivative is computed


@dataclass(frozen=True, eq=False)
class InputGradientPenalty(Defense):
    """``strength epsilon mean |grad_x loss|_q``, with q dual to the norm of the budget.

    The derivative of an example's loss is by its own features, in units of the budget's scale. With "backprop" it is
    differentiated once more (Drucker & LeCun 1992, "Improving generalization performance using double
    backpropagation"). With "difference" the norm is a central difference along the steepest direction, held fixed,
    which takes first derivatives only (Finlay & Oberman 2021, "Scaleable input gradient regularization for adversarial
    robustness"). The error is O(step^2).

    Args:
        budget, strength, curriculum: as in ``Defense``.
        method: "backprop" or "difference".
        step: length of the difference, in units of the budget's scale.

    Raises:
        ValueError: a budget of another norm, an unknown method, or a step that is not positive.
    """

    method: Method = "backprop"
    step: float = 0.01
    norm: ClassVar[Norm]

    def __post_init__(self) -> None:
        if isinstance(self.budget, Budget) and self.budget.norm != self.norm:
            raise ValueError(f"{self.name} is for the norm {self.norm!r}, got a budget of {self.budget.norm!r}")
        super().__post_init__()
        assert isinstance(self.budget, Budget)
        object.__setattr__(self, "budget", replace(self.budget, norm=self.norm))
        if self.method not in get_args(Method):
            raise ValueError(f"method must be one of {', '.join(get_args(Method))}, got {self.method!r}")
        if not self.step > 0:
            raise ValueError(f"step must be positive, got {self.step}")

    def penalty(self, network: Any, features: Tensor, budget: Budget, targets: Targets) -> Tensor:
        """Return epsilon times the mean norm of every row, ``[S]``; arguments as in ``Defense.penalty``."""
        return budget.per_example(features)[:, 0, 0] * self._norms(features, budget, targets)[0]

    def _norms(self, features: Tensor, budget: Budget, targets: Targets, largest: bool = False) -> tuple[Tensor, ...]:
        """Return the mean over the minibatch of the norm of each example, ``[S]``, and the largest if requested."""
        assert targets.loss is not None
        x, double = features.detach().requires_grad_(), self.method == "backprop"
        loss = targets.loss(x)
        (gradient,) = torch.autograd.grad(loss, x, torch.ones_like(loss), create_graph=double)
        norm, minibatch = budget.dual_norm(gradient), features.shape[1]  # of one M-th of an example's loss
        if double:
            return (norm.sum(dim=1), minibatch * norm.amax(dim=1)) if largest else (norm.sum(dim=1),)
        offset = replace(budget, epsilon=self.step).steepest(features, gradient)
        mean = self._difference(targets, features, offset)
        if not largest:
            return (mean,)
        steepest = torch.nn.functional.one_hot(norm.argmax(dim=1), minibatch)[..., None]
        return mean, minibatch * self._difference(targets, features, offset * steepest)

    def _difference(self, targets: Targets, features: Tensor, offset: Tensor) -> Tensor:
        """Return the central difference of the loss along offsets of length ``step``, ``[S]``."""
        assert targets.loss is not None
        return (targets.loss(features + offset) - targets.loss(features - offset)) / (2.0 * self.step)


class J1(InputGradientPenalty):
    """J1: loss + epsilon mean |grad_x loss|_1, the worst loss in a box of an affine loss: FGSM's.

    See ``InputGradientPenalty`` for the arguments.

    Source: Goodfellow, Shlens & Szegedy 2015, "Explaining and harnessing adversarial examples", section 5, for linear
    models; Lyu, Huang & Liang 2015, "A unified gradient regularization family for adversarial examples".
    """

    name = "J1"
    norm = "inf"


class J2(InputGradientPenalty):
    """J2: loss + epsilon mean |grad_x loss|_2, the worst loss in a Euclidean ball of an affine loss.

    See ``InputGradientPenalty`` for the arguments.

    Source: Lyu, Huang & Liang 2015, "A unified gradient regularization family for adversarial examples".
    """

    name = "J2"
    norm = "2"


@dataclass(frozen=True, eq=False)
class TwoLip(InputGradientPenalty):
    """2-Lip: loss + epsilon mean |grad_x loss|_2 + lambda max over the minibatch of |grad_x loss|_2.

    The maximum over data is a lower estimate of the Lipschitz constant of the loss. With lambda 0 this is ``J2``.

    Args:
        budget, strength, curriculum, method, step: as in ``InputGradientPenalty``. ``strength`` multiplies both parts.
        lipschitz: lambda, one for all rows or one per row ``[S]``.

    Raises:
        ValueError: lambda is negative or not finite, or as of ``InputGradientPenalty``.

    Source: Finlay, Oberman & Abbasi 2018, "Improved robustness to adversarial examples using Lipschitz regularization
    of the loss".
    """

    lipschitz: ByRow = 0.1
    name = "two_lip"
    norm = "2"

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative(self.lipschitz, "lipschitz")

    def penalty(self, network: Any, features: Tensor, budget: Budget, targets: Targets) -> Tensor:
        """Return both parts of every row, ``[S]``; arguments as in ``Defense.penalty``."""
        mean, largest = self._norms(features, budget, targets, largest=True)
        weight = by_row(self.lipschitz, "lipschitz", features)
        return budget.per_example(features)[:, 0, 0] * mean + weight * largest
