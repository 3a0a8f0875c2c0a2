"""The table of algorithms, and reading an agent of any of them from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from rlkit.types import Term

from .a2c import A2C
from .core.agent import Agent
from .core.compiled_engine import EngineName
from .core.env_source import EnvSource
from .core.serialization import CHECKPOINT, POLICY, read_header
from .dqn import DQN
from .ppo import PPO
from .reinforce import REINFORCE
from .tabular import TabularQ
from .wocar import WocaRDQN

# The algorithms by name. A class holds its configuration with the defaults (``config_class``) and its ``presets``.
_CLASSES: tuple[type[Agent], ...] = (DQN, A2C, PPO, REINFORCE, TabularQ, WocaRDQN)
ALGORITHMS = {agent.__name__: agent for agent in _CLASSES}


def load(path: str | Path, env: EnvSource | None = None, device: str | torch.device = "auto") -> Agent:
    """Read the agent that ``agent.save`` wrote, of any algorithm.

    Args:
        path: the file.
        env: the environment; required where the agent was not made from an id.
        device: "auto" selects a GPU if there is one, else the CPU.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is damaged, that is no agent, or of an algorithm that this version does not have.
    """
    return _algorithm(path, POLICY).load(path, env, device)


def resume(
    path: str | Path,
    env: EnvSource | None = None,
    device: str | torch.device = "auto",
    terms: Sequence[Term] = (),
    engine: EngineName | None = None,
) -> Agent:
    """Read the run that ``agent.checkpoint`` wrote, of any algorithm; see ``Agent.resume``.

    Args:
        path, env, device: as in ``load``.
        terms: those that the run was made with, in their order.
        engine: None for that of the run; see ``Agent.resume``.

    Raises:
        ValueError: terms of other names than those of the run, or its engine is not available here; others as of
            ``load``.
    """
    return _algorithm(path, CHECKPOINT).resume(path, env, device, terms, engine)


def _algorithm(path: str | Path, kind: str) -> type[Agent]:
    name = read_header(path, kind).get("algorithm")
    if not isinstance(name, str) or name not in ALGORITHMS:
        raise ValueError(
            f"{path} holds an agent of the algorithm {str(name)[:100]!r}; this version knows {', '.join(ALGORITHMS)}"
        )
    return ALGORITHMS[name]
