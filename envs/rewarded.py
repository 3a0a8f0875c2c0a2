"""The same world with another purpose: dynamics that pay a reward of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .dynamics import Array, Dynamics

Reward = Callable[[Array, Array, Array, Array], Array]  # state, action, next state, terminated -> reward [...]


class RewardOverride:
    """``dynamics`` with their reward replaced; everything that happens in them is the same, to the bit.

    Args:
        dynamics: the world.
        reward: of state ``[..., k]``, action ``[...]``, next state ``[..., k]`` and terminated ``[...]`` -> ``[...]``
            floating.
    """

    def __init__(self, dynamics: Dynamics, reward: Reward) -> None:
        self.dynamics, self.reward = dynamics, reward
        self.observation_space, self.action_space = dynamics.observation_space, dynamics.action_space
        self.initial_noise, self.transition_noise = dynamics.initial_noise, dynamics.transition_noise
        self.max_steps = dynamics.max_steps
        self.render_modes = getattr(dynamics, "render_modes", ())

    def initial(self, u: Array) -> Array:
        """First state of an episode."""
        return self.dynamics.initial(u)

    def transition(self, state: Array, action: Array, u: Array) -> tuple[Array, Array, Array]:
        """One step, paid by ``reward``."""
        next_state, _, terminated = self.dynamics.transition(state, action, u)
        return next_state, self.reward(state, action, next_state, terminated), terminated

    def observe(self, state: Array) -> Array:
        """What is seen of a state."""
        return self.dynamics.observe(state)

    def render(self, state: Array, mode: str) -> Any:
        """The world as its dynamics show it."""
        dynamics: Any = self.dynamics
        return dynamics.render(state, mode)
