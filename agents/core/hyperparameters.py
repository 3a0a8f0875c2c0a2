"""Types of hyper-parameters with ranges, checked when a configuration is made."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch import Tensor

from .sb3_hints import ARGUMENTS, of_value


class Range(NamedTuple):
    """Finite numbers within bounds."""

    above: float = -math.inf
    at_least: float = -math.inf
    at_most: float = math.inf

    def holds(self, number: float) -> bool:
        """Return whether a number is within the bounds; NaN never is."""
        return math.isfinite(number) and self.above < number and self.at_least <= number <= self.at_most

    def __str__(self) -> str:
        bounds = {"above": self.above, "at least": self.at_least, "at most": self.at_most}
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if math.isfinite(bound))


PerRow = float | tuple[float, ...]  # one number for all rows, or one per row
Positive = Annotated[PerRow, Range(above=0.0)]
NotNegative = Annotated[PerRow, Range(at_least=0.0)]
Share = Annotated[PerRow, Range(at_least=0.0, at_most=1.0)]
PositiveShare = Annotated[PerRow, Range(above=0.0, at_most=1.0)]
Count = Annotated[int, Range(at_least=1)]
Widths = tuple[Count, ...]  # of hidden layers
Options = dict  # of a network, by name
Presets = Mapping[str, Mapping[str, Mapping[str, Any]]]  # name -> environment id, "*" for any -> values


def of_preset(presets: Presets, name: str | None, env: str | None) -> dict[str, Any]:
    """Return the values of a preset for an environment; {} without a preset.

    Args:
        presets: presets of the algorithm.
        name: name of the preset, or None.
        env: id of the environment; None for one without an id.

    Raises:
        ValueError: no preset of this name, or none for the environment.
    """
    if name is None:
        return {}
    if name not in presets:
        raise ValueError(f"unknown preset {name!r}: known are {', '.join(presets)}")
    suggested = suggestion(presets[name], env)
    if suggested is None:
        raise ValueError(
            f"preset {name!r} has nothing for {env or 'an environment without an id'}, only for "
            f"{', '.join(presets[name])}: leave it out for the defaults, or pass hyper-parameters"
        )
    return dict(suggested)


def suggestion(by_env: Mapping[str, Mapping[str, Any]], env: str | None) -> Mapping[str, Any] | None:
    """Return a preset's values for an environment id (None: no id), or None where it has none."""
    return by_env.get(env or "*", by_env.get("*"))


def configured(config_class: type[Any], suggested: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """Make a configuration: given values override the preset's, which override the defaults.

    Raises:
        ValueError: an unknown name (the message suggests the nearest known one), or what ``verify`` refuses.
    """
    known = [field.name for field in fields(config_class)]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            hint = ARGUMENTS.get(name, hint)
            raise ValueError(
                f"unknown hyper-parameter {name!r} of {config_class.__name__.removesuffix('Config')}: {hint}"
            )
    return config_class(**as_given({**suggested, **given}))


def verify(config: Any) -> None:
    """Check every field of a configuration against its type.

    Raises:
        ValueError: a value of another type or outside its range, NaN included; the message names both.
    """
    hints = get_type_hints(type(config), include_extras=True)
    for name, hint in hints.items():
        value = getattr(config, name)
        if not fits(value, hint):
            raise ValueError(f"{name} must be {described(hint)}, got {value!r}{of_value(name, value, hints)}")


def fits(value: Any, hint: Any) -> bool:
    """Return whether a value has a type: int, float, bool, None, Literal, a tuple, a union, or a type with a Range."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        numbers = value if isinstance(value, tuple) else (value,)
        return fits(value, arguments[0]) and all(arguments[1].holds(number) for number in numbers)
    if origin in (Union, UnionType):
        return any(fits(value, option) for option in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and all(fits(element, arguments[0]) for element in value)
    if origin is Literal:
        return value in arguments
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    return isinstance(value, hint)


def described(hint: Any) -> str:
    """Describe a type in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return f"{described(arguments[0])} {arguments[1]}"
    if hint == PerRow:
        return "a number (or one for each seed)"
    if origin in (Union, UnionType):
        return " or ".join(described(option) for option in arguments)
    if origin is tuple:
        return f"a sequence, each {described(arguments[0])}"
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    return {int: "an integer", float: "a number", bool: "True or False", dict: "a dictionary", NoneType: "None"}[hint]


def as_given(value: Any) -> Any:
    """Convert numbers to Python's own, and lists and arrays to tuples, also within dictionaries.

    A configuration that is read from a file then equals the one that was saved.
    """
    if isinstance(value, np.generic | np.ndarray | Tensor):
        return as_given(value.tolist())
    if isinstance(value, dict):
        return {name: as_given(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return tuple(as_given(each) for each in value)
    return value


def is_everywhere(number: float, value: PerRow) -> bool:
    """Return whether every row has this number."""
    return all(each == number for each in (value if isinstance(value, tuple) else (value,)))


def settings_of_row(config: Any, row: int) -> dict[str, Any]:
    """Return a configuration as a dictionary, with the row's own value of each hyper-parameter that differs by row."""
    settings = asdict(config)
    for name in per_row_names(config):
        if isinstance(settings[name], tuple):
            settings[name] = settings[name][row]
    return settings


def per_row_names(config: Any) -> list[str]:
    """Return the names of the fields that may differ by row."""
    hints = get_type_hints(type(config))  # without ranges
    return [name for name, hint in hints.items() if hint == PerRow or set(get_args(PerRow)) < set(get_args(hint))]


class PerRowNumbers:
    """The hyper-parameters that may differ by row as tensors ``[S]`` of a dtype, each under its own name.

    A hyper-parameter that is None has no tensor.

    Raises:
        ValueError: a sequence that is not as long as there are seeds.
    """

    def __init__(self, config: Any, num_seeds: int, device: torch.device, dtype: torch.dtype) -> None:
        for name in per_row_names(config):
            value = getattr(config, name)
            if value is None:
                continue
            rows = torch.as_tensor(value, dtype=dtype, device=device)
            if rows.dim() > 0 and len(rows) != num_seeds:
                raise ValueError(f"{name} has {len(rows)} values for {num_seeds} seeds: {value}")
            # contiguous, because powers of expanded tensors round differently
            setattr(self, name, rows.expand(num_seeds).contiguous())

    def __getattr__(self, name: str) -> Tensor:
        raise AttributeError(f"no hyper-parameter {name!r} that may differ by row")
