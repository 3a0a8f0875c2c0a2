"""The defense that a training has, as data: its name and numbers, or the policy that is distilled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

import rlkit.agents
from rlkit.adversarial import Budget, Curriculum, Distillation, make_defense
from rlkit.types import Term


@dataclass(frozen=True)
class DefenseSettings:
    """A defense by its name, with one number for all seeds or one for each.

    Args:
        name: a name in ``rlkit.adversarial.APPLICABILITY``.
        epsilon: in units of the scale.
        strength: weight of the defense; empty for its default.
        scale: unit of epsilon, one number per feature or one for all; empty for raw units.
        ramp: fraction of training over which epsilon grows from 0.
        numbers: further numbers of the defense by name, such as ``limit``.
    """

    name: str
    epsilon: tuple[float, ...]
    strength: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    ramp: float = 0.0
    numbers: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def terms(self, device: str = "cpu") -> tuple[Term, ...]:
        """Return the terms of the loss, which compute where their arguments are, on any ``device``.

        Raises:
            ValueError: an unknown name, or numbers that the defense refuses.
        """
        epsilon = torch.tensor(self.epsilon, dtype=torch.float64)[:, None]
        scale = torch.tensor(self.scale or (1.0,), dtype=torch.float64)
        strength = _one_or_each(self.strength) if self.strength else None
        further = {name: _one_or_each(each) for name, each in self.numbers.items()}
        return (make_defense(self.name, Budget(epsilon, scale=scale), strength, Curriculum(end=self.ramp), **further),)


@dataclass(frozen=True)
class DistillationSettings:
    """Distillation of the policy in a file, with one number for all seeds or one for each.

    Args:
        teacher: the file; its rows are those of the training.
        temperature: T.
        strength: weight of the penalty.
    """

    teacher: str
    temperature: tuple[float, ...]
    strength: tuple[float, ...]

    def terms(self, device: str = "cpu") -> tuple[Term, ...]:
        """Return the terms of the loss, with the teacher on a device.

        Raises:
            FileNotFoundError: no such file.
            ValueError: a file that is damaged, or numbers that distillation refuses.
        """
        teacher = rlkit.agents.load(self.teacher, device=device).score_network
        return (Distillation(teacher, _one_or_each(self.temperature), _one_or_each(self.strength)),)


def _one_or_each(numbers: tuple[float, ...]) -> Tensor:
    """One number for all seeds, ``[]``, or one for each, ``[S]``."""
    given = torch.tensor(numbers, dtype=torch.float64)
    return given[0] if len(given) == 1 else given
