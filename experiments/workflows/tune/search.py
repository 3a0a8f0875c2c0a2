"""A hyper-parameter search as data: a TOML file with the space, the budget and the seeds to tune on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..sweep.experiment import count_of, name_of, read_toml, refuse_other_keys, refuse_unknown, table_of

NEEDED = ("algo", "env", "steps", "search")
PASSED_ON = ("rows", "checkpoint_every", "backend", "device", "engine")  # to every sweep as they are
OPTIONAL = (
    *("name", "preset", "num_envs", "set", "env_kwargs", "seeds", "first_seed", "configurations", "rounds"),
    *("rungs", "reduction", "episodes", "sampler_seed", *PASSED_ON),
)
FIRST_SEED = 1000  # of the tuning set
FIRST_EPISODE = 1_000_000  # of the tuning's evaluation: no other evaluation starts from these states


class Interval(NamedTuple):
    """Numbers from low to high, both possible; whole ones if both are."""

    low: float
    high: float
    log: bool  # whether orders of magnitude are equally likely


Space = Mapping[str, Interval | tuple[Any, ...]]  # a tuple: the values to choose from


class Search(NamedTuple):
    """A search: R rounds of N configurations, in which a rung passes the best share of them on to more steps."""

    name: str
    algo: str
    env: str
    steps: int  # of the last rung
    space: Space
    preset: str | None
    num_envs: int | None
    fixed: Mapping[str, Any]
    env_kwargs: Mapping[str, Any]
    seeds: tuple[int, ...]
    configurations: int
    rounds: int
    rungs: int
    reduction: int
    episodes: int
    sampler_seed: int
    passed_on: Mapping[str, Any]

    @property
    def device(self) -> str:
        """The device of the runs, as given."""
        return str(self.passed_on.get("device", "cpu"))

    def steps_of(self, rung: int) -> int:
        """Environment steps of the runs of a rung; all of them on the last one."""
        return max(int(self.steps // self.reduction ** (self.rungs - 1 - rung)), 1)

    def promoted(self, rung: int) -> int:
        """How many configurations of a round train on a rung."""
        return int(-(-self.configurations // self.reduction**rung))


def read_search(path: Path, device: str | None = None) -> Search:
    """Read a search from a TOML file; its name is that of the file unless it has one.

    Args:
        path: path of the file.
        device: where its runs compute; None for the device of the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no TOML, or see ``search_of``.
    """
    given, _ = read_toml(path, "a search")
    return search_of({"name": path.stem, **given, **({} if device is None else {"device": device})})


def search_of(given: Mapping[str, Any]) -> Search:
    """Make a search of the keys of its file.

    Raises:
        ValueError: an unknown key (the nearest is named), a value of another type, or a space that is empty or
            contradicts ``set``.
    """
    refuse_other_keys(given, NEEDED, OPTIONAL, "the search")
    fixed = table_of(given.get("set", {}), "set")
    space = {name: _values(name, values) for name, values in table_of(given["search"], "search").items()}
    if not space:
        raise ValueError("the search is empty: name at least one hyper-parameter in [search]")
    for name in fixed:
        if name in space:
            raise ValueError(f"{name} is set to {fixed[name]!r} and searched: keep one")
    first = given.get("first_seed", FIRST_SEED)
    if type(first) is not int or first < 0:
        raise ValueError(f"first_seed must be an integer at least 0, got {first!r}")
    numbers = {
        name: count_of(given.get(name, usual), name)
        for name, usual in (("seeds", 4), ("configurations", 9), ("rounds", 2), ("rungs", 2), ("episodes", 20))
    }
    reduction, sampler_seed = given.get("reduction", 3), given.get("sampler_seed", 0)
    if type(reduction) is not int or reduction < 2:
        raise ValueError(f"reduction must be an integer at least 2, got {reduction!r}")
    if type(sampler_seed) is not int or not 0 <= sampler_seed < 2**32:
        raise ValueError(f"sampler_seed must be an integer from 0 to {2**32 - 1}, got {sampler_seed!r}")
    num_envs = given.get("num_envs")
    return Search(
        name=name_of(given.get("name"), "the search"),
        algo=given["algo"],
        env=given["env"],
        steps=count_of(given["steps"], "steps"),
        space=space,
        preset=given.get("preset"),
        num_envs=num_envs if num_envs is None else count_of(num_envs, "num_envs"),
        fixed=fixed,
        env_kwargs=table_of(given.get("env_kwargs", {}), "env_kwargs"),
        seeds=tuple(range(first, first + numbers["seeds"])),
        configurations=numbers["configurations"],
        rounds=numbers["rounds"],
        rungs=numbers["rungs"],
        reduction=reduction,
        episodes=numbers["episodes"],
        sampler_seed=sampler_seed,
        passed_on={name: given[name] for name in PASSED_ON if name in given},
    )


def _values(name: str, given: Any) -> Interval | tuple[Any, ...]:
    """The values of one hyper-parameter: a list, or a table with low and high."""
    if isinstance(given, list):
        if len(given) < 2:
            raise ValueError(f"the search is empty: {name} has {len(given)} values to choose from")
        return tuple(given)
    table = table_of(given, f"{name} in search")
    refuse_unknown(table, Interval._fields, f"{name} in search")
    low, high, log = (table.get(key, usual) for key, usual in (("low", math.nan), ("high", math.nan), ("log", False)))
    if type(low) not in (int, float) or type(high) not in (int, float) or not low < high or type(log) is not bool:
        raise ValueError(f"{name} in search must be a list, or have numbers low < high and log true or false: {given}")
    if log and low <= 0:
        raise ValueError(f"{name} in search is on a logarithmic scale: low must be above 0, got {low}")
    return Interval(low, high, log)
