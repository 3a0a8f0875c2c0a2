"""The divergence of SA-PPO: no observation within the ball may change the policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from rlkit.exploration import mask_logits
from rlkit.losses import kl_divergence, log_softmax
from rlkit.types import Targets

from ..budget import Budget
from .ascent import ascend_to_best, random_start
from .base import Defense, Serves
from .sa_dqn import check_inner


@dataclass(frozen=True, eq=False)
class SAPPOKL(Defense):
    """``strength mean max_x' KL(pi(.|x) | pi(.|x'))``, x' found by projected gradient ascent.

    The ascent starts at a random point, because the gradient of the divergence at x is zero. The penalty is
    differentiated in both policies.

    Args:
        budget, strength, curriculum: as in ``Defense``.
        steps: steps of the ascent.

    Raises:
        ValueError: steps below 1; at the first update an agent of action values.

    Source: Zhang et al. 2020, "Robust deep reinforcement learning against adversarial perturbations on state
    observations", the regularizer of SA-PPO for categorical policies.
    """

    steps: int = 5
    name: ClassVar[str] = "sa_ppo_kl"
    serves: ClassVar[Serves] = "policies"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_inner("pgd", self.steps)

    def penalty(self, network: Any, features: Tensor, budget: Budget, targets: Targets) -> Tensor:
        """Return the mean divergence of every row, ``[S]``; arguments as in ``Defense.penalty``."""

        def log_policy(logits: Tensor) -> Tensor:
            return log_softmax(mask_logits(logits, targets.action_mask))

        log_p = log_policy(network(features))
        fixed = log_p.detach()

        def divergence(logits: Tensor) -> Tensor:
            return kl_divergence(fixed, log_policy(logits))

        start = random_start(features, budget, targets)
        worst = ascend_to_best(network, divergence, features, budget, self.steps, start)
        return kl_divergence(log_p, log_policy(network(worst))).mean(dim=1)
