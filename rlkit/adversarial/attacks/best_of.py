"""The best of several attacks, and the best of a grid of points."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, get_args

import torch
from torch import Tensor

from ..budget import Budget, tiled
from ..objectives import margin
from ..victims.base import Access, Victim, scores_of
from .base import Attack, achieved
from .best import Best

GRID_EXAMPLES = 2**16  # that the victim is asked about in one call


def worth(victim: Victim, shown: Tensor, own: Tensor, target: Tensor | None) -> Tensor:
    """What showing something is worth, ``[S, B]``: positive if it succeeds.

    By how much the target or the best other action leads; of a victim without scores 1 for a success and 0 for none.

    Args:
        victim: asked once.
        shown: ``[S, B, *observation]``.
        own: the victim's actions at the truth ``[S, B]``.
        target: the actions wanted of it; None for any other than ``own``.
    """
    if not hasattr(victim, "scores"):
        return achieved(victim.act(shown, True), own, target).float()
    scores = scores_of(victim, shown)
    return margin(scores, own) if target is None else -margin(scores, target)


@dataclass(frozen=True)
class BestOf:
    """For every example the best of several attacks and of doing nothing.

    Best is what leads by most, or at all where the victim gives actions only. So in every single step it is at least
    as good as each of its attacks; the return at the end of an episode need not be.

    Raises:
        ValueError: no attack.
    """

    attacks: tuple[Attack, ...]

    def __post_init__(self) -> None:
        if not self.attacks:
            raise ValueError("attacks must hold at least one attack, got none")

    @property
    def name(self) -> str:
        """``best of`` and the attacks' names, with their number where one is tried several times."""
        counted = Counter(attack.name for attack in self.attacks)
        return f"best of {', '.join(name if n == 1 else f'{n} x {name}' for name, n in counted.items())}"

    @property
    def access(self) -> Access:
        """The most that one of them asks for, and actions to compare them."""
        levels = get_args(Access)
        return max(("actions", *(attack.access for attack in self.attacks)), key=levels.index)

    def noise_width(self, num_features: int) -> int:
        """Every attack has numbers of its own."""
        return sum(attack.noise_width(num_features) for attack in self.attacks)

    def propose(
        self, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None, target: Tensor | None = None
    ) -> Tensor:
        """The best, already within the budget; the truth where nothing is better."""
        own = victim.act(obs, True)
        best = Best(obs, worth(victim, obs, own, target))
        used = 0
        for attack in self.attacks:
            width = attack.noise_width(math.prod(obs.shape[2:]))
            numbers = None if u is None or width == 0 else u[..., used : used + width]
            used += width
            proposed = attack.propose(victim, obs, budget, numbers, target)
            shown = budget.project(obs, proposed)
            best = best.or_else(shown, worth(victim, shown, own, target))
        return best.obs


@dataclass(frozen=True)
class GridSearch:
    """Every point of a grid over the budget: the oracle that attacks in few dimensions are tested against.

    ``points`` values from -epsilon to epsilon for every feature, all combinations, each projected into the budget; with
    an odd number the truth is one of them.

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
