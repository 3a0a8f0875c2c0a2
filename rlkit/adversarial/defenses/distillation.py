"""Distillation: a policy learns the softened scores of a teacher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from rlkit.arrays import as_tensor
from rlkit.exploration import mask_logits
from rlkit.losses import kl_divergence
from rlkit.types import Targets

from .base import ByRow, by_row, not_negative


@dataclass(frozen=True, eq=False)
class Distillation:
    """``strength T^2 mean KL(softmax(t / T) | softmax(z / T))`` of a teacher's scores t and the learner's z.

    T = 1 is the divergence of the policies. For T towards infinity the penalty approaches ``Var_a(t - z) / 2``, the
    squared error of centered scores. The factor T^2 keeps gradients of one size.

    Args:
        teacher: features ``[S, M, D]`` -> scores ``[S, M, A]``, such as ``agent.score_network`` of a trained agent with
            the same rows.
        temperature: T, one for all rows or one per row ``[S]``.
        strength: weight, one for all rows or one per row ``[S]``.

    Raises:
        ValueError: a temperature that is not positive, a strength that is negative, or at the first update scores of
            another shape.

    Source: Papernot et al. 2016, "Distillation as a defense to adversarial perturbations against deep neural networks";
    the limit: Hinton, Vinyals & Dean 2015, "Distilling the knowledge in a neural network", equation 4; on
    policies: Rusu et al. 2016, "Policy distillation".
    """

    teacher: Callable[[Tensor], Tensor]
    temperature: ByRow = 1.0
    strength: ByRow = 1.0
    name: ClassVar[str] = "distillation"

    def __post_init__(self) -> None:
        not_negative(self.strength, "strength")
        not_negative(self.temperature, "temperature")
        if (as_tensor(self.temperature, "temperature") == 0).any():
            raise ValueError("temperature must be positive, got 0")

    def __call__(self, network: Any, features: Tensor, targets: Targets) -> Tensor:
        """Return the penalty of every row, ``[S]``; arguments as in ``Defense.__call__``."""
        with torch.no_grad():
            wanted = self.teacher(features)
        scores = network(features)
        if wanted.shape != scores.shape:
            raise ValueError(f"teacher must give {list(scores.shape)} like the network, got {list(wanted.shape)}")
        temperature = by_row(self.temperature, "temperature", features)
        strength = by_row(self.strength, "strength", features)
        softened = (log_softened(mask_logits(each, targets.action_mask), temperature) for each in (wanted, scores))
        return strength * temperature.square() * kl_divergence(*softened).mean(dim=1)


def log_softened(scores: Tensor, temperature: Tensor) -> Tensor:
    """Return ``log softmax(scores / T)`` of scores ``[S, M, A]`` and temperatures ``[S]``."""
    return torch.log_softmax(scores / temperature[:, None, None], dim=-1)
