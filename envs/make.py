"""From a name to S x B environments: the one door that agents use."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from functools import partial
from operator import index
from typing import Any, TypeVar

import gymnasium
import torch

from rlkit.streams import as_seeds
from rlkit.types import Env

from .batched import BatchedEnv, Noise
from .cartpole import CartPole
from .dynamics import Dynamics
from .foreign import ForeignEnv
from .gridworld import GridWorld
from .probes import PROBES

NATIVE: dict[str, Callable[..., Dynamics]] = {
    "rlkit/CartPole-v1": CartPole,
    "rlkit/GridWorld-v0": GridWorld,
    **{f"rlkit/probe-{name}": probe for name, probe in PROBES.items()},
}
Made = TypeVar("Made")
TWINS = {"CartPole-v1": "rlkit/CartPole-v1"}  # gymnasium's id -> the same dynamics here


def make(
    env: str | Dynamics | Callable[[], gymnasium.Env],
    *,
    seeds: int | Iterable[int] = 1,
    num_envs: int = 1,
    device: torch.device | str = "cpu",
    backend: str = "auto",
    restart: bool = True,
    noise: Noise = "stream",
    double: bool = False,
    env_kwargs: dict[str, Any] | None = None,
) -> Env:
    """S seeds x ``num_envs`` copies of an environment.

    Args:
        env: an id, a ``Dynamics``, or a function that makes a ``gymnasium.Env``.
        seeds: a count, where 8 means ``range(8)``, or one integer per row.
        num_envs: copies per seed.
        device: where the tensors are; foreign environments step on the CPU and move the result.
        backend: "auto" replaces a gymnasium id by its native twin where there is one; "gymnasium" never does.
        restart: as in ``BatchedEnv``.
        noise: as in ``BatchedEnv``.
        double: as in ``BatchedEnv``.
        env_kwargs: passed to what makes the environment, for example ``{"map": "4x4"}``; none with a ``Dynamics``.

    Raises:
        ValueError: an unknown id (the nearest known is named), an environment that is made already, an unknown
            backend, arguments that its maker does not take, a space that is not supported, or seeds or copies that are
            not integers, or fewer than one.
    """
    kwargs = dict(env_kwargs or {})
    rows, copies = as_seeds(seeds), _as_copies(num_envs)
    dynamics = find_dynamics(env, backend, kwargs)
    if dynamics is not None:
        return BatchedEnv(dynamics, rows, copies, device, restart=restart, noise=noise, double=double)
    if isinstance(env, str):
        return ForeignEnv(_gymnasium_maker(env, kwargs), rows, copies, device, restart=restart, noise=noise)
    if isinstance(env, Dynamics) or not callable(env):
        raise ValueError(
            f"{env!r} is one environment, and every copy needs its own: pass its id, or a function that makes a new "
            "one in each call, lambda: gymnasium.make(...)"
        )
    maker = _with_arguments(getattr(env, "__name__", repr(env)), env, kwargs)
    return ForeignEnv(maker, rows, copies, device, restart=restart, noise=noise)


def _as_copies(num_envs: int) -> int:
    """The number of copies as an integer, of numpy or torch too.

    Raises:
        ValueError: anything else.
    """
    try:
        return index(num_envs)
    except TypeError as error:
        raise ValueError(f"num_envs must be an integer at least 1, got {num_envs!r}") from error


def find_dynamics(
    env: str | Dynamics | Callable[[], gymnasium.Env],
    backend: str = "auto",
    env_kwargs: dict[str, Any] | None = None,
) -> Dynamics | None:
    """The native dynamics behind a name, None where gymnasium's own environment has to run.

    Raises:
        ValueError: an unknown backend, or an argument that the environment does not have or cannot take any more.
    """
    if backend not in ("auto", "gymnasium"):
        raise ValueError(f"backend must be 'auto' or 'gymnasium', got {backend!r}")
    if isinstance(env, Dynamics):
        if env_kwargs:
            raise ValueError(
                f"{type(env).__name__} is made already and env_kwargs {env_kwargs} would change nothing: pass them to "
                "its constructor"
            )
        return env
    if not isinstance(env, str):
        return None
    name = TWINS.get(env, env) if backend == "auto" else env
    if name not in NATIVE:
        return None
    return _with_arguments(env, NATIVE[name], env_kwargs or {})()


def _with_arguments(name: str, maker: Callable[..., Made], kwargs: dict[str, Any]) -> Callable[[], Made]:
    """A function and the arguments that it is called with.

    Raises:
        ValueError: it does not take them, or needs more.
    """
    signature = inspect.signature(maker)
    try:
        signature.bind(**kwargs)
    except TypeError as error:
        known = ", ".join(signature.parameters) or "none"
        raise ValueError(f"{name} cannot be made with {kwargs}: {error}; it takes {known}") from error
    return partial(maker, **kwargs)


def registered_id(env: str | Dynamics | Callable[[], gymnasium.Env]) -> str | None:
    """The id of an environment, gymnasium's for a native twin; None for a function and for dynamics without a name."""
    name = env if isinstance(env, str) else next((name for name, kind in NATIVE.items() if kind is type(env)), None)
    return next((theirs for theirs, ours in TWINS.items() if ours == name), name)


def _gymnasium_maker(name: str, kwargs: dict[str, Any]) -> Callable[[], gymnasium.Env]:
    """A function that makes gymnasium's environment ``name``; the id is checked at once.

    Raises:
        ValueError: no such id.
    """
    try:
        gymnasium.spec(name)
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.Error) as error:
        known = [*gymnasium.registry, *NATIVE, *TWINS]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "gymnasium.pprint_registry() lists the known ones"
        if name.endswith("Policy"):  # 'MlpPolicy', which stable-baselines3 puts first
            hint = "an agent's first argument is its environment, and network='mlp' or 'cnn' is what reads it"
        raise ValueError(f"unknown environment {name!r}: {hint}") from error
    return lambda: gymnasium.make(name, **kwargs)
