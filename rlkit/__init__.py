"""Reinforcement learning whose numbers can be checked.

In the source tree ``rlkit.envs``, ``rlkit.agents`` and ``rlkit.experiments`` are links to the folders beside this one.
This module exports the version and registers the gymnasium ids.
"""

from __future__ import annotations

import gymnasium

__all__ = ["__version__"]

__version__ = "0.1.0"

gymnasium.register(
    id="rlkit/CartPole-v1",
    entry_point="rlkit.envs.gym_env:make_cartpole",
    vector_entry_point="rlkit.envs.gym_env:make_cartpole_vector",
    max_episode_steps=500,
)
gymnasium.register(
    id="rlkit/GridWorld-v0",
    entry_point="rlkit.envs.gym_env:make_gridworld",
    vector_entry_point="rlkit.envs.gym_env:make_gridworld_vector",
)
