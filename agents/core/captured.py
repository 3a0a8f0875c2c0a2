"""Iterations of a training recorded as graphs of device operations, and replayed without Python.

What a graph holds is the whole ``Agent.iteration``: environments, replay, updates, counting. Its operations read and
write at fixed addresses, and numbers of the host stay as they were when it was recorded. So what an iteration changes
must be a tensor that is at the same address afterwards, and what the host counts beside it may only decide which graph
is replayed and when streams draw ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from rlkit.streams import DeviceEpisodeStarts, Stream

from .torch_engine import Engine, TrainableAgent

MOST_GRAPHS = 16  # of one agent; iterations of further branches are not captured
# what does not change, and views of tensors that are kept elsewhere
NOT_STATE = ("source", "config", "seeds", "per_row", "_keys", "_layers", "_rows", "rows", "parameters", "engine")

NOT_WALKED = (type, ModuleType, FunctionType, MethodType, partial)
Drawn = Stream | DeviceEpisodeStarts  # what draws ahead

Path = tuple[str | int, ...]  # attributes and keys from the agent to something that it keeps


class Graph(Protocol):
    """Recorded operations of a device."""

    def capture(self, work: Callable[[], None]) -> None:
        """Record the operations of ``work`` and run them once."""
        ...

    def replay(self) -> None:
        """Run them again."""
        ...


class CUDAGraph:
    """A ``torch.cuda.CUDAGraph``; graphs that share a pool must not be replayed at the same time.

    Args:
        pool: of ``torch.cuda.graph_pool_handle``.
    """

    def __init__(self, pool: Any) -> None:
        self._graph, self._pool = torch.cuda.CUDAGraph(), pool

    def capture(self, work: Callable[[], None]) -> None:
        """Record the operations of ``work``, which runs nothing, and replay them once."""
        with torch.cuda.graph(self._graph, pool=self._pool):
            work()
        self._graph.replay()

    def replay(self) -> None:
        """Run them again."""
        self._graph.replay()


def cuda_graphs() -> Callable[[], Graph]:
    """Return what makes the graphs of one agent, which share their memory."""
    return partial(CUDAGraph, torch.cuda.graph_pool_handle())


GRAPHS: dict[str, Callable[[], Callable[[], Graph]]] = {"cuda": cuda_graphs}  # by type of device


class Recorded(NamedTuple):
    """A graph and what it rests on."""

    graph: Graph
    tensors: dict[Path, Tensor]  # that are there before and after an iteration, at fixed addresses
    counted: dict[Path, int]  # by how much an iteration changes the host's counters


class CapturedIteration:
    """``agent.torch_iteration`` as a call that records graphs and replays them.

    The first iteration of every branch runs as it is, the second is recorded, later ones are replayed. A branch is what
    the host decides: whether DQN learns yet, whether its target network moves.

    Args:
        agent: one for which ``not_captured`` has no reason.
    """

    def __init__(self, agent: TrainableAgent) -> None:
        self.agent = agent
        self._make = GRAPHS[agent.device.type]()
        self._end = 0  # of the training that the graphs are of
        self._needed: dict[Hashable, list[tuple[Drawn, int]]] = {}  # by branch: steps that streams take
        self.recorded: dict[Hashable, Recorded] = {}

    def __call__(self) -> None:
        """Do the next iteration."""
        if self._end != self.agent.training_state.end:
            self._end = self.agent.training_state.end
            self._needed, self.recorded = {}, {}
        branch = self.agent.branch()
        found = self.recorded.get(branch)
        if branch not in self._needed:
            streams = [thing for _, thing in parts_of(self.agent) if isinstance(thing, Drawn)]
            before = [stream.step for stream in streams]
            self.eager()
            self._needed[branch] = [(stream, stream.step - step) for stream, step in zip(streams, before, strict=True)]
            return
        if found is None and len(self.recorded) >= MOST_GRAPHS:
            self.eager()
            return
        for stream, steps in self._needed[branch]:
            stream.hold(steps)
        if found is None or not bring_back(self.agent, found.tensors):
            self._record(branch)
        else:
            found.graph.replay()
            advance(self.agent, found.counted)

    def eager(self) -> None:
        """Do the next iteration as it is, and sum up its log."""
        self.agent.torch_iteration()
        self.agent.training_state.fold()

    def _record(self, branch: Hashable) -> None:
        tensors, counters = tensors_of(self.agent), counters_of(self.agent)
        graph = self._make()

        def work() -> None:
            self.eager()
            bring_back(self.agent, tensors)

        graph.capture(work)
        changed = {path: now - counters.get(path, 0) for path, now in counters_of(self.agent).items()}
        self.recorded[branch] = Recorded(graph, tensors, {path: by for path, by in changed.items() if by})


class CapturedEngine(Engine):
    """Runs the iterations of torch as graphs of the device, see ``CapturedIteration``."""

    name = "captured"
    reason = "as told"

    def __init__(self) -> None:
        self.captured: CapturedIteration | None = None

    def iteration(self, agent: TrainableAgent) -> None:
        """Collect one batch of experience and learn from it."""
        if self.captured is None or self.captured.agent is not agent:
            self.captured = CapturedIteration(agent)
        self.captured()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle or a deep copy holds: no graphs, which are of one agent's memory."""
        return {"captured": None}


def not_captured(agent: TrainableAgent) -> str:
    """Return why the iterations of an agent cannot be recorded, "" if they can."""
    if agent.device.type not in GRAPHS:
        return f"the device is {agent.device}, and graphs are recorded on a GPU: pass device='cuda' where there is one"
    if agent.terms.names:
        return f"terms ({', '.join(agent.terms.names)}) are given numbers of the host"
    if not hasattr(agent.env, "dynamics"):
        return f"{type(agent.env).__name__} steps on the host"
    return ""


def parts_of(agent: TrainableAgent) -> Iterator[tuple[Path, Any]]:
    """Walk through what an agent keeps: objects, tensors and numbers, each object once, with its path."""
    met: set[int] = set()

    def walk(path: Path, thing: Any) -> Iterator[tuple[Path, Any]]:
        if isinstance(thing, Tensor | int) and not isinstance(thing, bool):
            yield path, thing
            return
        inside: Any = ()
        if isinstance(thing, dict):
            inside = thing.items()
        elif isinstance(thing, list | tuple):
            inside = enumerate(thing)
        elif hasattr(thing, "__dict__") and not isinstance(thing, NOT_WALKED):
            inside = vars(thing).items()
        if not inside or id(thing) in met:
            return
        met.add(id(thing))
        yield path, thing
        for name, each in list(inside):
            if name not in NOT_STATE:
                yield from walk((*path, name), each)

    return walk((), agent)


def tensors_of(agent: TrainableAgent) -> dict[Path, Tensor]:
    """Return every tensor that an agent keeps."""
    return {path: thing for path, thing in parts_of(agent) if isinstance(thing, Tensor)}


def counters_of(agent: TrainableAgent) -> dict[Path, int]:
    """Return every integer that an agent keeps on the host."""
    return {path: thing for path, thing in parts_of(agent) if isinstance(thing, int)}


def bring_back(agent: TrainableAgent, tensors: dict[Path, Tensor]) -> bool:
    """Bring what was put elsewhere back to the tensors where it was; sums of the log that were read become 0.

    Returns:
        whether everything is back: what has another shape now is left as it is.

    Raises:
        RuntimeError: two things were one tensor and are two now, so that there is one place for both.
    """
    storages = {_storage(tensor) for tensor in tensors.values()}
    moved: dict[int, tuple[Tensor, Tensor | None]] = {}  # by the tensor where it was
    places, everything = [], True
    for path, tensor in tensors.items():
        owner, now = owner_of(agent, path)
        if now is tensor:
            continue
        if not alike(now, tensor) and not (now is None and isinstance(owner, list)):
            everything = False
            continue
        if moved.setdefault(id(tensor), (tensor, now))[1] is not now:
            raise RuntimeError(f"{'.'.join(map(str, path))} shared its tensor with something else: keep a copy of it")
        places.append((owner, path[-1], tensor))
    # what lies where another is brought back to is copied first
    found = [
        (tensor, now.clone() if now is not None and _storage(now) in storages else now)
        for tensor, now in moved.values()
    ]
    for tensor, now in found:
        tensor.zero_() if now is None else tensor.copy_(now)
    for owner, name, tensor in places:
        put(owner, name, tensor)
    return everything


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def advance(agent: TrainableAgent, counted: dict[Path, int]) -> None:
    """Count on the host what a replayed iteration has done."""
    for path, by in counted.items():
        owner, now = owner_of(agent, path)
        put(owner, path[-1], (now or 0) + by)


def alike(one: Any, other: Tensor) -> bool:
    """Return whether something is a tensor of the same shape and dtype."""
    return isinstance(one, Tensor) and (one.shape, one.dtype) == (other.shape, other.dtype)


def owner_of(agent: TrainableAgent, path: Path) -> tuple[Any, Any]:
    """Return what keeps the thing at a path, and the thing; None where it is not there now."""
    owner: Any = None
    thing: Any = agent
    for name in path:
        owner = thing
        if isinstance(owner, dict):
            thing = owner.get(name)
        elif isinstance(name, int):
            thing = owner[name] if len(owner) > name else None
        else:
            thing = getattr(owner, name, None)
    return owner, thing


def put(owner: Any, name: str | int, thing: Any) -> None:
    """Put a thing where it was found by ``owner_of``."""
    if isinstance(owner, list) and len(owner) == name:
        owner.append(thing)
    elif isinstance(owner, dict) or isinstance(name, int):
        owner[name] = thing
    else:
        setattr(owner, name, thing)
