"""Limits of what an agent's file may ask for and hold, for files from any source.

What its header may ask for is measured by the parameters that the file holds, before anything is built. A file that an
agent wrote holds parameters for every part of its environment that it has seen, so environments, networks and arguments
that are larger than the parameters are those of no agent.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gymnasium.spaces import Discrete, Space
from torch import Tensor

from rlkit.arrays import LARGEST_COUNT

UNITS = 4096  # units of networks that any header may ask for
# last parts of the names of what counts
COUNTERS = ("added", "count", "elapsed", "episode", "episodes", "step", "steps", "updates", "_updates", "_before")
COPIES = 2**14  # environments of all seeds together that any header may ask for
ARGUMENTS = 2**13  # characters that any environment's arguments may have


def refuse_large_demands(
    path: str | Path,
    config: Mapping[str, Any],
    seeds: Sequence[int],
    num_envs: int,
    env_kwargs: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
) -> None:
    """Refuse a header that asks for more than a file with such tensors can need.

    Args:
        path: path of the file.
        config: hyper-parameters.
        seeds: one per row.
        num_envs: copies of the environment per seed.
        env_kwargs: arguments of the environment's constructor, such as a map.
        tensors: tensors of the file.

    Raises:
        ValueError: larger networks, more copies of the environment or longer arguments than the tensors account for.
    """
    largest = max((tensor.numel() for tensor in tensors.values()), default=0)
    sizes = [config.get("net_arch"), config.get("network_kwargs")]
    if tensors and sum(_numbers_in(sizes)) > max(largest, UNITS):
        raise ValueError(f"{path} describes networks that are larger than the parameters that it holds")
    if len(seeds) * num_envs > max(largest, COPIES):
        raise ValueError(
            f"{path} describes {len(seeds)} seeds of {num_envs} environments, which its tensors do not fit"
        )
    held = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if len(given := json.dumps(env_kwargs)) > max(held, ARGUMENTS):
        raise ValueError(
            f"{path} describes an environment by {len(given):,} characters of arguments, and holds parameters of "
            f"{held:,} bytes"
        )


def refuse_imports(path: str | Path, env: str) -> None:
    """Refuse to import the module of ``"module:id"`` because a file says so: an import runs code.

    Raises:
        ValueError: the module is not imported yet.
    """
    module = env.rpartition(":")[0]
    if module and module not in sys.modules:
        raise ValueError(
            f"{path} was trained in {env[:200]!r}, and loading a file imports no module: import {module[:200]} first, "
            f"or pass env={env[:200]!r}"
        )


def refuse_impossible_counts(path: str | Path, state: Mapping[str, Tensor]) -> None:
    """Refuse numbers that count and are negative, too large or no numbers.

    Args:
        path: path of the file.
        state: its tensors.

    Raises:
        ValueError: there is such a number.
    """
    for name, tensor in state.items():
        if name.rpartition("/")[2] in COUNTERS and not _within(tensor, LARGEST_COUNT):
            raise ValueError(f"{path} holds a number out of range as {name!r}, which counts")


def refuse_impossible_state(
    path: str | Path, state: Mapping[str, Tensor], active: Sequence[bool], num_actions: int, obs: Tensor, space: Space
) -> None:
    """Refuse the state of a run that no training reaches, and that would fail later or far from here.

    Args:
        path: path of the file.
        state: its tensors.
        active: which rows learn.
        num_actions: number of actions of the environment.
        obs: observations of the environments.
        space: space of the observations.

    Raises:
        ValueError: a counter that is negative or too large, an action or an observation that there is not, or a number
            of an optimizer or a target network that is not finite in a row that learns.
    """
    refuse_impossible_counts(path, state)
    for name, tensor in state.items():
        last = name.rpartition("/")[2]
        if last in ("action", "_action") and tensor.numel() and not _within(_stored(tensor, state), num_actions):
            raise ValueError(f"{path} holds an action as {name!r} that is not one of {num_actions}")
        if name.partition("/")[0].endswith(("optimizer", "target_network.flat")) and tensor.dim() > 0:
            finite = tensor.isfinite().flatten(1).all(dim=1) if tensor.dim() > 1 else tensor.isfinite()
            spoilt = [
                row for row, (fine, learns) in enumerate(zip(finite.tolist(), active, strict=True)) if learns > fine
            ]
            if spoilt:
                raise ValueError(f"{path} holds numbers that are not finite as {name!r} in rows {spoilt}")
    if isinstance(space, Discrete) and not _within(obs - int(space.start), int(space.n)):
        raise ValueError(f"{path} holds environments in a state that is not one of {space.n}")


def _within(numbers: Tensor, end: int) -> bool:
    """Whether all are at least 0 and below ``end``."""
    return numbers.numel() == 0 or bool(((numbers >= 0) & (numbers < end)).all())


def _stored(actions: Tensor, state: Mapping[str, Tensor]) -> Tensor:
    """The actions ``[S, capacity]`` of a memory that were written, and not the room beyond them; others as they are."""
    added = state.get("memory/replay/added")
    return actions if added is None else actions[:, : int(added)]


def _numbers_in(value: Any) -> Iterable[float]:
    """The numbers in nested lists and dictionaries."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from _numbers_in(each)
    elif isinstance(value, int | float):
        yield value
