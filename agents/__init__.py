"""Agents: each file is one algorithm on the seed axis."""

from .a2c import A2C
from .agent import Agent
from .dqn import DQN
from .load import load, resume
from .ppo import PPO
from .reinforce import REINFORCE
from .tabular import TabularQ

__all__ = ["A2C", "DQN", "PPO", "REINFORCE", "Agent", "TabularQ", "load", "resume"]
