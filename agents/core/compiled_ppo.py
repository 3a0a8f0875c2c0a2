"""PPO on the compiled engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlkit.compiled.learn import OnPolicyLog
from rlkit.compiled.losses import PPONumbers

from .compiled_iterations import scheduled
from .compiled_on_policy import ActorCriticIteration

LOGGED = ("loss", "policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "gradient_norm")


class PPOIteration(ActorCriticIteration):
    """The views of a PPO agent, and iterations on them."""

    def __init__(self, agent: Any) -> None:
        self.passes, self.size = agent.config.n_epochs, agent.config.batch_size
        super().__init__(agent)

    def numbers(self, remaining: Sequence[float]) -> PPONumbers:
        """Return the numbers of ``rlkit.agents.ppo.ppo_loss``."""
        config, per_row = self.agent.config, self.agent.per_row
        limited = config.clip_range_vf is not None
        clip_range = scheduled(per_row.clip_range, config.clip_range_schedule, remaining)
        clip_range_vf = clip_range
        if limited:
            clip_range_vf = scheduled(per_row.clip_range_vf, config.clip_range_schedule, remaining)
        return PPONumbers(clip_range, clip_range_vf, limited, self.per_row["ent_coef"], self.per_row["vf_coef"])

    def order(self, count: int) -> NDArray[np.int64]:
        """Return ``n_epochs`` random partitions of each row's batch, by the numbers that the torch path draws."""
        if self.size == self.count:
            return super().order(count)
        order: NDArray[np.int64] = self.agent._shuffle.take(count * self.passes).numpy().argsort(axis=2)
        return order

    def write_log(self, log: OnPolicyLog) -> None:
        """Log every minibatch."""
        means = self.agent.training_state.means
        means.extend_repeatedly(explained_variance=torch.from_numpy(log.explained[..., None]))
        means.extend_repeatedly(**dict(zip(LOGGED, torch.from_numpy(log.losses).unbind(3), strict=True)))
