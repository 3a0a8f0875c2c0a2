"""Exhaustive search over a grid: the oracle that attacks in few dimensions are tested against."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rlkit.adversarial import Access, Budget, Victim
from rlkit.adversarial.attacks.best import Best
from rlkit.adversarial.attacks.best_of import worth
from rlkit.adversarial.budget import tiled

GRID_EXAMPLES = 2**16  # observations that the victim is asked about in one call


@dataclass(frozen=True)
class GridSearch:
    """Try every point of a grid over the budget.

    The grid holds all combinations of ``points`` values from -epsilon to epsilon for every feature, ``points^D``
    observations, each projected into the budget. With an odd number the truth is one of them.

    Raises:
        ValueError: fewer than two points.
    """

    points: int = 5
    access: ClassVar[Access] = "actions"

    def __post_init__(self) -> None:
        if self.points < 2:
            raise ValueError(f"points must be at least 2, got {self.points}")

    @property
    def name(self) -> str:
        """For example ``grid search 5``."""
        return f"grid search {self.points}"

    def noise_width(self, num_features: int) -> int:
        """None needed."""
        return 0

    def propose(
        self, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None = None, target: Tensor | None = None
    ) -> Tensor:
        """The point of the grid that is worth most; the truth where none is worth more."""
        own = victim.act(obs, True)
        best = Best(obs, worth(victim, obs, own, target))
        unit = budget.extent(obs).flatten()
        values = torch.linspace(-1.0, 1.0, self.points, dtype=obs.dtype, device=obs.device)
        axes = [values if extent > 0 else values[:1] * 0.0 for extent in unit.tolist()]
        at_once = max(GRID_EXAMPLES // own.numel(), 1)
        for chunk in _chunks(axes, at_once):
            copies = len(chunk)
            z = chunk.reshape(copies, *obs.shape[2:]).repeat_interleave(obs.shape[1], dim=0)  # [copies B, ...]
            truth, box = tiled(obs, copies), budget.tiled(copies)
            shown = box.project(truth, truth + z * box.extent(truth) * box.per_example(truth))
            wanted = None if target is None else tiled(target, copies)
            best = best.or_else(*Best(shown, worth(victim, shown, tiled(own, copies), wanted)).of_each(copies))
        return best.obs


def _chunks(axes: list[Tensor], size: int) -> Iterator[Tensor]:
    """All combinations of one value from each axis, at most ``size`` of them at a time, ``[size, D]``."""
    combinations = itertools.product(*(axis.tolist() for axis in axes))
    while chunk := list(itertools.islice(combinations, size)):
        yield axes[0].new_tensor(chunk)
