"""RADIAL: a loss on interval bounds of the scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from rlkit.types import Targets

from ..budget import Budget
from .base import ByRow, Defense
from .interval import interval_bounds


@dataclass(frozen=True, eq=False)
class RADIAL(Defense):
    """``strength L_adv`` of interval bounds of the scores over the ball.

    For action values L_adv is the weighted overlap ``mean sum_b d_b max(0, upper_b - lower_a + d_b / 2)``, with a the
    action taken and ``d_b = max(0, Q(s, a) - Q(s, b))`` held fixed. For policies L_adv is the algorithm's own loss at
    the worst logits: where the advantage is not negative, the lower bound of the action taken and the upper bounds of
    the others, else the reverse. Without an entropy bonus this bounds the loss over the ball from above.

    The published loss is ``kappa L + (1 - kappa) L_adv``, the same up to a factor for strength (1 - kappa) / kappa.

    Args:
        budget, strength, curriculum: as in ``Defense``; strength 0.25 is the published kappa of 0.8.

    Raises:
        ValueError: at the first update, a network with convolutions or a radial basis.

    Source: Oikarinen et al. 2021, "Robust deep reinforcement learning through adversarial loss": approach 2 for DQN,
    the strict bound of the loss for A3C and PPO.
    """

    strength: ByRow = 0.25
    name: ClassVar[str] = "radial"

    def penalty(self, network: Any, features: Tensor, budget: Budget, targets: Targets) -> Tensor:
        """Return L_adv of every row, ``[S]``; arguments as in ``Defense.penalty``."""
        lower, upper = interval_bounds(network, features, budget)
        if targets.advantage is None:
            with torch.no_grad():
                q = network(features)
            return overlap(q, lower, upper, targets.action, targets.action_mask)
        assert targets.loss_at_scores is not None
        return targets.loss_at_scores(worst_logits(lower, upper, targets.action, targets.advantage))


def overlap(q: Tensor, lower: Tensor, upper: Tensor, action: Tensor, action_mask: Tensor | None = None) -> Tensor:
    """Return the mean weighted overlap of the bounds with those of the action taken, ``[S]``; see ``RADIAL``.

    Args:
        q: action values, without gradients, ``[S, M, A]``.
        lower, upper: their bounds, ``[S, M, A]``.
        action: a, ``[S, M]``.
        action_mask: the allowed actions, ``[S, M, A]`` bool; None for all.
    """
    of_action = action[..., None]
    worse = (q.gather(-1, of_action) - q).clamp(min=0.0)
    if action_mask is not None:
        worse = torch.where(action_mask, worse, 0.0)
    common = (upper - lower.gather(-1, of_action) + 0.5 * worse).clamp(min=0.0)
    return (worse * common).sum(dim=-1).mean(dim=1)


def worst_logits(lower: Tensor, upper: Tensor, action: Tensor, advantage: Tensor) -> Tensor:
    """Return the logits within bounds at which log pi(a) is least where A >= 0, else largest: ``[S, M, A]``.

    Args:
        lower, upper: bounds of the logits, ``[S, M, A]``.
        action: a, ``[S, M]``.
        advantage: A, ``[S, M]``.
    """
    taken = torch.nn.functional.one_hot(action, lower.shape[-1]).bool()
    return torch.where(taken == (advantage >= 0)[..., None], lower, upper)
