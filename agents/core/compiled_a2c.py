"""A2C on the compiled engine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from rlkit.compiled.learn import OnPolicyLog
from rlkit.compiled.losses import A2CNumbers

from ..a2c import kl_is_due
from .compiled_on_policy import ActorCriticIteration


class A2CIteration(ActorCriticIteration):
    """The views of an A2C agent, and iterations on them; a minibatch is the whole segment."""

    def numbers(self, remaining: Sequence[float]) -> A2CNumbers:
        """Return the numbers of ``rlkit.agents.a2c.a2c_loss``."""
        return A2CNumbers(self.per_row["ent_coef"], self.per_row["vf_coef"])

    def measures_kl(self, count: int) -> NDArray[np.bool_]:
        """See ``ActorCriticIteration``; every ``KL_EVERY`` updates."""
        measures: NDArray[np.bool_] = kl_is_due(self.agent._updates + np.arange(count))
        return measures

    def write_log(self, log: OnPolicyLog) -> None:
        """Log the updates, and count them."""
        agent, means = self.agent, self.agent.training_state.means
        for k in np.flatnonzero(self.measures_kl(len(log.kl))):
            means.add(kl=torch.from_numpy(log.kl[k]))
        loss, policy_loss, value_loss, entropy, _, _, norm = torch.from_numpy(log.losses).unbind(3)
        losses = {"loss": loss, "policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy}
        explained = torch.from_numpy(log.explained[..., None])
        means.extend_repeatedly(**losses, gradient_norm=norm, explained_variance=explained)
        agent._updates += len(log.kl)
