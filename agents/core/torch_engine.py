"""The reference engine: plain torch on any device, of any network, with any terms."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Protocol

import torch

from rlkit.types import Env

from .terms import Terms
from .training_state import HasParameters, TrainingState


class TrainableAgent(Protocol):
    """The parts of an agent that an engine uses."""

    device: torch.device
    dtype: torch.dtype
    env: Env
    normalizer: Any
    terms: Terms
    training_state: TrainingState

    @property
    def networks(self) -> Mapping[str, HasParameters]:
        """By name, what has parameters."""
        ...

    def torch_iteration(self) -> None:
        """Collect one batch of experience and learn from it, in plain torch."""
        ...

    def branch(self) -> Hashable:
        """Return what the host will decide in the next iteration."""
        ...


class Engine(Protocol):
    """An engine makes the iterations of an agent. It is chosen once, when the agent is made."""

    name: str  # "torch", "compiled" or "captured"
    reason: str  # why it is not the compiled one; "" for that

    def iteration(self, agent: TrainableAgent) -> None:
        """Collect one batch of experience and learn from it; several times if none ends with a row of the log."""
        ...


class TorchEngine:
    """Runs the algorithm as its file states it.

    Args:
        reason: why the compiled engine is not used.
    """

    name = "torch"

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def iteration(self, agent: TrainableAgent) -> None:
        """Collect one batch of experience and learn from it."""
        agent.torch_iteration()

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"{self.name} ({self.reason})"
