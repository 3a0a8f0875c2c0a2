"""The options of a command, read from its function: which there are, and which of them take several values."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

# an argument as Python writes it
PYTHON = re.compile(r"(?<![\w:,.\-])([a-z]\w*)=('[^']*'|True|False|-?\d[\d.e+-]*)(?![\w(\[])")
GREEDY = re.compile(r"use deterministic=True(, or model\.predict\(obs, deterministic=False\))?")


def options_of(command: Callable[..., Any]) -> dict[str, Any]:
    """Return the options of a command by name, such as first-seed, with their types; of a dataclass those it holds."""
    found: dict[str, Any] = {}
    for name, hint in get_type_hints(command, include_extras=True).items():
        plain, notes = _unannotated(hint)
        if isinstance(plain, type) and is_dataclass(plain):
            found |= options_of(plain)
        elif name != "return":
            given = next((note.name for note in notes if getattr(note, "name", None)), name)
            found[given.replace("_", "-")] = plain
    return found


def refuse_empty(command: Callable[..., Any], arguments: Sequence[str]) -> None:
    """Refuse an option of several values that is given none, which would mean its default or nothing.

    Raises:
        ValueError: there is such an option; the message names it.
    """
    if "--help" in arguments:
        return
    options = options_of(command)
    for word, value in zip(arguments, [*arguments, "--"][1:], strict=True):
        name = word.removeprefix("--").replace("_", "-")
        if word.startswith("--") and value.startswith("--") and _takes_several(options.get(name)):
            raise ValueError(f"--{name} needs at least one value: give some, or leave it out")


def in_options(message: str, command: Callable[..., Any]) -> str:
    """Write what a message says of arguments in Python as options of a command, where it has such options.

    ``trust=True`` becomes ``--trust``, ``engine='torch'`` becomes ``--engine torch``, a hyper-parameter such as
    ``network='mlp'`` becomes ``--set network=mlp``, and an argument of the environment goes to ``--env-kwargs``. What
    follows an option is one of its values and stays.
    """
    options = options_of(command)
    if "sampled" in options or "victim" in options:
        message = GREEDY.sub("take greedy actions", message)
    return PYTHON.sub(lambda found: found[0] if _follows_option(found) else _as_option(found, options), message)


def _follows_option(found: re.Match[str]) -> bool:
    """Whether an argument is a value of an option, such as ``--set gamma=1``."""
    return re.search(r"--[\w-]+ (\S+=\S+ )*$", found.string[: found.start()]) is not None


def _as_option(found: re.Match[str], options: dict[str, Any]) -> str:
    """Write one argument of Python as an option; unchanged where there is none."""
    from rlkit.agents import ALGORITHMS

    name, value = found[1], found[2].strip("'")
    option = name.replace("_", "-")
    if option in options:
        return f"--{option}" if options[option] is bool and value == "True" else f"--{option} {value}"
    hyperparameters = {field.name for agent in ALGORITHMS.values() for field in fields(agent.config_class)}
    if "set" in options and name in hyperparameters:
        return f"--set {name}={value}"
    if "env-kwargs" in options and "trust" not in options and name in ("observation", "continuing"):
        return f"--env-kwargs {name}={value}"
    return found[0]


def _takes_several(hint: Any) -> bool:
    """Whether a type is a tuple of any length, or one that may be left out."""
    if get_origin(hint) in (Union, UnionType):
        return any(_takes_several(each) for each in get_args(hint))
    return get_origin(hint) is tuple and get_args(hint)[-1] is Ellipsis


def _unannotated(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return a type without its annotations, and the annotations."""
    if get_origin(hint) is Annotated:
        inner, notes = _unannotated(get_args(hint)[0])
        return inner, (*notes, *hint.__metadata__)
    return hint, ()
