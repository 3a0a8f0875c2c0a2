"""The compiled engine, and the choice between the engines.

What "auto" chooses depends on the configuration, the device and the presence of numba: never on the number of seeds, on
numbers that differ by row, on the length of a run or on what is compiled already.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch

from rlkit.compiled.threads import one_blas_thread
from rlkit.nn import MLP

from .captured import CapturedEngine, not_captured
from .torch_engine import Engine, TorchEngine, TrainableAgent

EngineName = Literal["auto", "compiled", "torch", "captured"]

# The compiled iteration of an algorithm, by the qualified name of its class: a module of this folder, which is imported
# when an agent of the algorithm is made, and a class in it. A subclass of the algorithm may change anything, so it runs
# on torch. The class takes an agent and makes views of it. Calling these collects a batch of experience and learns from
# it, several times if only the last one may end with a row of the log or with the training. The class may refuse agents
# by a function ``not_covered``.
ITERATIONS = {
    "rlkit.agents.a2c.A2C": ("compiled_a2c", "A2CIteration"),
    "rlkit.agents.dqn.DQN": ("compiled_dqn", "DQNIteration"),
    "rlkit.agents.ppo.PPO": ("compiled_ppo", "PPOIteration"),
    "rlkit.agents.reinforce.REINFORCE": ("compiled_reinforce", "REINFORCEIteration"),
}


class CompiledEngine(Engine):
    """Runs loops in machine code on the agent's own tensors, see ``rlkit.compiled``.

    Args:
        views_of: makes the algorithm's compiled iteration of an agent, a class of ``ITERATIONS``.
    """

    name = "compiled"

    def __init__(self, views_of: Callable[[TrainableAgent], Callable[[], None]]) -> None:
        self.views_of = views_of
        self._iteration: Callable[[], None] | None = None
        self._flats: tuple[int, ...] = ()

    def iteration(self, agent: TrainableAgent) -> None:
        """Collect one batch of experience and learn from it."""
        flats = tuple(network.flat.data_ptr() for network in agent.networks.values())
        if self._iteration is None or flats != self._flats:  # networks may be placed in other memory
            self._iteration, self._flats = self.views_of(agent), flats
        with torch.no_grad(), one_blas_thread():
            self._iteration()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle or a deep copy holds: no views of an agent's memory."""
        return {"views_of": self.views_of, "_iteration": None, "_flats": ()}


def choose_engine(agent: TrainableAgent, wanted: str) -> Engine:
    """Return the engine of an agent whose networks are made.

    Args:
        agent: the agent.
        wanted: "auto" takes the compiled engine where it covers the agent, else torch. It never takes "captured",
            because CUDA's graphs have not been run on a GPU yet. Where the agent is the reason for torch, its first
            iteration says so: not for an algorithm of rlkit without a compiled form, another device, or an installation
            without numba, which are choices of the user or known from the documentation.

    Raises:
        ValueError: another name, or "compiled" or "captured" where that engine does not cover the agent.
    """
    if wanted not in get_args(EngineName):
        raise ValueError(f"engine must be 'auto', 'compiled', 'torch' or 'captured', got {wanted!r}")
    if wanted == "torch":
        return TorchEngine("as told")
    if wanted == "captured":
        if reason := not_captured(agent):
            raise ValueError(f"engine 'captured' is not possible: {reason}. Pass engine='torch', or 'auto' to choose")
        return CapturedEngine()
    place = ITERATIONS.get(f"{type(agent).__module__}.{type(agent).__qualname__}")
    reason = _obstacle(agent, place)
    if place and not reason:
        return CompiledEngine(iteration_of(*place))
    if wanted == "compiled":
        raise ValueError(f"engine 'compiled' is not possible: {reason}. Pass engine='torch', or 'auto' to choose")
    known = place is None and type(agent).__module__.startswith("rlkit.")
    return TorchEngine(reason, announced=agent.device.type == "cpu" and _numba_installed() and not known)


def _numba_installed() -> bool:
    return importlib.util.find_spec("numba") is not None


def _obstacle(agent: TrainableAgent, place: tuple[str, str] | None) -> str:
    """Return why an agent cannot run on the compiled engine, "" if it can."""
    if place is None:
        return f"{type(agent).__name__} has no compiled form"
    if agent.device.type != "cpu":
        return f"the device is {agent.device}, and compiled loops run on the CPU"
    if not _numba_installed():
        return "numba is not installed (the extra 'fast' of rlkit)"
    if agent.terms.names:
        return f"the term {agent.terms.names[0]} is not covered"
    for network in agent.networks.values():
        for part in getattr(network, "parts", (network,)):
            if isinstance(part, MLP) and part.convolutions:
                return "a network with convolutions is not covered"
            if isinstance(part, MLP) and part.basis is not None:
                return "a network of radial basis functions is not covered"
    not_covered = getattr(iteration_of(*place), "not_covered", None)
    part = "" if not_covered is None else not_covered(agent)
    return f"{part} is not covered" if part else ""


def iteration_of(module: str, name: str) -> Any:
    """Import a class of ``ITERATIONS``."""
    return getattr(importlib.import_module(f"{__package__}.{module}"), name)
