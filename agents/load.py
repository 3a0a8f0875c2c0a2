"""Reading an agent without knowing which it is."""

from __future__ import annotations

from pathlib import Path

import torch

from .a2c import A2C
from .core.agent import Agent
from .core.env_source import EnvSource
from .core.serialization import CHECKPOINT, POLICY, read_header
from .dqn import DQN
from .ppo import PPO
from .reinforce import REINFORCE
from .tabular import TabularQ

# The algorithms by name. A class holds its configuration with the defaults (``config_class``) and its ``presets``.
ALGORITHMS: dict[str, type[Agent]] = {agent.__name__: agent for agent in (DQN, A2C, PPO, REINFORCE, TabularQ)}


def load(path: str | Path, env: EnvSource | None = None, device: str | torch.device = "auto") -> Agent:
    """The agent in a file that ``agent.save`` wrote, of whichever algorithm.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a whole agent's file, or of an algorithm that this version does not have.
    """
    return _algorithm(path, POLICY).load(path, env, device)


def resume(path: str | Path, env: EnvSource | None = None, device: str | torch.device = "auto") -> Agent:
    """The run in a file that ``agent.checkpoint`` wrote, of whichever algorithm; errors as of ``load``."""
    return _algorithm(path, CHECKPOINT).resume(path, env, device)


def _algorithm(path: str | Path, kind: str) -> type[Agent]:
    name = read_header(path, kind)["algorithm"]
    if name not in ALGORITHMS:
        raise ValueError(f"{path} holds a {name!r}; this version knows {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]
