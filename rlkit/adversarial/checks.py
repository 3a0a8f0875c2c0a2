"""Checks of the arguments that several functions share: attacks, timings, and functions that make environments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from rlkit.evaluation import as_batched_env
from rlkit.types import Env


def as_attack(attack: Any, name: str = "attack") -> Any:
    """Return an attack as it is.

    Args:
        attack: the object given.
        name: name of the argument, for the message.

    Raises:
        ValueError: the name of an attack, a class, or another object that proposes no observations.
    """
    return _an_object(attack, name, "propose", "an attack, such as FGSM()")


def as_attacks(attacks: Any, name: str = "attacks") -> tuple[Any, ...]:
    """Return one attack or several as a tuple.

    Raises:
        ValueError: see ``as_attack``.
    """
    if not isinstance(attacks, Sequence) or isinstance(attacks, str):
        return (as_attack(attacks, name),)
    return tuple(as_attack(attack, f"{name}[{i}]") for i, attack in enumerate(attacks))


def as_timing(timing: Any, name: str = "timing") -> Any:
    """Return a timing as it is.

    Raises:
        ValueError: the name of a timing, a class, or another object that does not say when to attack.
    """
    return _an_object(timing, name, "when", "a timing, such as Every(2)")


def made_env(make_env: Callable[..., Any], remedy: str, **numbers: int) -> Env:
    """Make an environment by the function that the user gave.

    Args:
        make_env: the function.
        remedy: a function that fits, for the message.
        numbers: its arguments, in their order.

    Raises:
        ValueError: not a function of these arguments, or it returns something else than an ``Env``.
    """
    wanted = f"make_env must be a function of ({', '.join(numbers)}) that returns a batched Env of rlkit"
    if not callable(make_env):
        raise ValueError(f"{wanted}, got {make_env!r:.80}: pass {remedy}")
    try:
        inspect.signature(make_env).bind(*numbers.values())
    except TypeError as error:
        raise ValueError(f"{wanted}, got one of {inspect.signature(make_env)}: pass {remedy}") from error
    except ValueError:  # a function without a signature
        pass
    env = make_env(*numbers.values())
    return as_batched_env(env, f"what make_env({', '.join(map(str, numbers.values()))}) returns")


def _an_object(given: Any, name: str, method: str, wanted: str) -> Any:
    """Return the object if it has the method of what is wanted, else raise ValueError."""
    if isinstance(given, type) and hasattr(given, method):
        raise ValueError(f"{name} must be {wanted}, got the class {given.__name__}: write {given.__name__}(...)")
    if isinstance(given, type) or not callable(getattr(given, method, None)):
        raise ValueError(f"{name} must be {wanted}, got {given!r:.80}: pass an object of rlkit.adversarial")
    return given
