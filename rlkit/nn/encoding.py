"""Encoding of observations as float features for networks."""

from __future__ import annotations

import math

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from rlkit.devices import integers


def encode(obs: Tensor, space: spaces.Space) -> Tensor:
    """Encode observations for a network: ``[..., *space.shape]`` -> ``[..., features]`` float.

    Discrete observations become one-hot codes, and MultiDiscrete ones the one-hot codes of their components side by
    side, as in stable-baselines3. Floating numbers of either are codes already, for example attacked ones, and do not
    change. MultiBinary is cast. Boxes of uint8 from 0 to 255 are divided by 255 in any given dtype; every other Box is
    flattened and cast. The result is differentiable with respect to floating observations, so attacks pass through it.
    """
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete) and obs.is_floating_point():
        return obs
    if isinstance(space, spaces.Discrete):
        return one_hot(obs, int(space.start), int(space.n))
    if isinstance(space, spaces.MultiDiscrete):
        sizes, starts = space.nvec.ravel().tolist(), np.asarray(space.start).ravel().tolist()
        components = obs.long().flatten(obs.dim() - len(space.shape)).unbind(dim=-1)
        codes = [one_hot(*component) for component in zip(components, starts, sizes, strict=True)]
        return torch.cat(codes, dim=-1)
    axes = len(space.shape or ())
    features = obs if axes == 1 else obs.reshape(*obs.shape[: obs.dim() - axes], num_features(space))
    features = features if features.is_floating_point() else features.to(torch.float32)
    return features / 255.0 if _is_of_bytes(space) else features


def one_hot(number: Tensor, start: int, count: int) -> Tensor:
    """Encode integers from ``start`` on, ``[...] -> [..., count]`` float32.

    Raises:
        RuntimeError: on the CPU, numbers that are not in the range; elsewhere their codes are zeros.
    """
    if number.device.type == "cpu":
        return nn.functional.one_hot(number.long() - start, count).to(torch.float32)
    code = torch.empty(*number.shape, count, device=number.device)
    return torch.eq(number[..., None], integers(start, start + count, 1, number.device), out=code)


def _is_of_bytes(space: spaces.Space) -> bool:
    """Return whether a Box is of uint8 from 0 to 255; one of 0 and 1 needs no scaling."""
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8:
        return False
    return bool((space.low == 0).all() and (space.high == 255).all())


def num_features(space: spaces.Space) -> int:
    """Return the number of features of one encoded observation.

    Raises:
        ValueError: a space that is not Box, Discrete, MultiDiscrete or MultiBinary, Dict for example, or an empty one.
    """
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.sum(axis=None))
    if not isinstance(space, spaces.Box | spaces.MultiBinary):
        raise ValueError(
            f"observations must be Box, Discrete, MultiDiscrete or MultiBinary, got {space}: flatten them first, "
            "for example with gymnasium.wrappers.FlattenObservation"
        )
    if not math.prod(space.shape):
        raise ValueError(f"observations of {space} hold no number: a policy needs at least one")
    return math.prod(space.shape)
