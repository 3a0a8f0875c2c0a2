"""From a name to S x B environments: the function that agents make their environments with.

An id is any that ``gymnasium.make`` takes. ``"mymodule:My-v0"`` imports ``mymodule``, which registers the id, first;
rlkit's own are ``"rlkit/CartPole-v1"``, or ``"rlkit:rlkit/CartPole-v1"`` where nothing has imported rlkit yet.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from operator import index
from typing import Any, TypeVar

import gymnasium
import torch
from gymnasium.envs.registration import EnvSpec

from rlkit.streams import as_seeds
from rlkit.types import Env

from .batched import BatchedEnv, Noise
from .cartpole import CartPole
from .dynamics import Dynamics
from .foreign import ForeignEnv
from .gridworld import GridWorld
from .probes import PROBES
from .worker import check_step_timeout

NATIVE: dict[str, Callable[..., Dynamics]] = {
    "rlkit/CartPole-v1": CartPole,
    "rlkit/GridWorld-v0": GridWorld,
    **{f"rlkit/probe-{name}": probe for name, probe in PROBES.items()},
}
TWINS = {"CartPole-v1": "rlkit/CartPole-v1"}  # gymnasium's id -> the same dynamics here
EnvSource = str | EnvSpec | Dynamics | Callable[[], gymnasium.Env]
Made = TypeVar("Made")


def make(
    env: EnvSource,
    *,
    seeds: int | Iterable[int] = 1,
    num_envs: int = 1,
    device: torch.device | str = "cpu",
    backend: str = "auto",
    restart: bool = True,
    noise: Noise = "stream",
    double: bool = False,
    freeze_rows: bool = False,
    step_timeout: float | None = None,
    env_kwargs: dict[str, Any] | None = None,
) -> Env:
    """Make S seeds x ``num_envs`` copies of an environment.

    Args:
        env: an id, ``"module:id"``, an ``EnvSpec``, a ``Dynamics``, or a function that makes a ``gymnasium.Env``.
        seeds: a count, where 8 means ``range(8)``, or one integer per row.
        num_envs: copies per seed.
        device: where the tensors are; foreign environments step on the CPU and move the result.
        backend: "auto" replaces a gymnasium id by its native twin where there is one; "gymnasium" never does.
        restart: as in ``BatchedEnv``.
        noise: as in ``BatchedEnv``.
        double: as in ``BatchedEnv``.
        freeze_rows: as in ``ForeignEnv``; dynamics of rlkit have no faults of this kind.
        step_timeout: as in ``ForeignEnv``; dynamics of rlkit step in this process.
        env_kwargs: arguments of the environment, for example ``{"map": "4x4"}``; none with a ``Dynamics``.

    Raises:
        ValueError: an unknown id (the nearest known is named) or module, an environment that is made already, an
            unknown backend, arguments that its maker does not take, a space that is not supported, or seeds or copies
            that are not integers, or fewer than one.
    """
    kwargs = dict(env_kwargs or {})
    rows, copies = as_seeds(seeds), _as_copies(num_envs)
    check_step_timeout(step_timeout)
    dynamics = find_dynamics(env, backend, kwargs)
    if dynamics is not None:
        return BatchedEnv(dynamics, rows, copies, device, restart=restart, noise=noise, double=double)
    if isinstance(env, str | EnvSpec):
        return ForeignEnv(
            _gymnasium_maker(env, kwargs), rows, copies, device, restart, noise, freeze_rows, step_timeout
        )
    if isinstance(env, Dynamics) or not callable(env):
        raise ValueError(
            f"{env!r} is one environment, and every copy needs its own: pass its id, or a function that makes a new "
            "one in each call, lambda: gymnasium.make(...)"
        )
    maker = _with_arguments(getattr(env, "__name__", repr(env)), env, kwargs)
    return ForeignEnv(maker, rows, copies, device, restart, noise, freeze_rows, step_timeout)


def _as_copies(num_envs: int) -> int:
    """Return the number of copies as an integer; one of numpy or torch is one too.

    Raises:
        ValueError: anything else.
    """
    try:
        return index(num_envs)
    except TypeError as error:
        raise ValueError(f"num_envs must be an integer at least 1, got {num_envs!r}") from error


def find_dynamics(
    env: EnvSource,
    backend: str = "auto",
    env_kwargs: dict[str, Any] | None = None,
) -> Dynamics | None:
    """Return the native dynamics behind an environment, None where gymnasium's own has to run.

    An ``EnvSpec`` has native dynamics if it differs from the registered one in its arguments at most.

    Args:
        env: an id, a specification or a function that makes an environment.
        backend: "auto" prefers native dynamics; "gymnasium" excludes them for ids of gymnasium.
        env_kwargs: arguments of the environment.

    Raises:
        ValueError: an unknown backend or module, or an argument that the environment does not have or cannot take any
            more.
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
    if not isinstance(env, str | EnvSpec):
        return None
    kwargs = dict(env_kwargs or {})
    if isinstance(env, EnvSpec):
        registered = gymnasium.registry.get(env.id)
        if registered is None or replace(env, kwargs=registered.kwargs) != registered:
            return None
        kwargs = {argument: value for argument, value in env.kwargs.items() if argument != "render_mode"} | kwargs
    own = env.id if isinstance(env, EnvSpec) else _imported(env)
    name = TWINS.get(own, own) if backend == "auto" else own
    if name not in NATIVE:
        return None
    return _with_arguments(own, NATIVE[name], kwargs)()


def _imported(env: str) -> str:
    """Import the module of ``"module:id"``, which registers the id, and return the id.

    Raises:
        ValueError: no such module.
    """
    module, _, name = env.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise ValueError(
                f"environment {env!r} names the module {module!r}, which cannot be imported: {error}"
            ) from error
    return name


def _with_arguments(name: str, maker: Callable[..., Made], kwargs: dict[str, Any]) -> Callable[[], Made]:
    """Return a function of no arguments that calls ``maker`` with these.

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


def registered_id(env: EnvSource) -> str | None:
    """Return the id of an environment without its module, gymnasium's for a native twin.

    A function and dynamics that are not registered have none: None.
    """
    if isinstance(env, EnvSpec):
        name: str | None = env.id
    elif isinstance(env, str):
        name = env.rpartition(":")[2]
    else:
        name = next((name for name, kind in NATIVE.items() if kind is type(env)), None)
    return next((original for original, twin in TWINS.items() if twin == name), name)


def _gymnasium_maker(env: str | EnvSpec, kwargs: dict[str, Any]) -> Callable[[], gymnasium.Env]:
    """Return a function that makes gymnasium's environment; an id is checked at once.

    Raises:
        ValueError: no such id.
    """
    if isinstance(env, EnvSpec):
        return partial(gymnasium.make, env, **kwargs)
    name = _imported(env)
    try:
        spec = gymnasium.spec(name)
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.Error) as error:
        known = [*gymnasium.registry, *NATIVE, *TWINS]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "gymnasium.pprint_registry() lists the known ones"
        if name.endswith("Policy"):  # 'MlpPolicy', which stable-baselines3 puts first
            hint = "an agent's first argument is its environment, and network='mlp' or 'cnn' is what reads it"
        raise ValueError(f"unknown environment {name!r}: {hint}") from error
    return partial(_registered, name, spec, kwargs)


def _registered(name: str, spec: EnvSpec, kwargs: dict[str, Any]) -> gymnasium.Env:
    """Make gymnasium's environment; a worker process need not have registered it."""
    gymnasium.registry.setdefault(spec.id, spec)
    return gymnasium.make(name, **kwargs)
