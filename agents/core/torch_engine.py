"""The reference engine: plain torch on any device, of any network, with any terms."""

from __future__ import annotations

import logging
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


class Engine:
    """An engine makes the iterations of an agent. It is chosen once, when the agent is made."""

    name: str  # "torch", "compiled" or "captured"
    reason = ""  # why it is not the compiled one
    announced = False  # whether the first iteration says the reason

    def iteration(self, agent: TrainableAgent) -> None:
        """Collect one batch of experience and learn from it; several times if none ends with a row of the log."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"{self.name} ({self.reason})" if self.reason else self.name


class TorchEngine(Engine):
    """Runs the algorithm as its file states it.

    Args:
        reason: why the compiled engine is not used.
        announced: whether the first iteration says the reason, once in a process for each kind of agent.
    """

    name = "torch"

    def __init__(self, reason: str, announced: bool = False) -> None:
        self.reason = reason
        self.announced = announced

    def iteration(self, agent: TrainableAgent) -> None:
        """Collect one batch of experience and learn from it."""
        if self.announced:
            self.announced = False
            announce_torch(type(agent).__name__, self.reason)
        agent.torch_iteration()


_SAID: set[tuple[str, str]] = set()  # what this process has said


def announce_torch(algorithm: str, reason: str) -> None:
    """Say that an agent trains on torch and why, once in a process.

    The message goes to the logger "rlkit", which writes to the standard error unless told otherwise.
    """
    if (algorithm, reason) not in _SAID:
        _SAID.add((algorithm, reason))
        logging.getLogger("rlkit").warning(
            "%s trains on the torch engine, which is slower than the compiled one: %s", algorithm, reason
        )
