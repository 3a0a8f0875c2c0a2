"""Value-aware attacks: the action that costs the victim most, among those that it can be made to choose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..budget import Budget
from ..victims.base import Access, Victim, scores_of
from .base import Attack
from .best import Best
from .gradient import PGD

ActionValues = Callable[[Tensor], Tensor]  # true observations [S, B, *observation] -> the victim's return [S, B, A]


@dataclass(frozen=True, eq=False)
class ValueAware:
    """Make the victim choose the action of the lowest value among the actions that can be caused.

    A targeted attack is tried for every action. Its result counts by the action that the victim really chooses there.
    The truth is a candidate too, so no attack is made where the victim's own action is the worst one. Attacks on the
    margin, in contrast, may cause an action that is as good as the victim's own.

    Args:
        values: the return that the victim can expect after each action; the smallest is caused. Values under the
            worst case that follows are best. None for the victim's scores, if they are action values.
        provoke: the targeted attack, without random numbers.
        label: name in reports.

    Source: Pattanaik et al. 2018, "Robust deep reinforcement learning with adversarial attacks", algorithm 2, for the
    victim's own action values; Zhang et al. 2020, "Robust deep reinforcement learning against adversarial perturbations
    on state observations", section 3.1, for values under the worst case.
    """

    values: ActionValues | None = None
    provoke: Attack = field(default_factory=lambda: PGD(10, every_action=False))
    label: str = "value-aware"

    @property
    def name(self) -> str:
        """The label."""
        return self.label

    @property
    def access(self) -> Access:
        """That of ``provoke``; at least scores where they are the values."""
        asked = self.provoke.access
        return "scores" if self.values is None and asked in ("nothing", "actions") else asked

    def noise_width(self, num_features: int) -> int:
        """Return 0: the attack is deterministic."""
        return 0

    def propose(
        self, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None = None, target: Tensor | None = None
    ) -> Tensor:
        """Return the shown observations; arguments as in ``Attack.propose``.

        Raises:
            ValueError: a target is given, the values have another shape than ``[S, B, A]``, or there are none and the
                victim's scores are logits.
        """
        if target is not None:
            raise ValueError("a value-aware attack chooses its own targets: pass none, or use a targeted attack")
        values = self._values(victim, obs)  # [S, B, A]

        def loss(shown: Tensor) -> Tensor:
            return -values.gather(-1, victim.act(shown, True)[..., None])[..., 0]

        best = Best(obs, loss(obs))
        for action in range(values.shape[-1]):
            aim = torch.full(obs.shape[:2], action, dtype=torch.int64, device=obs.device)
            shown = budget.project(obs, self.provoke.propose(victim, obs, budget, None, aim))
            best = best.or_else(shown, loss(shown))
        return best.obs

    def _values(self, victim: Victim, obs: Tensor) -> Tensor:
        if self.values is None:
            if not getattr(victim, "scores_are_values", False):
                raise ValueError("the victim's scores are no action values: pass values to ValueAware")
            return scores_of(victim, obs)
        values = self.values(obs)
        if values.dim() != 3 or values.shape[:2] != obs.shape[:2]:
            raise ValueError(f"values must be [S, B, A] of observations {list(obs.shape)}, got {list(values.shape)}")
        return values
