"""The same world with another reward."""

from __future__ import annotations

from collections.abc import Callable

from .dynamics import Array, Dynamics, DynamicsWrapper

Reward = Callable[[Array, Array, Array, Array], Array]  # state, action, next state, terminated -> reward [...]


class RewardOverride(DynamicsWrapper):
    """``dynamics`` with their reward replaced; everything else stays the same to the bit.

    Args:
        dynamics: the world.
        reward: reward of state ``[..., k]``, action ``[...]``, next state ``[..., k]`` and terminated ``[...]`` ->
            ``[...]`` floating.
    """

    def __init__(self, dynamics: Dynamics, reward: Reward) -> None:
        super().__init__(dynamics)
        self.reward = reward

    def transition(self, state: Array, action: Array, u: Array) -> tuple[Array, Array, Array]:
        """Step the inner dynamics and pay ``reward``; arguments as in ``Dynamics.transition``."""
        next_state, _, terminated = self.dynamics.transition(state, action, u)
        return next_state, self.reward(state, action, next_state, terminated), terminated
