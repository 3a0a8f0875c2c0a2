"""An agent in a file: its policy alone, or its whole run; tensors and a JSON header, no code."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import gymnasium
import numpy as np
import torch
from torch import Tensor

from rlkit.checkpoint import TensorFile, load_header, load_tensors, part, save_tensors
from rlkit.types import Term

from .compiled_engine import EngineName, choose_engine
from .env_source import EnvSource, Source
from .file_checks import refuse_imports, refuse_impossible_counts, refuse_impossible_state, refuse_large_demands
from .hyperparameters import as_given
from .torch_engine import Engine, TrainableAgent
from .training_state import CutEpisode, HasParameters

POLICY, CHECKPOINT = "a policy (agent.save)", "a run (agent.checkpoint)"  # the kinds of file
LEGACY = {"rlkit.agent": POLICY, "rlkit.checkpoint": CHECKPOINT}  # what version 0.1.0 called them
ALWAYS = ("env", "training_state", "explore", "normalizer", "terms")  # what every checkpoint holds beside the networks
RENAMED = {"run": "training_state", "normaliser": "normalizer"}  # parts of files of version 0.1.0
RENAMED_OPTIONS = {"centres": "centers"}  # options of networks in files of version 0.1.0
NEW_IN_SCHEMA_1 = ("training_state/every", "training_state/due")
OF_ANY_SIZE = (
    "env/actions",
    "env/faults",
    "memory/",
    "training_state/log/",
    "training_state/means/",
    "training_state/returns/unsummed/",
)
MOST_COPIES = 2**31  # environments per seed that a file may name


class TrainedAgent(TrainableAgent, Protocol):
    """The parts of an agent that a file holds, and how an agent is made from them."""

    engine: Engine
    seeds: tuple[int, ...]
    source: Source
    config: Any

    def __init__(self, env: EnvSource, **settings: Any) -> None: ...

    def drop_episodes(self, copies: Tensor) -> None:
        """Forget the running episodes of ``copies [S, B]`` bool."""
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
    save_tensors(path, parameters | state_of(agent, agent.saved), POLICY, _contents(agent))


def read_policy(cls: type[AgentType], path: str | Path, env: EnvSource | None, device: str | torch.device) -> AgentType:
    """The agent that ``write_policy`` wrote; see ``Agent.load``."""
    file = _read(path, POLICY)
    header = Header.of(path, file)
    agent = _made_from(cls, path, header, file.tensors, env, device)
    others = {name: tensor for name, tensor in file.tensors.items() if name not in agent.networks}
    expected = {name: tensor for name, tensor in state_of(agent, agent.saved).items() if name in others}
    if unknown := sorted(others.keys() - expected.keys()):
        raise ValueError(f"{path} holds {', '.join(unknown)[:200]}, which no such policy has")
    _compare(path, expected, others, file.schema)
    refuse_impossible_counts(path, others)
    for name, network in agent.networks.items():
        _fill(path, name, network, file.tensors)
        _refuse_spoilt_rows(path, name, network, [seed in header.diverged for seed in agent.seeds])
    restore(agent, (name for name in agent.saved if name in file.tensors), file.tensors)  # older files have none
    agent.training_state.timesteps = agent.training_state.end = header.num_timesteps
    agent.training_state.cut = header.resumed_at_boundary
    return agent


def write_run(agent: TrainedAgent, path: str | Path, notes: Mapping[str, Any] | None = None) -> None:
    """Write the whole run; see ``Agent.checkpoint``."""
    save_tensors(path, _run_of(agent), CHECKPOINT, _contents(agent) | {"notes": dict(notes or {})})


def _run_of(agent: TrainedAgent) -> dict[str, Tensor]:
    """Return what a run consists of, by the names in its file."""
    networks = {
        f"network/{name}": network.flat for name, network in agent.networks.items() if network is not agent.normalizer
    }
    return networks | state_of(agent, (*ALWAYS, *agent.checkpointed))


def read_run(
    cls: type[AgentType],
    path: str | Path,
    env: EnvSource | None,
    device: str | torch.device,
    terms: Sequence[Term] = (),
    engine: EngineName | None = None,
) -> AgentType:
    """The run that ``write_run`` wrote; see ``Agent.resume``."""
    file = _read(path, CHECKPOINT)
    header = Header.of(path, file)
    agent = _made_from(cls, path, header, file.tensors, env, device, terms)
    if agent.terms.names != header.terms:
        expected, given = (", ".join(names)[:300] or "no terms" for names in (header.terms, agent.terms.names))
        raise ValueError(
            f"{path} is a run with {expected} in its loss and was given {given}: pass to resume the terms that the run "
            "was made with, in their order"
        )
    try:
        agent.engine = choose_engine(agent, engine or header.engine)
    except ValueError as error:
        raise ValueError(f"{path} is a run on engine {header.engine!r}: {error}") from error
    state = {name: tensor.to(agent.device) for name, tensor in file.tensors.items()}
    fresh = _run_of(agent)
    _compare(path, fresh, state, file.schema)
    seen, obs = state.get("memory/replay/obs"), agent.env.obs
    if seen is not None and (seen.shape[2:], seen.dtype) != (obs.shape[2:], obs.dtype):
        raise ValueError(f"{path} has a memory of observations {tuple(seen.shape[2:])}, not {tuple(obs.shape[2:])}")
    for name, flat in fresh.items():
        if name.startswith("network/"):
            flat.copy_(state[name])
    try:
        restore(agent, (*ALWAYS, *agent.checkpointed), state)
    except (IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not hold the state of such a run: {str(error)[:500]}") from error
    active = agent.training_state.active.tolist()
    space = agent.env.observation_space
    refuse_impossible_state(path, state, active, int(agent.env.action_space.n), agent.env.obs, space)
    for name, network in agent.networks.items():
        _refuse_spoilt_rows(path, name, network, (~agent.training_state.active).tolist())
    agent.training_state.faults.update(getattr(agent.env, "faults", {}))
    agent.training_state.cut = header.resumed_at_boundary
    _drop_cut_episodes(path, agent, getattr(agent.env, "cut", {}))
    return agent


def _drop_cut_episodes(path: str | Path, agent: TrainedAgent, cut: Mapping[tuple[int, int], str]) -> None:
    """Let an agent forget the episodes that its environments could not restore, and say so in one warning.

    Args:
        path: path of the run.
        agent: resumed from it.
        cut: (row, copy) -> what differed.
    """
    if not cut:
        return
    copies = torch.zeros(len(agent.seeds), agent.env.num_envs, dtype=torch.bool, device=agent.device)
    for place in cut:
        copies[place] = True
    agent.drop_episodes(copies)
    step = agent.training_state.timesteps
    agent.training_state.cut += tuple(CutEpisode(agent.seeds[row], copy, step) for row, copy in cut)
    (row, copy), differs = next(iter(cut.items()))
    warnings.warn(
        f"{path}: {len(cut)} of {copies.numel()} running episodes could not be restored and were dropped; these "
        f"copies begin their next episode, and agent.resumed_at_boundary lists them. Their environment depends on more "
        f"than its seed and its actions: of seed {agent.seeds[row]}, copy {copy}, {differs}",
        RuntimeWarning,
        stacklevel=4,
    )


class Header(NamedTuple):
    """What a file says of the agent in it, every entry checked."""

    algorithm: str
    env: str | None
    env_kwargs: dict[str, Any]
    backend: str
    seeds: tuple[int, ...]
    num_envs: int
    config: dict[str, Any]
    num_timesteps: int
    spaces: tuple[str, str] | None  # observations and actions; None in files of version 0.1.0
    diverged: tuple[int, ...]  # seeds whose parameters may be not finite
    resumed_at_boundary: tuple[CutEpisode, ...]
    step_timeout: float | None
    terms: tuple[str, ...]  # names of those in the loss
    engine: str  # torch in files older than the compiled one

    @classmethod
    def of(cls, path: str | Path, file: TensorFile) -> Header:
        """The header of a file that was read.

        Raises:
            ValueError: an entry that is missing, unknown, of another type or out of its range.
        """
        contents = dict(file.contents)
        if file.schema == 0:
            contents.pop("rlkit", None)
            contents |= {"spaces": None, "diverged": []}
        contents.pop("versions", None)
        contents.pop("notes", None)
        contents = {"resumed_at_boundary": [], "step_timeout": None, "terms": [], "engine": "torch"} | contents
        if set(contents) != set(cls._fields):
            wrong = sorted(set(contents) ^ set(cls._fields))
            raise ValueError(f"{path} does not describe an agent: {', '.join(wrong)} is missing or unknown")
        checks = {
            "algorithm": isinstance(contents["algorithm"], str),
            "env": contents["env"] is None or isinstance(contents["env"], str),
            "env_kwargs": isinstance(contents["env_kwargs"], dict),
            "backend": isinstance(contents["backend"], str),
            "seeds": _integers(contents["seeds"], 0, 2**63) and len(contents["seeds"]) > 0,
            "num_envs": _integers([contents["num_envs"]], 1, MOST_COPIES + 1),
            "config": isinstance(contents["config"], dict),
            "num_timesteps": _integers([contents["num_timesteps"]], 0, 2**62),
            "spaces": file.schema == 0
            or (isinstance(contents["spaces"], list) and [type(text) for text in contents["spaces"]] == [str, str]),
            "diverged": _integers(contents["diverged"], 0, 2**63),
            "step_timeout": contents["step_timeout"] is None or type(contents["step_timeout"]) in (int, float),
            "terms": isinstance(contents["terms"], list) and all(isinstance(name, str) for name in contents["terms"]),
            "engine": contents["engine"] in ("torch", "compiled", "captured"),
            "resumed_at_boundary": isinstance(contents["resumed_at_boundary"], list)
            and all(_integers(cut, 0, 2**63) and len(cut) == 3 for cut in contents["resumed_at_boundary"]),
        }
        for name, fine in checks.items():
            if not fine:
                raise ValueError(f"{path} does not describe an agent: {name} is {str(contents[name])[:100]}")
        rows = {name: len(tensor) for name, tensor in file.tensors.items() if tensor.dim() == 2 and "/" not in name}
        seeds = len(contents["seeds"])
        if any(count != seeds for count in rows.values()):
            raise ValueError(f"{path} describes {seeds} seeds, which its tensors do not fit")
        lists = {name: tuple(contents[name]) for name in ("seeds", "diverged", "terms")}
        spaces = None if contents["spaces"] is None else tuple(contents["spaces"])
        cut = tuple(CutEpisode(*numbers) for numbers in contents["resumed_at_boundary"])
        return cls(**{**contents, **lists, "spaces": spaces, "resumed_at_boundary": cut})


def _integers(numbers: object, least: int, end: int) -> bool:
    """Whether these are integers of at least ``least`` and below ``end``."""
    return isinstance(numbers, list) and all(type(number) is int and least <= number < end for number in numbers)


def _contents(agent: TrainedAgent) -> dict[str, Any]:
    """What makes an agent like this one, as JSON."""
    source = agent.source
    return {
        "algorithm": type(agent).__name__,
        "env": source.env if isinstance(source.env, str) else None,
        "env_kwargs": as_given(source.env_kwargs),
        "backend": source.backend,
        "seeds": list(agent.seeds),
        "num_envs": agent.env.num_envs,
        "config": asdict(agent.config),
        "num_timesteps": agent.training_state.timesteps,
        "spaces": _spaces(agent),
        "diverged": [
            seed for seed, active in zip(agent.seeds, agent.training_state.active.tolist(), strict=True) if not active
        ],
        "step_timeout": source.step_timeout,
        "terms": list(agent.terms.names),
        "engine": agent.engine.name,
        "resumed_at_boundary": [list(cut) for cut in agent.training_state.cut],
        "versions": {
            "python": sys.version.split()[0],
            "torch": torch.__version__,
            "numpy": np.__version__,
            "gymnasium": gymnasium.__version__,
        },
    }


def _spaces(agent: TrainedAgent) -> tuple[str, str]:
    return str(agent.env.observation_space), str(agent.env.action_space)


def read_header(path: str | Path, kind: str = POLICY) -> dict[str, Any]:
    """The contents of the manifest of an agent's file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a whole file of an agent, or one that is not of this kind; of a folder, the message names the
            file in it to read.
    """
    _refuse_folder(path, kind)
    return load_header(path, [kind], LEGACY).contents


def _refuse_folder(path: str | Path, kind: str) -> None:
    """Raise ValueError for a folder; the message names a file of this kind in it, the newest of several checkpoints."""
    if not Path(path).is_dir():
        return
    files = sorted(
        [*Path(path).glob("*.safetensors"), *Path(path).glob("checkpoints/*.safetensors")], key=_newest_first
    )
    for file in files[:20]:
        try:
            load_header(file, [kind], LEGACY)
        except (ValueError, OSError):
            continue
        raise ValueError(f"{path} is a folder: give the file {str(file)!r} in it")
    raise ValueError(f"{path} is a folder, and holds no file with {kind}: give such a file")


def _newest_first(file: Path) -> tuple[int, int, str]:
    """Key to sort files: checkpoints by their steps, the last first, and other files behind."""
    steps = int(file.stem) if file.stem.isdecimal() else -1
    return len(file.parts), -steps, file.name


def _read(path: str | Path, kind: str) -> TensorFile:
    """An agent's file with the names of its parts as they are called now."""
    _refuse_folder(path, kind)
    file = load_tensors(path, [kind], LEGACY)
    parts = ((name.partition("/"), tensor) for name, tensor in file.tensors.items())
    return file._replace(tensors={RENAMED.get(first, first) + slash + rest: t for (first, slash, rest), t in parts})


def _made_from(
    cls: type[AgentType],
    path: str | Path,
    header: Header,
    tensors: Mapping[str, Tensor],
    env: EnvSource | None,
    device: str | torch.device,
    terms: Sequence[Term] = (),
) -> AgentType:
    """A fresh agent as the header of a file says."""
    if header.algorithm != cls.__name__:
        raise ValueError(f"{path} holds a {header.algorithm}, not a {cls.__name__}: use rlkit.agents.load")
    source = env if env is not None else header.env
    if source is None:
        raise ValueError(f"{path} was saved without an environment id: pass env=")
    if env is None and header.env is not None:
        refuse_imports(path, header.env)
    refuse_large_demands(path, header.config, header.seeds, header.num_envs, header.env_kwargs, tensors)
    of_its_kind = callable(source) if header.env is None else isinstance(source, str)
    env_kwargs = header.env_kwargs if of_its_kind else {}  # those of an id do not fit a function
    made_with = {name: getattr(header, name) for name in ("seeds", "num_envs", "backend", "step_timeout")}
    if terms:
        made_with["terms"] = terms
    unforeseen = Exception if env is None else ValueError  # an environment of the caller may raise anything
    try:
        agent = cls(source, device=device, env_kwargs=env_kwargs, **made_with, **_with_present_names(header.config))
    except unforeseen as error:
        raise ValueError(f"{path} describes an agent that cannot be made: {str(error)[:500]}") from error
    if header.spaces not in (None, _spaces(agent)):
        trained, found = header.spaces, _spaces(agent)
        raise ValueError(
            f"{path} was trained on another environment: its observations are {trained[0]} and its actions "
            f"{trained[1]}, those of {agent.source.env} are {found[0]} and {found[1]}"
        )
    return agent


def _with_present_names(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration whose network options are called as they are now."""
    options = config.get("network_kwargs")
    if not isinstance(options, dict):
        return config
    return config | {"network_kwargs": {RENAMED_OPTIONS.get(name, name): value for name, value in options.items()}}


def _fill(path: str | Path, name: str, network: HasParameters, tensors: Mapping[str, Tensor]) -> None:
    """Put the parameters of a file into a network that was made alike."""
    found = tensors.get(name)
    needed = network.flat[:, network.columns]
    if found is None or (found.shape, found.dtype) != (needed.shape, needed.dtype):
        held = "no parameters" if found is None else f"parameters of shape {tuple(found.shape)} and {found.dtype}"
        raise ValueError(
            f"{path} holds {held} as {name!r}, the network for its environment needs {tuple(needed.shape)} and "
            f"{needed.dtype}: it was trained on another environment"
        )
    network.flat[:, network.columns] = found.to(network.flat.device)


def _refuse_spoilt_rows(path: str | Path, name: str, network: HasParameters, stopped: list[bool]) -> None:
    """Refuse parameters that are not finite in rows that did not diverge."""
    finite = network.flat.isfinite().all(dim=1).tolist()
    spoilt = [row for row, (fine, over) in enumerate(zip(finite, stopped, strict=True)) if not (fine or over)]
    if spoilt:
        raise ValueError(f"{path} holds numbers that are not finite as {name!r} in rows {spoilt}: it cannot be used")


def _compare(path: str | Path, expected: Mapping[str, Tensor], found: Mapping[str, Tensor], schema: int) -> None:
    """Hold the tensors of a run's file to those of a fresh agent; the log and the memory have their own sizes."""

    def fixed(names: Iterable[str]) -> set[str]:
        return {name for name in names if not name.startswith(OF_ANY_SIZE)}

    missing = fixed(expected) - set(found) - set(NEW_IN_SCHEMA_1 if schema == 0 else ())
    unknown = fixed(found) - set(expected)
    if missing or unknown:
        what = ", ".join(sorted(missing | unknown))
        raise ValueError(f"{path} does not hold the state of such a run: {what} is missing or unknown")
    for name in fixed(found):
        wanted, given = expected[name], found[name]
        if (wanted.shape, wanted.dtype) != (given.shape, given.dtype):
            raise ValueError(
                f"{path} holds {name!r} of shape {tuple(given.shape)} and {given.dtype}, such a run has "
                f"{tuple(wanted.shape)} and {wanted.dtype}"
            )


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
