"""The hinge of SA-DQN: no observation within the ball may make another action greedy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from rlkit.exploration import mask_logits
from rlkit.types import Targets

from ..budget import Budget
from ..objectives import lead
from .ascent import ascend_to_best, random_start
from .base import Defense, Serves
from .interval import upper_leads

Inner = Literal["interval", "pgd"]  # how the maximum over the ball is found: bounded from above, or from below


def check_inner(method: Inner, steps: int) -> None:
    """Refuse an unknown method of the inner maximization, or fewer steps than one.

    Raises:
        ValueError: such an argument.
    """
    if method not in get_args(Inner):
        raise ValueError(f"method must be one of {', '.join(get_args(Inner))}, got {method!r}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")


@dataclass(frozen=True, eq=False)
class SADQNHinge(Defense):
    """``strength mean max(max_x' max_(b != a) Q(x', b) - Q(x', a), -margin)`` with a the greedy action at x.

    Args:
        budget, strength, curriculum: as in ``Defense``.
        margin: c, a lead of the greedy action that is enough, in units of action values.
        method: "interval" bounds the leads over the ball from above, "pgd" finds them by gradient
            ascent, one for each other action.
        steps: steps of "pgd".

    Raises:
        ValueError: a margin that is negative, an unknown method or steps below 1; at the first update a policy, or with
            "interval" a network with convolutions or a radial basis.

    Source: Zhang et al. 2020, "Robust deep reinforcement learning against adversarial perturbations on state
    observations", the regularizer of SA-DQN.
    """

    margin: float = 1.0
    method: Inner = "interval"
    steps: int = 10
    name: ClassVar[str] = "sa_dqn_hinge"
    serves: ClassVar[Serves] = "values"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_inner(self.method, self.steps)
        if not self.margin >= 0:
            raise ValueError(f"margin must not be negative, got {self.margin}")

    def penalty(self, network: Any, features: Tensor, budget: Budget, targets: Targets) -> Tensor:
        """Return the mean hinge of every row, ``[S]``; arguments as in ``Defense.penalty``."""
        mask = targets.action_mask
        with torch.no_grad():
            q = mask_logits(network(features), mask)
        own, num_actions = q.argmax(dim=-1), q.shape[-1]  # [S, M]
        if self.method == "interval":
            leads = mask_logits(upper_leads(network, features, budget, own), mask)
            itself = torch.nn.functional.one_hot(own, num_actions).bool()
            largest = leads.masked_fill(itself, -torch.inf).amax(dim=-1)
        else:

            def lead_over_own(q: Tensor, b: Tensor) -> Tensor:
                return lead(mask_logits(q, mask), b, own)

            start, found = random_start(features, budget, targets), []
            for k in range(1, num_actions):
                lead_of = partial(lead_over_own, b=(own + k) % num_actions)
                found.append(lead_of(network(ascend_to_best(network, lead_of, features, budget, self.steps, start))))
            largest = torch.stack(found).amax(dim=0)
        return largest.clamp(min=-self.margin).mean(dim=1)
