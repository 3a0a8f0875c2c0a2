"""Training on changed observations: attacked ones, and ones with Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from rlkit.types import Targets

from ..budget import SMALLEST_UNIFORM, Budget
from .ascent import ascend, random_start
from .base import ByRow, Defense
from .sa_dqn import check_inner


@dataclass(frozen=True, eq=False)
class AdversarialTraining(Defense):
    """``(1 - strength) loss(x) + strength loss(x')``, with x' an observation of the ball that raises the loss.

    One step is FGSM's, of the whole budget. More are projected gradient ascent from a random start.

    Args:
        budget, strength, curriculum: as in ``Defense``. A strength of 1/2 gives clean and attacked observations equal
            weight; 1 uses attacked observations only.
        steps: steps of the ascent.

    Raises:
        ValueError: steps below 1.

    Source: Goodfellow, Shlens & Szegedy 2015, "Explaining and harnessing adversarial examples", section 6; for several
    steps Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks", equation 2.1. On the
    observations of agents: Pattanaik et al. 2018, "Robust deep reinforcement learning with adversarial attacks".
    """

    strength: ByRow = 0.5
    steps: int = 1
    name: ClassVar[str] = "adversarial_training"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_inner("pgd", self.steps)

    def penalty(self, network: Any, features: Tensor, budget: Budget, targets: Targets) -> Tensor:
        """Return the attacked loss minus the loss of every row, ``[S]``; arguments as in ``Defense.penalty``."""
        assert targets.loss is not None
        start = features if self.steps == 1 else random_start(features, budget, targets)
        attacked = ascend(targets.loss, features, budget, self.steps, start)
        return targets.loss(attacked) - targets.loss(features)


@dataclass(frozen=True, eq=False)
class GaussianAugmentation(Defense):
    """``(1 - strength) loss(x) + strength loss(x + epsilon scale n)``, with n standard normal.

    Epsilon is the standard deviation of the noise, in units of the budget's scale; the noise is cut at the bounds of
    observations. To second order this penalizes the curvature of the loss in x; for the squared error of a linear
    network it is weight decay of strength epsilon^2.

    Args:
        budget, strength, curriculum: as in ``Defense``; the norm has no effect.

    Source: Bishop 1995, "Training with noise is equivalent to Tikhonov regularization".
    """

    name: ClassVar[str] = "gaussian_augmentation"

    def penalty(self, network: Any, features: Tensor, budget: Budget, targets: Targets) -> Tensor:
        """Return the noisy loss minus the loss of every row, ``[S]``; arguments as in ``Defense.penalty``."""
        assert targets.loss is not None
        assert targets.uniform is not None
        numbers = targets.uniform(features.shape[-1]).clamp(min=SMALLEST_UNIFORM)
        normal = torch.special.ndtri(numbers).to(features.dtype)
        noisy = budget.cut(features + budget.per_example(features) * budget.extent(features) * normal)
        return targets.loss(noisy) - targets.loss(features)
