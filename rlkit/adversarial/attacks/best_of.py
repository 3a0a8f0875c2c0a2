"""The best of several attacks."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import get_args

from torch import Tensor

from ..budget import Budget
from ..checks import as_attacks
from ..objectives import margin
from ..victims.base import Access, Victim, scores_of
from .base import Attack, achieved
from .best import Best


def worth(victim: Victim, shown: Tensor, own: Tensor, target: Tensor | None) -> Tensor:
    """Rate shown observations, ``[S, B]``: positive where they succeed.

    The value is the lead of the target, or of the best other action. For a victim without scores it is 1 for a success
    and 0 otherwise.

    Args:
        victim: queried once.
        shown: observations ``[S, B, *observation]``.
        own: the victim's actions at the true observation, ``[S, B]``.
        target: actions that the attack aims at; None for any other than ``own``.
    """
    if not hasattr(victim, "scores"):
        return achieved(victim.act(shown, True), own, target).float()
    scores = scores_of(victim, shown)
    return margin(scores, own) if target is None else -margin(scores, target)


@dataclass(frozen=True)
class BestOf:
    """The best of several attacks and of the true observation, chosen per example.

    The best result has the largest lead; where the victim gives actions only, it is the first success. In every single
    step the result is at least as good as that of each attack. The return of a whole episode may still be higher.

    Args:
        attacks: one or more attacks.

    Raises:
        ValueError: there is no attack, or one is a name or a class.
    """

    attacks: tuple[Attack, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "attacks", as_attacks(self.attacks))
        if not self.attacks:
            raise ValueError("attacks must hold at least one attack, got none")

    @property
    def name(self) -> str:
        """``best of`` and the names of the attacks, with their number where one occurs several times."""
        counted = Counter(attack.name for attack in self.attacks)
        return f"best of {', '.join(name if n == 1 else f'{n} x {name}' for name, n in counted.items())}"

    @property
    def access(self) -> Access:
        """The access that the most demanding attack needs; at least actions, which compare them."""
        levels = get_args(Access)
        return max(("actions", *(attack.access for attack in self.attacks)), key=levels.index)

    def noise_width(self, num_features: int) -> int:
        """Return the sum over the attacks, each of which has its own numbers."""
        return sum(attack.noise_width(num_features) for attack in self.attacks)

    def propose(
        self, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None, target: Tensor | None = None
    ) -> Tensor:
        """Return the best projected proposal, or the true observation; arguments as in ``Attack.propose``."""
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
