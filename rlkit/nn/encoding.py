"""Encoding of observations as float features for networks."""

from __future__ import annotations

import math

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn


def encode(obs: Tensor, space: spaces.Space) -> Tensor:
    """Encode observations for a network: ``[..., *space.shape]`` -> ``[..., features]`` float.

    Discrete becomes one-hot, unless it is given as codes already (floating ``[..., n]``, for example attacked ones);
    Boxes of uint8 from 0 to 255 are divided by 255, in whatever dtype they are given, every other Box is flattened and
    cast. The result is differentiable with respect to floating observations, so attacks pass through it.
    """
    if isinstance(space, spaces.Discrete):
        if obs.is_floating_point():
            return obs
        return nn.functional.one_hot(obs.long() - int(space.start), int(space.n)).to(torch.float32)
    axes = len(space.shape or ())
    features = obs if axes == 1 else obs.reshape(*obs.shape[: obs.dim() - axes], num_features(space))
    features = features if features.is_floating_point() else features.to(torch.float32)
    return features / 255.0 if _is_of_bytes(space) else features


def _is_of_bytes(space: spaces.Space) -> bool:
    """Return whether a Box is of uint8 from 0 to 255; one of 0 and 1 needs no scaling."""
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8:
        return False
    return bool((space.low == 0).all() and (space.high == 255).all())


def num_features(space: spaces.Space) -> int:
    """Return the number of features of one encoded observation.

    Raises:
        ValueError: a space that is neither Box nor Discrete, Dict for example.
    """
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if not isinstance(space, spaces.Box):
        raise ValueError(
            f"observations must be Box or Discrete, got {space}: flatten them first, "
            "for example with gymnasium.wrappers.FlattenObservation"
        )
    return math.prod(space.shape)
