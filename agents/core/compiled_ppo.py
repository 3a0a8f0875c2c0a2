"""PPO on the compiled engine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rlkit.compiled.losses import PPONumbers

from .compiled_on_policy import ActorCriticIteration

LOGGED = ("loss", "policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "gradient_norm")


class PPOIteration(ActorCriticIteration):
    """The views of a PPO agent, and one iteration on them."""

    def numbers(self) -> PPONumbers:
        """Return the numbers of ``rlkit.agents.ppo.ppo_loss``."""
        config, per_row, scheduled = self.agent.config, self.agent.per_row, self.agent.training_state.scheduled
        limited = config.clip_range_vf is not None
        clip_range = scheduled(per_row.clip_range, config.clip_range_schedule)
        clip_range_vf = scheduled(per_row.clip_range_vf, config.clip_range_schedule) if limited else clip_range
        coefficients = self.per_row["ent_coef"], self.per_row["vf_coef"]
        return PPONumbers(clip_range.numpy(), clip_range_vf.numpy(), limited, *coefficients)

    def order(self, count: int) -> NDArray[np.int64]:
        """Return ``n_epochs`` random partitions of each row's batch, by the numbers that the torch path draws."""
        agent, config = self.agent, self.agent.config
        if config.batch_size == count:
            return np.tile(np.arange(count), (agent.num_seeds, config.n_epochs, 1))
        orders = agent._shuffle.take(config.n_epochs).numpy().argsort(axis=2)  # [n_epochs, S, N]
        return np.ascontiguousarray(orders.swapaxes(0, 1)).reshape(agent.num_seeds, -1, config.batch_size)

    def __call__(self) -> None:
        """Play ``n_steps`` steps of every copy, then make ``n_epochs`` passes over them in minibatches."""
        losses, explained = self.learn(self.play(self.agent.config.n_steps))
        means = self.agent.training_state.means
        means.add(explained_variance=explained)
        means.extend(**dict(zip(LOGGED, losses.unbind(2), strict=True)))


Iteration = PPOIteration  # see ``CompiledAlgorithm``
