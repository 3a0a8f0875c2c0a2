"""Reinforcement learning whose numbers can be checked.

In the source tree ``rlkit.envs``, ``rlkit.agents`` and ``rlkit.experiments`` are links to the folders beside this one.
This module has the version and registers ``rlkit/CartPole-v1`` and ``rlkit/GridWorld-v0`` with gymnasium, which has no
other way to find them: ``gymnasium.make("rlkit:rlkit/GridWorld-v0")`` imports rlkit first.
"""

from __future__ import annotations

import gymnasium

__all__ = ["__version__"]

__version__ = "0.1.0"

gymnasium.register(
    id="rlkit/CartPole-v1",
    entry_point="rlkit.envs.gym_env:CartPoleEnv",
    vector_entry_point="rlkit.envs.gym_env:make_cartpole_vector",
    max_episode_steps=500,
)
gymnasium.register(
    id="rlkit/GridWorld-v0",
    entry_point="rlkit.envs.gym_env:GridWorldEnv",
    vector_entry_point="rlkit.envs.gym_env:make_gridworld_vector",
)
