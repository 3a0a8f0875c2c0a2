"""Agents: each file is one algorithm on the seed axis."""

from .agent import Agent
from .dqn import DQN
from .load import load

__all__ = ["DQN", "Agent", "load"]
