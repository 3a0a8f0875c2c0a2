"""An experiment as data: a TOML file whose agents, environments, settings and seeds are resolved into runs.

A run is one seed of one agent in one environment with one value of every setting. Its id is a hash of its resolved
configuration: presets and defaults are written out, so a file that says the same in other words has the same runs.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..preset_file import with_preset
from ..train import ALGORITHMS, Training, usual_preset

NEEDED = ("question", "hypothesis", "agents", "environments", "seeds", "steps")
OPTIONAL = ("name", "settings", "episodes", "first_episode", "rows", "checkpoint_every", "backend", "device", "engine")
OF_AGENT = ("name", "preset", "num_envs", "steps", "set", "settings")
OF_ENVIRONMENT = ("name", "env_kwargs")
ROWS = 64  # of a batch at most, unless the experiment says so
MOST_RUNS = 100_000
MOST_BYTES = 2**20  # of a file
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
ID_DIGITS = 32  # hexadecimal, of a SHA-256
SWITCHES = ("priority_exponent",)  # numbers of a row that select another computation where they are 0 for all rows


class PlannedRun(NamedTuple):
    """One run of an experiment: a configuration with its place in the grid."""

    id: str  # the hash of the configuration
    agent: str  # names
    environment: str
    settings: Mapping[str, Any]  # that vary in the grid
    configuration: Mapping[str, Any]  # all that the result depends on, but the version of the code

    @property
    def cell(self) -> str:
        """The run's place in the grid without the seed, as a text."""
        return _cell_name(self.agent, self.environment, self.settings)

    @property
    def seed(self) -> int:
        """The training seed."""
        return int(self.configuration["seed"])


Batch = tuple[PlannedRun, ...]  # runs that train as one computation


@dataclass(frozen=True)
class Experiment:
    """An experiment with its runs and the batches that they are trained in."""

    name: str
    question: str
    hypothesis: str
    runs: tuple[PlannedRun, ...]
    batches: tuple[Batch, ...]
    checkpoint_every: int | None = None  # environment steps; None decides by time
    text: str = ""  # of the file

    @property
    def device(self) -> str:
        """The device of the runs."""
        return str(self.runs[0].configuration["device"])


class GridCell(NamedTuple):
    """All seeds of one agent in one environment with one value of every setting, as the file says it."""

    agent: str  # names
    environment: str
    settings: Mapping[str, Any]  # that vary in the grid
    training: Training  # of all seeds; presets are not written out


class _GridAgent(NamedTuple):
    name: str
    algo: str
    preset: str | None
    num_envs: int | None
    steps: int | None  # None: those of the experiment
    fixed: Mapping[str, Any]
    varied: Mapping[str, Sequence[Any]]


class _GridEnvironment(NamedTuple):
    name: str
    env: str
    env_kwargs: Mapping[str, Any]


def read_experiment(path: Path, device: str | None = None) -> Experiment:
    """Read an experiment from a TOML file; its name is that of the file unless it has one.

    Args:
        path: path of the file.
        device: where its runs compute; None for the device of the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no TOML, or see ``experiment_of``.
    """
    given, text = read_toml(path, "an experiment")
    if "name" not in given:
        given["name"] = name_of(path.stem, "the experiment, which is that of its file unless there is a key name,")
        text = f'name = "{path.stem}"\n{text}'  # so that the text alone says everything
    if device is not None:
        given["device"] = device
        text = with_device(text, device)
    return experiment_of(given, text)


def with_device(text: str, device: str) -> str:
    """The text of an experiment whose runs compute on another device.

    Raises:
        ValueError: the text names a device in a way that is not understood here, such as within quotes over lines.
    """
    line = f"device = {json.dumps(device)}"
    wanted = {**tomllib.loads(text), "device": device}
    changed = re.sub(r"^[ \t]*device[ \t]*=.*$", lambda _: line, text, count=1, flags=re.MULTILINE)
    for made in (changed, f"{line}\n{text}"):
        try:
            if tomllib.loads(made) == wanted:
                return made
        except tomllib.TOMLDecodeError:
            continue
    raise ValueError(f"the device of the experiment cannot be replaced: write {line} in its file")


def read_toml(path: Path, what: str) -> tuple[dict[str, Any], str]:
    """Read a TOML file of bounded size: its keys, and its text.

    Args:
        path: path of the file.
        what: the file describes, for messages.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is too large, or no TOML.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: give the TOML file of {what}")
    if (size := path.stat().st_size) > MOST_BYTES:
        raise ValueError(f"{path} has {size:,} bytes, {what} at most {MOST_BYTES:,}")
    try:
        text = path.read_bytes().decode("utf-8")
        return tomllib.loads(text), text
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no TOML file: {error}") from error


def experiment_of(given: Mapping[str, Any], text: str = "") -> Experiment:
    """Resolve the grid of an experiment into runs and batches.

    Args:
        given: the keys of the file.
        text: text of the file, which is saved with the results.

    Raises:
        ValueError: an unknown key (the nearest is named), a value of another type, an empty grid, one that contradicts
            itself, or a configuration that the agent refuses; the message names the cell.
    """
    refuse_other_keys(given, NEEDED, OPTIONAL, "the experiment")
    name = name_of(given.get("name"), "the experiment")
    question, hypothesis = (_said(given[key], key) for key in ("question", "hypothesis"))
    cells = cells_of(given)
    evaluation = {"episodes": count_of(given.get("episodes", 100), "episodes")}
    if "first_episode" in given:  # else that of every evaluation
        evaluation["first_episode"] = count_of(given["first_episode"], "first_episode")
    rows = count_of(given.get("rows", ROWS), "rows")
    every = given.get("checkpoint_every")
    runs: list[PlannedRun] = []
    together: dict[str, list[PlannedRun]] = {}  # by what must agree within a batch
    for cell in cells:
        configuration, per_row = _resolved(cell, evaluation)
        for seed in cell.training.seeds:
            each = {**configuration, "seed": seed}
            run = PlannedRun(run_id(each), cell.agent, cell.environment, cell.settings, each)
            runs.append(run)
            together.setdefault(_alike(configuration, per_row), []).append(run)
    _refuse_equal(runs)
    batches = tuple(
        tuple(alike[first : first + rows]) for alike in together.values() for first in range(0, len(alike), rows)
    )
    checkpoint_every = None if every is None else count_of(every, "checkpoint_every")
    return Experiment(name, question, hypothesis, tuple(runs), batches, checkpoint_every, text)


def cells_of(given: Mapping[str, Any]) -> list[GridCell]:
    """Return the cells of an experiment's grid, without resolving presets: no agent is made.

    Args:
        given: the keys of the file.

    Raises:
        ValueError: as ``experiment_of``, but for what an agent refuses.
    """
    varied = _varied(given.get("settings", {}), "settings")
    agents = [_agent(entry, varied) for entry in _entries(given["agents"], "agents", "algo")]
    environments = [_environment(entry) for entry in _entries(given["environments"], "environments", "env")]
    for kind, names in (("agents", [a.name for a in agents]), ("environments", [e.name for e in environments])):
        if twice := _twice(names):
            raise ValueError(f"two {kind} are named {twice[0]!r}: give each a name of its own")
    seeds = _seeds(given["seeds"])
    cells = sum(math.prod(map(len, agent.varied.values())) for agent in agents) * len(environments)
    if cells * len(seeds) > MOST_RUNS:
        raise ValueError(f"the grid has {cells * len(seeds):,} runs, at most {MOST_RUNS:,} are possible: split it")
    steps = count_of(given["steps"], "steps")
    common: dict[str, Any] = {
        "backend": _text(given.get("backend", "auto"), "backend"),
        "device": _text(given.get("device", "cpu"), "device"),
        "engine": _text(given.get("engine", "auto"), "engine"),
    }
    made: list[GridCell] = []
    for agent, environment in itertools.product(agents, environments):
        for values in itertools.product(*agent.varied.values()):
            settings = dict(zip(agent.varied, values, strict=True))
            training = Training(
                env=environment.env,
                algo=agent.algo,
                seeds=seeds,
                steps=agent.steps or steps,
                preset=agent.preset or usual_preset(agent.algo, environment.env),
                hyperparameters={**agent.fixed, **settings},
                env_kwargs=environment.env_kwargs,
                num_envs=agent.num_envs,
                **common,
            )
            made.append(GridCell(agent.name, environment.name, settings, training))
    return made


def run_id(configuration: Mapping[str, Any]) -> str:
    """The id of a configuration: the same for every order of its keys, and for 1 and 1.0."""
    return _digest(_canonical(configuration))


def batch_id(runs: Iterable[str]) -> str:
    """The id of a batch: a hash of the ids of its runs in their order."""
    return _digest(list(runs))


def batch_training(configurations: Sequence[Mapping[str, Any]]) -> Training:
    """The training whose row r has configuration r.

    Raises:
        ValueError: the configurations differ in more than their seeds and hyper-parameters.
    """
    first = configurations[0]
    for other in configurations:
        if {**other, "seed": 0, "hyperparameters": 0} != {**first, "seed": 0, "hyperparameters": 0}:
            raise ValueError("runs that differ in more than seeds and numbers of a row cannot train as one computation")
    hyperparameters = {}
    for name, value in first["hyperparameters"].items():
        values = [each["hyperparameters"][name] for each in configurations]
        hyperparameters[name] = value if all(each == value for each in values) else tuple(values)
    return Training(
        env=first["environment"],
        algo=first["algorithm"],
        seeds=tuple(each["seed"] for each in configurations),
        steps=first["steps"],
        hyperparameters=hyperparameters,
        env_kwargs=first["env_kwargs"],
        num_envs=first["num_envs"],
        backend=first["backend"],
        device=first["device"],
        engine=first["engine"],
    )


def _resolved(cell: GridCell, evaluation: Mapping[str, int]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The configuration of a cell without its seed, and the hyper-parameters that may differ by row."""
    name, training = _cell_name(cell.agent, cell.environment, cell.settings), cell.training
    try:
        made = replace(with_preset(training), seeds=training.seeds[:1]).make_agent()
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    hyperparameters, per_row = asdict(made.config), made.per_row_names()
    for number in per_row:
        if isinstance(hyperparameters[number], tuple):
            raise ValueError(
                f"{name}: {number} is {hyperparameters[number]}, and a run has one number: vary it in settings"
            )
    configuration = {
        "algorithm": training.algo,
        "environment": training.env,
        "env_kwargs": dict(training.env_kwargs),
        "backend": training.backend,
        "device": str(made.device),
        "engine": made.engine.name,
        "num_envs": made.env.num_envs,
        "hyperparameters": hyperparameters,
        "steps": training.steps,
        **evaluation,
    }
    try:
        plain: dict[str, Any] = json.loads(json.dumps(configuration))  # as a file gives it back
    except TypeError as error:
        raise ValueError(f"{name}: only numbers, texts, truth values, lists and tables: {error}") from error
    return plain, per_row


def _cell_name(agent: str, environment: str, settings: Mapping[str, Any]) -> str:
    """A place in the grid as a text."""
    return " ".join((agent, "on", environment, *(f"{name}={json.dumps(value)}" for name, value in settings.items())))


def _alike(configuration: Mapping[str, Any], per_row: Sequence[str]) -> str:
    """A digest that the configurations of one batch have in common."""
    numbers = configuration["hyperparameters"]
    shared = {name: value for name, value in numbers.items() if name not in per_row}
    none = [name for name in per_row if numbers[name] is None]
    zero = [name for name in SWITCHES if numbers.get(name) == 0.0]
    return _digest(_canonical([{**configuration, "hyperparameters": shared}, none, zero]))


def _refuse_equal(runs: Sequence[PlannedRun]) -> None:
    seen: dict[str, PlannedRun] = {}
    for run in runs:
        other = seen.setdefault(run.id, run)
        if other is not run:
            raise ValueError(f"{other.cell} and {run.cell} are the same run: leave one of them out")


def _canonical(value: Any) -> Any:
    """Whole numbers as integers, so that 1 and 1.0 are the same."""
    if isinstance(value, Mapping):
        return {name: _canonical(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:ID_DIGITS]


def _entries(given: Any, key: str, main: str) -> list[Mapping[str, Any]]:
    """A list of tables; a text stands for a table with the main entry alone."""
    if not isinstance(given, list) or not all(isinstance(each, str | dict) for each in given):
        raise ValueError(f"{key} must be a list of names or tables, got {given!r}")
    if not given:
        raise ValueError(f"the grid is empty: {key} has no entry")
    return [{main: each} if isinstance(each, str) else each for each in given]


def _called(kind: str, given: Mapping[str, Any], main: str) -> str:
    """An entry of a list by its name, or by its main key, for messages."""
    name = given.get("name", given.get(main))
    return f"an {kind}" if name is None else f"the {kind} {str(name)!r}"


def _agent(given: Mapping[str, Any], varied: Mapping[str, Sequence[Any]]) -> _GridAgent:
    where = _called("agent", given, "algo")
    refuse_other_keys(given, ("algo",), OF_AGENT, where)
    algo = _text(given["algo"], f"algo of {where}")
    if algo not in ALGORITHMS:
        raise ValueError(f"unknown algorithm {algo!r}: {_nearest(algo, ALGORITHMS)}")
    fixed = table_of(given.get("set", {}), f"set of {where}")
    own = _varied(given.get("settings", {}), f"settings of {where}")
    for name in own:
        if name in varied:
            raise ValueError(f"{name} is varied both in settings and in settings of {where}: keep one")
    for name in fixed:
        if name in varied or name in own:
            raise ValueError(f"{name} is set to {fixed[name]!r} by {where} and varied in settings: keep one")
    preset = given.get("preset")
    num_envs, steps = (
        None if given.get(key) is None else count_of(given[key], f"{key} of {where}") for key in ("num_envs", "steps")
    )
    return _GridAgent(
        name_of(given.get("name", algo), where),
        algo,
        None if preset is None else _text(preset, f"preset of {where}"),
        num_envs,
        steps,
        fixed,
        {**varied, **own},
    )


def _environment(given: Mapping[str, Any]) -> _GridEnvironment:
    where = _called("environment", given, "env")
    refuse_other_keys(given, ("env",), OF_ENVIRONMENT, where)
    env = _text(given["env"], f"env of {where}")
    name = name_of(given["name"], where) if "name" in given else env
    return _GridEnvironment(name, env, table_of(given.get("env_kwargs", {}), f"env_kwargs of {where}"))


def _varied(given: Any, where: str) -> dict[str, Sequence[Any]]:
    table = table_of(given, where)
    for name, values in table.items():
        if not isinstance(values, list):
            raise ValueError(f"{where}: {name} must be a list of values, got {values!r}")
        if not values:
            raise ValueError(f"the grid is empty: {name} of {where} has no value")
        if twice := _twice([json.dumps(_canonical(value), default=str, sort_keys=True) for value in values]):
            raise ValueError(f"{where}: {name} has the value {twice[0]} twice")
    return table


def _seeds(given: Any) -> tuple[int, ...]:
    if isinstance(given, list):
        if not given:
            raise ValueError("the grid is empty: seeds has no entry")
        for seed in given:
            if type(seed) is not int or seed < 0:
                raise ValueError(f"a seed must be an integer at least 0, got {seed!r}")
        if twice := _twice(given):
            raise ValueError(f"the seed {twice[0]} is given twice")
        return tuple(given)
    count = count_of(given, "seeds")
    if count > MOST_RUNS:
        raise ValueError(f"seeds must be at most {MOST_RUNS:,}, got {count:,}")
    return tuple(range(count))


def refuse_other_keys(given: Mapping[str, Any], needed: Sequence[str], optional: Sequence[str], where: str) -> None:
    """Refuse keys with an unknown one, and keys without a needed one."""
    refuse_unknown(given, (*needed, *optional), where)
    for key in needed:
        if key not in given:
            raise ValueError(f"{where} has no {key}: add it")


def refuse_unknown(given: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """Refuse a key that is not known, and name the nearest known one."""
    for key in given:
        if key not in known:
            raise ValueError(f"{where} has the unknown key {key!r}: {_nearest(key, known)}")


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"


def name_of(given: Any, where: str) -> str:
    """A name that may be that of a file: no separator, no markup."""
    if not isinstance(given, str) or NAME.fullmatch(given) is None:
        raise ValueError(
            f"the name of {where} must be of at most 64 letters, digits and . _ + -, and begin with a letter or digit, "
            f"got {str(given)[:100]!r}"
        )
    return given


def _said(given: Any, key: str) -> str:
    if not isinstance(given, str) or not given.strip():
        raise ValueError(f"{key} must be a text that is not empty, got {given!r}")
    return given.strip()


def _text(given: Any, where: str) -> str:
    if not isinstance(given, str):
        raise ValueError(f"{where} must be a text, got {given!r}")
    return given


def table_of(given: Any, where: str) -> dict[str, Any]:
    """A table of the file."""
    if not isinstance(given, dict):
        raise ValueError(f"{where} must be a table, got {given!r}")
    return given


def count_of(given: Any, where: str) -> int:
    """A whole number of at least 1."""
    if type(given) is not int or given < 1:
        raise ValueError(f"{where} must be an integer at least 1, got {given!r}")
    return given


def _twice(values: Sequence[Any]) -> list[Any]:
    seen: set[Any] = set()
    return [value for value in values if value in seen or seen.add(value)]  # type: ignore[func-returns-value]
