"""stable-baselines3's way of asking a policy: numpy in, numpy out, one observation or a batch."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces

from rlkit.types import Policy


class Asked(Policy, Protocol):
    """A policy of one row that knows what it sees."""

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """Of one copy."""
        ...

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        ...


def predict(policy: Asked, observation: np.ndarray, deterministic: bool) -> np.ndarray:
    """The action for one observation, or the actions ``[n]`` for a batch ``[n, *observation]``.

    Raises:
        ValueError: a shape that does not fit.
    """
    obs = np.asarray(observation)
    shape = policy.observation_space.shape or ()
    if obs.shape[obs.ndim - len(shape) :] != shape or obs.ndim - len(shape) > 1:
        raise ValueError(f"observation has shape {obs.shape}, expected {shape} or (n, *{shape})")
    batch = torch.as_tensor(obs.reshape(1, -1, *shape), device=policy.device)
    actions: np.ndarray = policy.act(batch, deterministic)[0].cpu().numpy()  # [n]
    return actions if obs.ndim > len(shape) else actions[0]
