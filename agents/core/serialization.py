"""An agent in a file: its policy alone, or its whole run; tensors and a JSON header, no code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import reduce
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

import rlkit
from rlkit.checkpoint import load_metadata, load_tensors, part, save_tensors
from rlkit.types import Env

from .env_source import EnvSource, Source
from .hyperparameters import as_given
from .training_state import HasParameters, TrainingState

POLICY, CHECKPOINT = "rlkit.agent", "rlkit.checkpoint"  # what a file's header is called
WRITTEN_BY = {POLICY: "a policy, as agent.save writes them", CHECKPOINT: "a run, as agent.checkpoint writes them"}
ALWAYS = ("env", "training_state", "explore", "normalizer")  # what every checkpoint holds beside the networks
RENAMED = {"run": "training_state", "normaliser": "normalizer"}  # parts of files of version 0.1.0


class TrainedAgent(Protocol):
    """What of an agent goes into a file, and how one is made again."""

    seeds: tuple[int, ...]
    source: Source
    training_state: TrainingState
    env: Env
    config: Any
    normalizer: Any
    device: torch.device

    def __init__(self, env: EnvSource, **settings: Any) -> None: ...

    @property
    def networks(self) -> Mapping[str, HasParameters]:
        """By name, what has parameters."""
        ...

    @property
    def checkpointed(self) -> tuple[str, ...]:
        """What a checkpoint holds beside every agent's."""
        ...

    @property
    def saved(self) -> tuple[str, ...]:
        """What a policy's file holds beside the networks."""
        ...


AgentType = TypeVar("AgentType", bound=TrainedAgent)


def write_policy(agent: TrainedAgent, path: str | Path) -> None:
    """Write the policies of all rows."""
    parameters = {name: network.flat[:, network.columns] for name, network in agent.networks.items()}
    save_tensors(path, parameters | state_of(agent, agent.saved), {POLICY: json.dumps(_header(agent))})


def read_policy(cls: type[AgentType], path: str | Path, env: EnvSource | None, device: str | torch.device) -> AgentType:
    """The agent that ``write_policy`` wrote; see ``Agent.load``."""
    header, tensors = read_header(path), read_tensors(path)
    agent = _made_from(cls, path, header, env, device)
    for name, network in agent.networks.items():
        found = tuple(tensors[name].shape) if name in tensors else None
        needed = tuple(network.flat[:, network.columns].shape)
        if found != needed:
            raise ValueError(
                f"{path} holds parameters of shape {found} as {name!r}, the network for {agent.source.env} needs "
                f"{needed}: it was trained on another environment"
            )
        network.flat[:, network.columns] = tensors[name].to(network.flat)
    restore(agent, (name for name in agent.saved if name in tensors), tensors)  # older files have none of them
    agent.training_state.timesteps = agent.training_state.end = header["num_timesteps"]
    return agent


def write_run(agent: TrainedAgent, path: str | Path) -> None:
    """Write the whole run; see ``Agent.checkpoint``."""
    if not hasattr(agent.env, "state_dict"):
        raise ValueError(
            f"the state of {agent.source.env} cannot be read, so a run in it cannot be continued exactly: "
            "save the policy with save, or train in an environment of rlkit"
        )
    networks = {
        f"network/{name}": network.flat for name, network in agent.networks.items() if network is not agent.normalizer
    }
    kept = state_of(agent, (*ALWAYS, *agent.checkpointed))
    save_tensors(path, networks | kept, {CHECKPOINT: json.dumps(_header(agent))})


def read_run(cls: type[AgentType], path: str | Path, env: EnvSource | None, device: str | torch.device) -> AgentType:
    """The run that ``write_run`` wrote; see ``Agent.resume``."""
    agent = _made_from(cls, path, read_header(path, CHECKPOINT), env, device)
    state = {name: tensor.to(agent.device) for name, tensor in read_tensors(path).items()}
    for name, flat in part(state, "network/").items():
        agent.networks[name].flat.copy_(flat)
    restore(agent, (*ALWAYS, *agent.checkpointed), state)
    return agent


def _header(agent: TrainedAgent) -> dict[str, Any]:
    """What makes an agent like this one, as JSON."""
    source = agent.source
    return {
        "algorithm": type(agent).__name__,
        "rlkit": rlkit.__version__,
        "env": source.env if isinstance(source.env, str) else None,
        "env_kwargs": as_given(source.env_kwargs),
        "backend": source.backend,
        "seeds": agent.seeds,
        "num_envs": agent.env.num_envs,
        "config": asdict(agent.config),
        "num_timesteps": agent.training_state.timesteps,
    }


def read_header(path: str | Path, kind: str = POLICY) -> dict[str, Any]:
    """The JSON header of an agent's file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a whole safetensors file, or one that is not of this kind.
    """
    metadata = load_metadata(path)
    if kind not in metadata:
        other = next((f"it holds {WRITTEN_BY[k]}" for k in metadata if k in WRITTEN_BY), "it is not an rlkit agent")
        raise ValueError(f"{path} is a safetensors file but not {WRITTEN_BY[kind]}: {other}")
    header: dict[str, Any] = json.loads(metadata[kind])
    return header


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of an agent's file, old names replaced; errors as of ``load_tensors``."""
    parts = ((name.partition("/"), tensor) for name, tensor in load_tensors(path).items())
    return {RENAMED.get(first, first) + slash + rest: tensor for (first, slash, rest), tensor in parts}


def _made_from(
    cls: type[AgentType], path: str | Path, header: dict[str, Any], env: EnvSource | None, device: str | torch.device
) -> AgentType:
    """A fresh agent as the header of a file says."""
    if header["algorithm"] != cls.__name__:
        raise ValueError(f"{path} holds a {header['algorithm']}, not a {cls.__name__}: use rlkit.agents.load")
    source = env if env is not None else header["env"]
    if source is None:
        raise ValueError(f"{path} was saved without an environment id: pass env=")
    made_with = {name: header[name] for name in ("seeds", "num_envs", "backend")}
    of_its_kind = callable(source) if header["env"] is None else isinstance(source, str)
    env_kwargs = header["env_kwargs"] if of_its_kind else {}  # those of an id mean nothing to a function
    return cls(source, device=device, env_kwargs=env_kwargs, **made_with, **header["config"])


def state_of(owner: object, names: Iterable[str]) -> dict[str, Tensor]:
    """Everything under ``names`` (dotted: of a part of a part), with ``name/part`` for what has a ``state_dict``.

    Tensors, integers and objects with ``state_dict`` are kept; what is None or not there has nothing to keep.
    """
    state: dict[str, Tensor] = {}
    for name in names:
        kept = _under(owner, name)
        if isinstance(kept, int):
            state[name] = torch.tensor(kept)
        elif isinstance(kept, Tensor):
            state[name] = kept
        elif kept is not None:
            state |= {f"{name}/{key}": tensor for key, tensor in kept.state_dict().items()}
    return state


def restore(owner: object, names: Iterable[str], state: dict[str, Tensor]) -> None:
    """Put back what ``state_of`` took, into an owner made alike."""
    for name in names:
        kept = _under(owner, name)
        if isinstance(kept, int):
            setattr(owner, name, int(state[name]))
        elif isinstance(kept, Tensor):
            kept.copy_(state[name])
        elif kept is not None:
            kept.load_state(part(state, f"{name}/"))


def _under(owner: object, name: str) -> Any:
    return reduce(lambda whole, attribute: getattr(whole, attribute, None), name.split("."), owner)
