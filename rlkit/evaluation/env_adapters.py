"""Environments of gymnasium and stable-baselines3 as copies whose episodes can be started from a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

Infos = Sequence[dict[str, Any]]  # one a copy
Stepped = tuple[Any, Sequence[Any], Sequence[Any], Infos]  # observations, rewards, dones, infos


class EnvAdapter(NamedTuple):
    """A foreign environment as n copies; every call is over all of them."""

    num_envs: int  # n
    limit: int | None  # the environment's time limit in steps
    monitored: bool  # whether infos report finished episodes
    start: Callable[[int], tuple[Any, Infos]]  # seed -> first observations [n, ...]; copy i is reset with seed + i
    step: Callable[[NDArray[Any]], Stepped]  # actions [n, ...]
    masks: Callable[[Infos], NDArray[Any] | None]  # the actions allowed next [n, A]; None where infos do not say


def adapter_of(env: Any) -> EnvAdapter | None:
    """The face of a foreign environment, None for an ``Env`` of ours.

    Raises:
        ValueError: no known kind of environment.
    """
    if isinstance(env, VectorEnv):
        return vector_adapter(env)
    if isinstance(env, gymnasium.Env):
        return serial_adapter(env)
    if hasattr(env, "step_async") and hasattr(env, "env_is_wrapped"):
        return stable_baselines_adapter(env)
    if hasattr(env, "seeds") and hasattr(env, "num_envs"):
        return None
    raise ValueError(
        "env must be a gymnasium Env or VectorEnv, a stable-baselines3 VecEnv or a batched Env of rlkit, "
        f"got {type(env).__name__}: make one with gymnasium.make(id)"
    )


def serial_adapter(env: gymnasium.Env) -> EnvAdapter:
    """A ``gymnasium.Env`` as one copy."""
    monitored = is_monitored(env)

    def start(seed: int) -> tuple[Any, Infos]:
        obs, info = env.reset(seed=seed)
        return _batch_of_one(obs), [info]

    def step(actions: NDArray[Any]) -> Stepped:
        obs, reward, terminated, truncated, info = env.step(actions[0])
        done = terminated or truncated
        if done and monitored and "episode" not in info:
            obs, info = env.reset()  # a life lost: the episode goes on
        return _batch_of_one(obs), [reward], [done], [info]

    return EnvAdapter(1, _limit(env.spec), monitored, start, step, _stacked_masks)


def vector_adapter(env: VectorEnv) -> EnvAdapter:
    """A gymnasium ``VectorEnv``, whatever its autoreset mode: only the first episode after ``start`` counts."""
    seeds = np.arange(env.num_envs)
    mode = env.metadata.get("autoreset_mode")
    by_hand = mode == AutoresetMode.DISABLED
    statistics = gymnasium.wrappers.vector.RecordEpisodeStatistics  # forget every copy when one alone is reset
    forgetful = by_hand and any(isinstance(layer, statistics) for layer in layers(env))

    def start(seed: int) -> tuple[Any, Infos]:
        options: Any = {"seed": (seed + seeds).tolist()}  # a list is accepted though the base class does not say so
        obs, infos = env.reset(**options)
        return obs, [infos] * env.num_envs

    def step(actions: NDArray[Any]) -> Stepped:
        obs, rewards, terminated, truncated, infos = env.step(actions)
        dones = terminated | truncated
        begun: dict[str, Any] = {}
        if dones.any() and by_hand:
            obs, begun = env.reset(options={"reset_mask": dones})
        if "action_mask" in infos and mode != AutoresetMode.SAME_STEP:
            # of the next episode's beginning, or everything where the step that resets does not heed its action
            infos["action_mask"] = np.where(dones[:, None], begun.get("action_mask", True), infos["action_mask"])
        return obs, rewards, dones, _by_copy(infos, env.num_envs)

    def masks(infos: Infos) -> NDArray[Any] | None:
        return infos[0].get("action_mask")  # one dictionary for all copies, with arrays of their values

    return EnvAdapter(env.num_envs, _limit(env.spec), is_monitored(env) and not forgetful, start, step, masks)


def stable_baselines_adapter(env: Any) -> EnvAdapter:
    """A stable-baselines3 ``VecEnv``."""
    from stable_baselines3.common.monitor import Monitor

    def start(seed: int) -> tuple[Any, Infos]:
        env.seed(seed)  # copy i takes seed + i at the next reset
        return env.reset(), env.unwrapped.reset_infos

    def step(actions: NDArray[Any]) -> Stepped:
        obs, rewards, dones, infos = env.step(actions)
        told = [  # an ended copy shows the next episode's beginning, while its info is of the end
            {**info, "action_mask": begun["action_mask"]} if done and "action_mask" in begun else info
            for info, begun, done in zip(infos, env.unwrapped.reset_infos, dones, strict=True)
        ]
        return obs, rewards, dones, told

    spec = None
    with suppress(AttributeError, NotImplementedError):
        spec = env.get_attr("spec", 0)[0]
    kinds = (Monitor, gymnasium.wrappers.RecordEpisodeStatistics)  # other processes can be asked for these
    monitored = is_monitored(env) or any(all(env.env_is_wrapped(kind)) for kind in kinds)
    return EnvAdapter(env.num_envs, _limit(spec), monitored, start, step, _stacked_masks)


def layers(env: Any) -> Iterator[Any]:
    """An environment and what it wraps, from the outside in, copy by copy in ``SyncVectorEnv`` and ``DummyVecEnv``.

    The copies of ``AsyncVectorEnv`` and ``SubprocVecEnv`` are in other processes and cannot be looked into.
    """
    yield env
    for inner in _wrapped(env):
        yield from layers(inner)


def _wrapped(env: Any) -> list[Any]:
    """What a wrapper wraps, or the copies of a vector environment."""
    own = vars(env)  # not getattr: stable-baselines3's wrappers answer for what they wrap
    copies = own.get("envs", ()) if hasattr(env, "num_envs") else ()
    return [inner for inner in (*copies, own.get("env"), own.get("venv")) if hasattr(inner, "step")]


def is_monitored(env: Any) -> bool:
    """Whether infos report the return of every finished episode: a monitor is around the whole or in every copy."""
    inside = _wrapped(env)
    return _is_monitor(env) or (len(inside) > 0 and all(is_monitored(inner) for inner in inside))


def _is_monitor(layer: Any) -> bool:
    ours = gymnasium.wrappers.RecordEpisodeStatistics | gymnasium.wrappers.vector.RecordEpisodeStatistics
    # stable-baselines3's monitors are known by what they add to infos: no need to import them
    return isinstance(layer, ours) or "info_keywords" in vars(layer)


def changes_returns(env: Any, monitored: bool) -> bool:
    """Whether a wrapper changes the rewards of which returns are sums: one below a monitor, or any without one."""
    if monitored and _is_monitor(env):
        return any(_changes_reward(layer) for layer in layers(env))
    inside = any(changes_returns(inner, monitored) for inner in _wrapped(env))
    return inside or (not monitored and _changes_reward(env))


def _changes_reward(layer: Any) -> bool:
    return isinstance(
        layer,
        gymnasium.RewardWrapper
        | gymnasium.wrappers.NormalizeReward
        | gymnasium.vector.VectorRewardWrapper
        | gymnasium.wrappers.vector.NormalizeReward,
    )


@contextmanager
def frozen(env: Any) -> Iterator[None]:
    """Running statistics stop, and VecNormalize gives raw rewards, until the context ends."""
    before: list[tuple[Any, str, Any]] = []
    for layer in layers(env):
        names = ["training", "norm_reward"] if {"training", "norm_reward"} <= vars(layer).keys() else []
        names += ["update_running_mean"] if hasattr(type(layer), "update_running_mean") else []
        before += [(layer, name, getattr(layer, name)) for name in names]
    try:
        for layer, name, _ in before:
            setattr(layer, name, False)
        yield
    finally:
        for layer, name, value in before:
            setattr(layer, name, value)


@contextmanager
def generator_kept(env: Any) -> Iterator[None]:
    """A ``gymnasium.Env`` has its random generator back when the context ends; other kinds cannot be asked for it."""
    if not isinstance(env, gymnasium.Env):
        yield
        return
    generator = env.unwrapped.np_random
    try:
        yield
    finally:
        if generator is not None:
            env.unwrapped.np_random = generator


def _by_copy(infos: dict[str, Any], num_envs: int) -> Infos:
    """A vector environment's infos for every copy, ``"episode"`` for those alone whose episode is reported."""
    reported = infos if "_episode" in infos else infos.get("final_info", {})  # the latter if a step also resets
    if "_episode" not in reported:
        return [infos] * num_envs
    rest = {name: value for name, value in infos.items() if name != "episode"}
    return [
        {**rest, "episode": {name: reported["episode"][name][i] for name in ("r", "l")}} if ended else rest
        for i, ended in enumerate(reported["_episode"])
    ]


def _stacked_masks(infos: Infos) -> NDArray[Any] | None:
    """``info["action_mask"]`` of every copy ``[n, A]``; None where some copy has none."""
    return np.stack([info["action_mask"] for info in infos]) if all("action_mask" in info for info in infos) else None


def _limit(spec: gymnasium.envs.registration.EnvSpec | None) -> int | None:
    return None if spec is None else spec.max_episode_steps


def _batch_of_one(obs: Any) -> Any:
    """An observation with a leading axis of one, also inside dictionaries."""
    if isinstance(obs, dict):
        return {name: _batch_of_one(part) for name, part in obs.items()}
    return np.asarray(obs)[None]
