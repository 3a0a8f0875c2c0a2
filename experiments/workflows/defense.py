"""The defense that a training has: its name and numbers, as data."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rlkit.adversarial import Budget, Curriculum, make_defense
from rlkit.types import Term


@dataclass(frozen=True)
class DefenseSettings:
    """A defense by its name, with one number for all seeds or one for each.

    Args:
        name: of ``rlkit.adversarial.APPLICABILITY``.
        epsilon: in units of the scale.
        strength: weight of the defense; empty for its default.
        scale: unit of epsilon, one number per feature or one for all; empty for raw units.
        ramp: fraction of training over which epsilon grows from 0.
    """

    name: str
    epsilon: tuple[float, ...]
    strength: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    ramp: float = 0.0

    def terms(self) -> tuple[Term, ...]:
        """Return the terms of the loss.

        Raises:
            ValueError: an unknown name, or numbers that the defense refuses.
        """
        epsilon = torch.tensor(self.epsilon, dtype=torch.float64)[:, None]
        scale = torch.tensor(self.scale or (1.0,), dtype=torch.float64)
        strength = torch.tensor(self.strength, dtype=torch.float64) if self.strength else None
        if strength is not None and len(strength) == 1:
            strength = strength[0]
        return (make_defense(self.name, Budget(epsilon, scale=scale), strength, Curriculum(end=self.ramp)),)
