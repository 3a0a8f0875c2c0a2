"""Environments from outside rlkit for tests; worker processes import them from here."""

from __future__ import annotations

import os
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Walk20(gymnasium.Env):
    """A random walk of 20 steps that pays 1 a step; with ``hidden`` its steps come from a generator of the module."""

    action_space = spaces.Discrete(2)
    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    generator = np.random.default_rng(0)

    def __init__(self, hidden: bool = False) -> None:
        self.hidden = hidden

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time, self.place = 0, float(self.np_random.random())
        return np.array([self.place]), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        generator = Walk20.generator if self.hidden else self.np_random
        self.place += (2 * int(action) - 1) * float(generator.random())
        return np.array([self.place]), 1.0, False, self.time == 20, {}


class Hanging(Walk20):
    """A ``Walk20`` that never returns from its step 7, counted over all episodes, if its seed is odd."""

    def __init__(self) -> None:
        super().__init__()
        self.steps, self.odd = 0, False

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        if self.steps == 0:
            self.odd = bool((seed or 0) % 2)
        return super().reset(seed=seed)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        if self.steps == 7 and self.odd:
            self.fail()
        return super().step(action)

    def fail(self) -> None:
        while True:
            time.sleep(3600.0)


class Exiting(Hanging):
    """One that ends its process instead."""

    def fail(self) -> None:
        os._exit(3)


class Raising(Hanging):
    """One that raises an exception that cannot be pickled instead."""

    def fail(self) -> None:
        class LocalError(Exception):
            def __reduce__(self) -> Any:
                raise TypeError("no copies")

        raise LocalError("boom")


class MaskedCartPole(gymnasium.Wrapper):
    """A cart-pole that allows one push, left or right by turns, at every other step."""

    def __init__(self) -> None:
        super().__init__(gymnasium.make("CartPole-v1"))
        self.steps = 0

    def allowed(self, info: dict[str, Any]) -> dict[str, Any]:
        only = np.arange(2) == self.steps // 2 % 2
        return info | {"action_mask": only if self.steps % 2 else np.ones(2, bool)}

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        self.steps = 0
        obs, info = super().reset(**options)
        return obs, self.allowed(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, float(reward), terminated, truncated, self.allowed(info)
