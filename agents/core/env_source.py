"""Where an agent's environments come from: those it trains in, and copies of them for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium
import torch
from gymnasium.envs.registration import EnvSpec

import rlkit.envs
from rlkit.types import Env

EnvSource = str | EnvSpec | Callable[[], gymnasium.Env] | rlkit.envs.Dynamics


class Source(NamedTuple):
    """An environment by name or maker, and everything that its copies are made with; see ``rlkit.envs.make``."""

    env: EnvSource
    backend: str
    env_kwargs: dict[str, Any]
    device: torch.device

    @property
    def id(self) -> str | None:
        """What presets know the environment by; see ``rlkit.envs.registered_id``."""
        return rlkit.envs.registered_id(self.env)

    def make(self, seeds: Sequence[int], num_envs: int, **options: Any) -> Env:
        """``num_envs`` copies for each of the seeds."""
        return rlkit.envs.make(
            self.env,
            seeds=seeds,
            num_envs=num_envs,
            device=self.device,
            backend=self.backend,
            env_kwargs=self.env_kwargs,
            **options,
        )
