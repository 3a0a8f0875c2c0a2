"""Agents: each file is one algorithm on the seed axis."""

if __name__ != "rlkit.agents":
    raise ImportError(f"import rlkit.agents, not {__name__}: this folder is a part of the package rlkit")


from .a2c import A2C
from .checkpoints import Checkpoints, Resumed
from .core.agent import Agent
from .core.compiled_engine import EngineName
from .core.progress import progress
from .dqn import DQN
from .load import ALGORITHMS, load, resume
from .ppo import PPO
from .reinforce import REINFORCE
from .tabular import TabularQ
from .wocar import WocaRDQN

__all__ = [
    "A2C",
    "ALGORITHMS",
    "DQN",
    "PPO",
    "REINFORCE",
    "Agent",
    "Checkpoints",
    "EngineName",
    "Resumed",
    "TabularQ",
    "WocaRDQN",
    "load",
    "progress",
    "resume",
]
