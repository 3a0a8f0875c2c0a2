"""Weight decay: half the square of the parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from rlkit.types import Targets

from .base import ByRow, by_row, not_negative


@dataclass(frozen=True, eq=False)
class WeightDecay:
    """``strength / 2 |theta|_2^2`` of the score network, biases included, as torch's ``weight_decay``.

    Its gradient is ``strength theta``. Adam rescales it like every gradient; decoupled decay is something else
    (Loshchilov & Hutter 2019).

    Args:
        strength: weight, one for all rows or one per row ``[S]``.

    Raises:
        ValueError: a strength that is negative or not finite.

    Source: Krogh & Hertz 1992, "A simple weight decay can improve generalization".
    """

    strength: ByRow
    name: ClassVar[str] = "weight_decay"

    def __post_init__(self) -> None:
        not_negative(self.strength, "strength")

    def __call__(self, network: Any, features: Tensor, targets: Targets) -> Tensor:
        """Return the penalty of every row, ``[S]``; arguments as in ``Defense.__call__``."""
        squares = torch.stack([parameter.square().flatten(1).sum(dim=1) for parameter in network.parameters])
        return 0.5 * by_row(self.strength, "strength", features) * squares.sum(dim=0)
