"""Environments: dynamics defined once, stepped as tensors, as a ``gymnasium.Env`` and as a ``VectorEnv``."""

if __name__ != "rlkit.envs":
    raise ImportError(f"import rlkit.envs, not {__name__}: this folder is a part of the package rlkit")


from .adversary import AdversaryDynamics
from .batched import BatchedEnv
from .cartpole import CartPole
from .dynamics import Dynamics
from .foreign import ForeignEnv
from .gridworld import GridWorld
from .make import find_dynamics, make, registered_id
from .maps import Tile, random_map
from .rewarded import RewardOverride
from .tabular import TabularDynamics

__all__ = [
    "AdversaryDynamics",
    "BatchedEnv",
    "CartPole",
    "Dynamics",
    "ForeignEnv",
    "GridWorld",
    "RewardOverride",
    "TabularDynamics",
    "Tile",
    "find_dynamics",
    "make",
    "random_map",
    "registered_id",
]
