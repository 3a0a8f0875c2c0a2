"""Environments of gymnasium and stable-baselines3 as copies whose episodes start from a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from rlkit.env_checker import EnvChecker, as_array, env_name

Infos = Sequence[dict[str, Any]]  # one a copy


class Stepped(NamedTuple):
    """One step of every copy."""

    observations: Any  # [n, *observation]
    rewards: Sequence[Any]  # [n]
    dones: Sequence[Any]  # [n] the environment's own flags: terminated or truncated
    ended: NDArray[np.bool_]  # [n] whether the episode is over; a lost life ends none
    counted: NDArray[np.bool_]  # [n] whether the action was taken; not in a step by which a copy restarts itself
    infos: Infos


class EnvAdapter(NamedTuple):
    """An environment of another library as n copies; every call is over all of them."""

    num_envs: int  # n
    limit: int | None  # the environment's time limit in steps
    monitored: bool  # whether infos report the episodes that the monitors see end
    start: Callable[[int], tuple[Any, Infos]]  # seed -> first observations [n, ...]; copy i is reset with seed + i
    step: Callable[[NDArray[Any]], Stepped]  # actions [n, ...]
    masks: Callable[[Infos], NDArray[Any] | None]  # the actions allowed next [n, A]; None where infos do not say


def adapter_of(env: Any) -> EnvAdapter | None:
    """Return the adapter of another library's environment, None for an ``Env`` of rlkit.

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
    """Adapt a ``gymnasium.Env`` as one copy; infos hold what stable-baselines3's ``DummyVecEnv`` adds to them."""
    monitored, resets, clock = is_monitored(env), Resets([env]), Clock(1)
    checker = EnvChecker(env_name(env), env.observation_space, clock.words)

    def start(seed: int) -> tuple[Any, Infos]:
        clock.start(seed)
        obs, info = checker.reset(0, env, seed=seed)
        return _batch_of_one(obs), [info]

    def step(actions: NDArray[Any]) -> Stepped:
        clock.step += 1
        obs, reward, terminated, truncated, info = checker.step(0, env, actions[0])
        done = ended = terminated or truncated
        info = {**info, "TimeLimit.truncated": bool(truncated and not terminated)}
        if done:
            info["terminal_observation"] = deepcopy(obs)
        if done and monitored and not truncated and "episode" not in info:
            resets.seen()
            obs, begun = checker.reset(0, env)
            ended = bool(resets.seen()[0])
            info |= {name: begun[name] for name in ("action_mask",) if name in begun}
        return Stepped(_batch_of_one(obs), [reward], [done], np.array([ended]), np.ones(1, np.bool_), [info])

    return checked(EnvAdapter(1, _limit(env.spec), monitored, start, step, _stacked_masks), checker)


def vector_adapter(env: VectorEnv) -> EnvAdapter:
    """Adapt a gymnasium ``VectorEnv`` of any autoreset mode."""
    seeds = np.arange(env.num_envs)
    mode = env.metadata.get("autoreset_mode")
    by_hand = mode == AutoresetMode.DISABLED
    next_step = mode not in (AutoresetMode.DISABLED, AutoresetMode.SAME_STEP)
    statistics = gymnasium.wrappers.vector.RecordEpisodeStatistics  # forget every copy when one alone is reset
    forgetful = by_hand and any(isinstance(layer, statistics) for layer in layers(env))
    monitored = is_monitored(env) and not forgetful
    resets = Resets(vars(env.unwrapped).get("envs") or [None] * env.num_envs)
    restarting = np.zeros(env.num_envs, dtype=np.bool_)  # copies whose next step is their reset
    clock = Clock(env.num_envs)
    checker = EnvChecker(_name_of_copies(env), env.single_observation_space, clock.words)

    def start(seed: int) -> tuple[Any, Infos]:
        clock.start(seed)
        options: Any = {"seed": (seed + seeds).tolist()}  # a list is accepted though the base class does not say so
        obs, infos = checker.call(None, env.reset, **options)
        restarting[:] = False
        resets.seen()
        return _copied(obs), [infos] * env.num_envs

    def step(actions: NDArray[Any]) -> Stepped:
        clock.step += 1
        obs, rewards, terminated, truncated, infos = checker.call(None, env.step, actions)
        dones = terminated | truncated
        begun: dict[str, Any] = {}
        if dones.any() and by_hand:
            obs, begun = checker.call(None, env.reset, options={"reset_mask": dones})
        if "action_mask" in infos and mode != AutoresetMode.SAME_STEP:
            # of the next episode's beginning, or everything where the step that resets does not heed its action
            infos["action_mask"] = np.where(dones[:, None], begun.get("action_mask", True), infos["action_mask"])
        by_copy, reached = _by_copy(infos, env.num_envs), resets.seen()
        ended = dones & (_known_ends(monitored, truncated, by_copy) | reached) | (restarting & reached)
        counted = ~restarting
        restarting[:] = dones & next_step
        return Stepped(_copied(obs), rewards, dones, ended, counted, by_copy)

    def masks(infos: Infos) -> NDArray[Any] | None:
        return infos[0].get("action_mask")  # one dictionary for all copies, with arrays of their values

    return checked(EnvAdapter(env.num_envs, _limit(env.spec), monitored, start, step, masks), checker)


def stable_baselines_adapter(env: Any) -> EnvAdapter:
    """Adapt a stable-baselines3 ``VecEnv``."""
    from stable_baselines3.common.monitor import Monitor

    kinds = (Monitor, gymnasium.wrappers.RecordEpisodeStatistics)  # other processes can be asked for these
    by_copy = any(all(env.env_is_wrapped(kind)) for kind in kinds)
    monitored = by_copy or is_monitored(env)
    copies = vars(env.unwrapped).get("envs")
    resets = Resets(copies or [Elsewhere() if by_copy else None] * env.num_envs)
    clock = Clock(env.num_envs)
    checker = EnvChecker(_name_of_copies(env), env.observation_space, clock.words)

    def start(seed: int) -> tuple[Any, Infos]:
        clock.start(seed)
        env.seed(seed)  # copy i takes seed + i at the next reset
        obs = checker.call(None, env.reset)
        resets.seen()
        return deepcopy(obs), env.unwrapped.reset_infos

    def step(actions: NDArray[Any]) -> Stepped:
        clock.step += 1
        obs, rewards, dones, infos = checker.call(None, env.step, actions)
        truncated = np.array([info.get("TimeLimit.truncated", False) for info in infos])
        ended = dones & (_known_ends(monitored, truncated, infos) | resets.seen())
        told = [  # an ended copy shows the next episode's beginning, while its info is of the end
            {**info, "action_mask": begun["action_mask"]} if done and "action_mask" in begun else info
            for info, begun, done in zip(infos, env.unwrapped.reset_infos, dones, strict=True)
        ]
        return Stepped(deepcopy(obs), rewards, dones, ended, np.ones(env.num_envs, np.bool_), told)

    spec = None
    with suppress(AttributeError, NotImplementedError):
        spec = env.get_attr("spec", 0)[0]
    return checked(EnvAdapter(env.num_envs, _limit(spec), monitored, start, step, _stacked_masks), checker)


def checked(adapter: EnvAdapter, checker: EnvChecker) -> EnvAdapter:
    """Return the adapter with the observations and rewards of every call checked.

    Its calls raise ``FaultyEnvironmentError`` on what ``rlkit.env_checker`` calls a fault.
    """

    def start(seed: int) -> tuple[Any, Infos]:
        observations, infos = adapter.start(seed)
        checker.check_observations(observations)
        return observations, infos

    def step(actions: NDArray[Any]) -> Stepped:
        stepped = adapter.step(actions)
        checker.check_observations(stepped.observations)
        checker.check_rewards(stepped.rewards)
        return stepped

    return adapter._replace(start=start, step=step)


class Clock:
    """The present step of an evaluation of n copies, for messages."""

    def __init__(self, num_envs: int) -> None:
        self.num_envs, self.seed, self.step = num_envs, 0, 0

    def start(self, seed: int) -> None:
        """Begin the episodes of copies that are reset with seed, seed + 1, ..."""
        self.seed, self.step = seed, 0

    def words(self, copy: int | None) -> str:
        """Return where a copy is; None means all copies together."""
        if copy is None and self.num_envs > 1:
            return f"step {self.step} after reset(seed={self.seed} + copy)"
        copy = copy or 0
        return f"step {self.step} after reset(seed={self.seed + copy}), copy {copy}"


class Elsewhere:
    """A copy with a monitor in another process, which cannot be looked into."""

    def __init__(self) -> None:
        self.info_keywords = ()


class Resets:
    """Records which resets reach the monitors of the copies, to distinguish the end of an episode from a lost life.

    A wrapper above a monitor may end an episode without the monitor's knowledge, so that infos report nothing. If the
    reset that follows reaches the monitor, the episode was over. If it does not, a life was lost, as under
    stable-baselines3's ``EpisodicLifeEnv``, and the same episode continues.
    """

    def __init__(self, copies: Sequence[Any]) -> None:
        self._monitors = [None if copy is None else next(filter(_is_monitor, layers(copy)), None) for copy in copies]
        self._marks = [_mark(monitor) for monitor in self._monitors]

    def seen(self) -> NDArray[np.bool_]:
        """Return ``[n]`` where the monitor was reset since the last call; True for a copy without one.

        A copy in another process counts as never reset: as in stable-baselines3, its unreported end is a lost life.
        """
        before, self._marks = self._marks, [_mark(monitor) for monitor in self._monitors]
        pairs = zip(self._monitors, before, self._marks, strict=True)
        return np.array([monitor is None or mark is not old for monitor, old, mark in pairs])


def _mark(monitor: Any) -> object:
    """Return what every reset of a monitor replaces by a new object: its list of rewards, or its starting time."""
    own = {} if monitor is None else vars(monitor)
    return own.get("rewards", own.get("episode_start_time"))


def _known_ends(monitored: bool, truncated: NDArray[np.bool_], infos: Infos) -> NDArray[np.bool_]:
    """Return ``[n]`` where a finished copy's episode is surely over: unmonitored, truncated or reported."""
    ends: NDArray[np.bool_] = truncated | np.array([not monitored or "episode" in info for info in infos])
    return ends


def layers(env: Any) -> Iterator[Any]:
    """Yield an environment and what it wraps from the outside in, copy by copy in ``SyncVectorEnv``, ``DummyVecEnv``.

    The copies of ``AsyncVectorEnv`` and ``SubprocVecEnv`` are in other processes and cannot be looked into.
    """
    yield env
    for inner in _wrapped(env):
        yield from layers(inner)


def _wrapped(env: Any) -> list[Any]:
    """Return what a wrapper wraps, or the copies of a vector environment."""
    own = vars(env)  # not getattr: stable-baselines3's wrappers answer for what they wrap
    copies = own.get("envs", ()) if hasattr(env, "num_envs") else ()
    return [inner for inner in (*copies, own.get("env"), own.get("venv")) if hasattr(inner, "step")]


def is_monitored(env: Any) -> bool:
    """Return whether infos report episodes: a monitor is around the whole or in every copy."""
    inside = _wrapped(env)
    return _is_monitor(env) or (len(inside) > 0 and all(is_monitored(inner) for inner in inside))


def _is_monitor(layer: Any) -> bool:
    gymnasiums = gymnasium.wrappers.RecordEpisodeStatistics | gymnasium.wrappers.vector.RecordEpisodeStatistics
    # stable-baselines3's monitors are known by what they add to infos: no need to import them
    return isinstance(layer, gymnasiums) or "info_keywords" in vars(layer)


def changes_returns(env: Any, monitored: bool) -> bool:
    """Return whether a wrapper changes the rewards that are summed: one below a monitor, or any without a monitor."""
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
    """Stop running statistics and have VecNormalize give raw rewards until the context ends."""
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
    """Give a ``gymnasium.Env`` its random generator back when the context ends; other kinds have none to ask for."""
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
    """Return a vector environment's infos for every copy; only copies whose episode is reported have ``"episode"``."""
    reported = infos if "_episode" in infos else infos.get("final_info", {})  # the latter if a step also resets
    if "_episode" not in reported:
        return [infos] * num_envs
    rest = {name: value for name, value in infos.items() if name != "episode"}
    return [
        {**rest, "episode": {name: reported["episode"][name][i] for name in ("r", "l")}} if ended else rest
        for i, ended in enumerate(reported["_episode"])
    ]


def _stacked_masks(infos: Infos) -> NDArray[Any] | None:
    """Return ``info["action_mask"]`` of every copy ``[n, A]``; None where some copy has none."""
    return np.stack([info["action_mask"] for info in infos]) if all("action_mask" in info for info in infos) else None


def _name_of_copies(env: Any) -> str:
    """Return the name of a vector environment's copies, its own where they are in other processes."""
    copies = vars(env.unwrapped).get("envs")
    return env_name(copies[0] if copies else env)


def _limit(spec: gymnasium.envs.registration.EnvSpec | None) -> int | None:
    return None if spec is None else spec.max_episode_steps


def _copied(obs: Any) -> Any:
    """Copy the observations of n copies; those of a Tuple of k Discretes become one array ``[n, k]``."""
    if isinstance(obs, tuple) and all(isinstance(part, np.ndarray) and part.ndim == 1 for part in obs):
        return np.stack(obs, axis=-1)
    return deepcopy(obs)


def _batch_of_one(obs: Any) -> Any:
    """Copy an observation with a leading axis of one, also inside dictionaries."""
    if isinstance(obs, dict):
        return {name: _batch_of_one(part) for name, part in obs.items()}
    return np.array(as_array(obs))[None]
