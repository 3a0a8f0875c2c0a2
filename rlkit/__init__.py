"""Reinforcement learning whose numbers can be checked.

The package is mapped: ``rlkit.envs``, ``rlkit.agents`` and ``rlkit.experiments`` live beside this folder in the
source tree and inside it once installed. This module exports the version and registers the gymnasium ids.
"""

from __future__ import annotations

from pathlib import Path

import gymnasium

__all__ = ["__version__"]

__version__ = "0.1.0"

_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "pyproject.toml").is_file() and (_checkout / "envs" / "dynamics.py").is_file():
    # In a source tree the sibling folders are part of this package. Without this line the repository root on
    # sys.path would shadow an installed rlkit by the folder of the same name and lose the other three.
    __path__.append(str(_checkout))

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
