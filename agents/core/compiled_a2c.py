"""A2C on the compiled engine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rlkit.compiled.losses import A2CNumbers
from rlkit.exploration import mask_logits
from rlkit.losses import kl_divergence, log_softmax
from rlkit.types import Transition

from ..a2c import KL_EVERY
from .compiled_on_policy import ActorCriticIteration
from .on_policy import Losses, flat_action_mask


class A2CIteration(ActorCriticIteration):
    """The views of an A2C agent, and one iteration on them."""

    _order: NDArray[np.int64] | None = None

    def numbers(self) -> A2CNumbers:
        """Return the numbers of ``rlkit.agents.a2c.a2c_loss``."""
        return A2CNumbers(self.per_row["ent_coef"], self.per_row["vf_coef"])

    def order(self, count: int) -> NDArray[np.int64]:
        """Return the whole segment as one minibatch."""
        if self._order is None:
            self._order = np.tile(np.arange(count), (self.agent.num_seeds, 1, 1))
        return self._order

    def __call__(self) -> None:
        """Play ``n_steps`` steps of every copy, then make one update on all of them."""
        agent, means = self.agent, self.agent.training_state.means
        played = self.play(agent.config.n_steps)
        before = self.log_p(played) if agent._updates % KL_EVERY == 0 else None
        losses, explained = self.learn(played)
        if before is not None:
            means.add(kl=kl_divergence(before, self.log_p(played)).mean(dim=1))
        agent._updates += 1
        loss, policy_loss, value_loss, entropy, _, _, norm = losses[:, 0].unbind(1)
        means.add(Losses(loss, policy_loss, value_loss, entropy), gradient_norm=norm, explained_variance=explained)

    def log_p(self, played: Transition) -> Tensor:
        """Compute log pi of a segment, ``[S, N, A]``."""
        logits = self.agent.actor_critic.policy(self.agent.features(played.obs).flatten(1, 2))
        return log_softmax(mask_logits(logits, flat_action_mask(played)))


Iteration = A2CIteration  # see ``CompiledAlgorithm``
