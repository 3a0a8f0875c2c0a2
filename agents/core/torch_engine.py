"""The reference engine: plain torch on any device, of any network, with any terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .agent import Agent


class Engine(Protocol):
    """An engine makes the iterations of an agent. It is chosen once, when the agent is made."""

    name: str  # "torch" or "compiled"
    reason: str  # why it is not the compiled one; "" for that

    def iteration(self, agent: Agent) -> None:
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

    def iteration(self, agent: Agent) -> None:
        """Collect one batch of experience and learn from it."""
        agent.torch_iteration()

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"{self.name} ({self.reason})"
