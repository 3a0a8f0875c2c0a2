"""Checks of what an environment of another library returns.

    what                     what it must be                                                           otherwise
    result of ``reset``      a pair (observation, info)                                                fault
    result of ``step``       (observation, reward, terminated, truncated, info)                        fault
    ``reset`` and ``step``   return without raising                                                    fault, chained
                             return in time, where a time limit was asked for                          fault
    observation              numbers of its space's shape that its dtype can hold, finite in float32   fault
                             one of the integers of a Discrete, MultiDiscrete or MultiBinary space     fault
                             within the bounds of a Box                                                one warning
    reward                   one number, finite in float32                                             fault
    terminated, truncated    a bool                                                                    fault
    info                     a dict                                                                    fault

A fault is a ``FaultyEnvironmentError`` that names environment, step and copy. A Box whose bounds are too narrow is no
fault: LunarLander leaves its bounds in rare episodes (gymnasium's issue 752), and every agent can read such
observations.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

Result = TypeVar("Result")
LARGEST = float(np.finfo(np.float32).max)
REMEDY = "mend or wrap the environment"
Numeric = spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary


class FaultyEnvironmentError(RuntimeError):
    """An environment raised an exception or returned what it must not."""


class UnresponsiveEnvironmentError(RuntimeError):
    """An environment in another process did not answer in time, or its process has ended; the message says which."""


class EnvChecker:
    """The checks of the module's table for the copies of one environment.

    Args:
        name: name of the environment, for messages.
        space: the observation space of one copy. The observations of spaces without numbers are not checked.
        locate: copy -> the words that say where it is, such as "step 3, copy 1"; None means all copies together.
    """

    def __init__(self, name: str, space: spaces.Space[Any], locate: Callable[[int | None], str]) -> None:
        self.name, self.space, self._locate = name, space, locate
        self._parts = dict(_numeric_parts(space))
        self._warned = False

    def fault(self, copy: int | None, what: str, why: str) -> FaultyEnvironmentError:
        """Return the error of a copy that returned ``what``."""
        return FaultyEnvironmentError(f"{self.name} returned {what} at {self._locate(copy)}: {why}; {REMEDY}")

    def call(self, copy: int | None, method: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
        """Call a method of the environment.

        Raises:
            FaultyEnvironmentError: it raised an exception, which is chained, or did not answer.
        """
        try:
            return method(*arguments, **options)
        except FaultyEnvironmentError:
            raise
        except UnresponsiveEnvironmentError as error:
            raise FaultyEnvironmentError(f"{self.name} {error} at {self._locate(copy)}") from error
        except Exception as error:
            raise FaultyEnvironmentError(
                f"{self.name} raised {type(error).__name__}: {error} at {self._locate(copy)}"
            ) from error

    def reset(self, copy: int, env: gymnasium.Env, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Reset one copy and return (observation, info).

        Raises:
            FaultyEnvironmentError: see the table; numbers in the observation are for ``check_observations``.
        """
        result: Any = self.call(copy, env.reset, **options)
        if type(result) is not tuple or len(result) != 2:
            raise self.fault(copy, _described(result), "reset must return a pair (observation, info)")
        obs, info = result
        if not isinstance(info, dict):
            raise self.fault(copy, f"info {info!r}", "it must be a dict")
        return obs, info

    def step(self, copy: int, env: gymnasium.Env, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step one copy and return (observation, reward, terminated, truncated, info).

        Raises:
            FaultyEnvironmentError: see the table; numbers in the observation are for ``check_observations``.
        """
        result: Any = self.call(copy, env.step, action)
        if type(result) is not tuple or len(result) != 5:
            why = "step must return (observation, reward, terminated, truncated, info)"
            raise self.fault(copy, _described(result), why)
        obs, reward, terminated, truncated, info = result
        if type(reward) is not float or not -LARGEST <= reward <= LARGEST:
            reward = self._reward(copy, reward)
        if type(terminated) is not bool:
            terminated = self._flag(copy, "terminated", terminated)
        if type(truncated) is not bool:
            truncated = self._flag(copy, "truncated", truncated)
        if type(info) is not dict and not isinstance(info, dict):
            raise self.fault(copy, f"info {info!r}", "it must be a dict")
        return obs, reward, terminated, truncated, info

    def _reward(self, copy: int, reward: Any) -> float:
        given = as_array(reward)
        if given.size != 1 or given.dtype.kind not in "fiub":
            raise self.fault(copy, f"reward {reward!r}", "it must be one number")
        number = float(given.item())
        if not -LARGEST <= number <= LARGEST:  # also NaN
            raise self.fault(copy, f"reward {number}", "not a finite number in float32")
        return number

    def _flag(self, copy: int, name: str, flag: Any) -> bool:
        if not isinstance(flag, np.bool_) and (np.shape(flag) != () or as_array(flag).dtype != np.bool_):
            raise self.fault(copy, f"{name} {flag!r}", "it must be True or False")
        return bool(flag)

    def observation(self, copy: int, obs: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Return one copy's observation as an array of this dtype and shape.

        Raises:
            FaultyEnvironmentError: another shape, another kind of number, or a number that the dtype cannot hold.
        """
        given = as_array(obs)
        if given.dtype == dtype and given.shape == shape:
            return given
        if given.shape != shape or not np.can_cast(given.dtype, dtype, "same_kind"):
            raise self.fault(copy, f"an observation of {given.dtype} {given.shape}", f"its space is {self.space}")
        with np.errstate(over="ignore"):
            held: NDArray[Any] = given.astype(dtype)
        overflown = np.isinf(held) & np.isfinite(given) if dtype.kind == "f" else held != given
        if overflown.any():
            raise self.fault(copy, f"observation {given}", f"not a finite element of {self.space}")
        return held

    def faulty_observations(self, observations: Any) -> Iterator[tuple[int, FaultyEnvironmentError]]:
        """Yield the copies whose observations are faulty, with their errors; warn once of a Box that is too narrow.

        Args:
            observations: ``[n, *observation]``, of a Dict or Tuple space one such array a part.

        Raises:
            FaultyEnvironmentError: all have another shape or kind of number.
        """
        for path, allowed in self._parts.items():
            part = observations
            try:
                for place in path:  # one copy's Tuple may be an array [n, k]
                    part = part[:, place] if isinstance(part, np.ndarray) else part[place]
            except (IndexError, KeyError, TypeError):
                raise self.fault(None, f"{part!r} as observation", f"its space is {self.space}") from None
            values = np.asarray(part)
            if values.shape[1:] != allowed.shape or not allowed.can_hold(values.dtype):
                what = f"observations of {values.dtype} {values.shape[1:]}"
                raise self.fault(None, what, f"their space is {allowed.space}")
            if allowed.everything or allowed.contains(values):
                continue
            sound, within = allowed.by_copy(values)
            for copy in np.flatnonzero(~sound).tolist():
                why = f"not a finite element of {allowed.space}"
                yield copy, self.fault(copy, f"observation {values[copy]}", why)
            if not self._warned and (sound & ~within).any():
                self._warned = True
                copy = int(np.flatnonzero(sound & ~within)[0])
                warnings.warn(
                    f"{self.name} returned observation {values[copy]} at {self._locate(copy)}, which is outside its "
                    f"space {allowed.space}: it is used as it is; give the space wider bounds",
                    RuntimeWarning,
                    stacklevel=2,
                )

    def check_observations(self, observations: Any) -> None:
        """Raise the first fault of ``faulty_observations``.

        Raises:
            FaultyEnvironmentError: see the table.
        """
        for _, fault in self.faulty_observations(observations):
            raise fault

    def check_rewards(self, rewards: ArrayLike) -> None:
        """Check the rewards of all copies, ``[n]``.

        Raises:
            FaultyEnvironmentError: one is not a number, or is not finite in float32.
        """
        values = np.asarray(rewards)
        if values.dtype.kind not in "fiub":
            raise self.fault(None, f"rewards of {values.dtype}", "they must be numbers")
        sound = np.abs(values) <= LARGEST  # NaN compares false
        if not sound.all():
            copy = int(np.flatnonzero(~sound)[0])
            raise self.fault(copy, f"reward {values[copy]}", "not a finite number in float32")


class Allowed:
    """The values that a numeric space allows, as bounds ``[*observation]`` that float32 can hold."""

    def __init__(self, space: Numeric) -> None:
        self.space = space
        self.integers = not isinstance(space, spaces.Box)  # outside them nothing can be read: an index has no row
        least, most = _bounds(space)
        kind = self._dtype = np.dtype(space.dtype)
        self.shape = space.shape or ()
        narrow = kind if kind == np.float32 else np.float64  # comparisons of one dtype are faster
        self.least, self.most = (np.clip(bound, -LARGEST, LARGEST).astype(narrow) for bound in (least, most))
        self.everything = False  # whether no number of the space's dtype is outside, as for images
        if kind.kind in "iu":
            numbers: Any = np.iinfo(kind)
            self.everything = bool((least <= numbers.min).all() and (most >= numbers.max).all())

    def can_hold(self, dtype: np.dtype[Any]) -> bool:
        """Return whether the space's dtype can hold numbers of another one, rounded if need be."""
        return dtype == self._dtype or np.can_cast(dtype, self._dtype, "same_kind")

    def contains(self, values: NDArray[Any]) -> bool:
        """Return whether all values ``[n, *observation]`` are finite and within the bounds."""
        return bool(((values >= self.least) & (values <= self.most)).all())

    def by_copy(self, values: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return ``[n]`` where values ``[n, *observation]`` can be read, and where they are within the bounds."""
        within = ((values >= self.least) & (values <= self.most)).reshape(len(values), -1).all(axis=1)
        if self.integers:
            return within, within
        finite = (np.abs(values) <= LARGEST).reshape(len(values), -1).all(axis=1)
        return finite, within


def env_name(env: Any) -> str:
    """Return the registered id of an environment, else the name of its class."""
    spec = getattr(env, "spec", None)
    return type(getattr(env, "unwrapped", env)).__name__ if spec is None else str(spec.id)


def _numeric_parts(space: spaces.Space[Any], path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Allowed]]:
    """Yield every numeric space inside Dict and Tuple spaces, with the keys that lead to it."""
    if isinstance(space, Numeric):
        yield path, Allowed(space)
    elif isinstance(space, spaces.Dict):
        for name, part in space.spaces.items():
            yield from _numeric_parts(part, (*path, name))
    elif isinstance(space, spaces.Tuple):
        for place, part in enumerate(space.spaces):
            yield from _numeric_parts(part, (*path, place))


def _bounds(space: Numeric) -> tuple[Any, Any]:
    """Return the least and the largest values of a space, ``[*observation]`` each."""
    if isinstance(space, spaces.Box):
        return space.low.astype(np.float64), space.high.astype(np.float64)
    if isinstance(space, spaces.MultiBinary):
        return np.zeros(space.shape), np.ones(space.shape)
    return np.asarray(space.start), np.asarray(space.start + getattr(space, "n", getattr(space, "nvec", 1)) - 1)


def as_array(value: Any) -> NDArray[Any]:
    """Return a value as an array, ``[2]`` of objects if it cannot be one."""
    try:
        return np.asarray(value)
    except Exception:  # whatever the conversion of a foreign type may raise
        return np.array([value, None], dtype=object)


def _described(result: Any) -> str:
    """Return the words for a result of the wrong form."""
    size = f" of {len(result)}" if isinstance(result, tuple) else ""
    return f"a {type(result).__name__}{size}"
