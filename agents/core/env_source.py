"""The source of an agent's environments, for training and for evaluation."""

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
    """An environment by id, function or ``Dynamics``, with the arguments of ``rlkit.envs.make``."""

    env: EnvSource
    backend: str
    env_kwargs: dict[str, Any]
    device: torch.device
    step_timeout: float | None = None

    @property
    def id(self) -> str | None:
        """Return the id under which presets list the environment; see ``rlkit.envs.registered_id``."""
        return rlkit.envs.registered_id(self.env)

    def make(self, seeds: Sequence[int], num_envs: int, **options: Any) -> Env:
        """Make ``num_envs`` copies for each of the seeds; arguments and errors as in ``rlkit.envs.make``."""
        return rlkit.envs.make(
            self.env,
            seeds=seeds,
            num_envs=num_envs,
            device=self.device,
            backend=self.backend,
            env_kwargs=self.env_kwargs,
            step_timeout=self.step_timeout,
            **options,
        )
