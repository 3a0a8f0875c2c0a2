"""Observations, masks, actions and numbers as users give them, converted to the tensors that rlkit computes with.

Public methods take tensors, numpy arrays and nested lists. They take one observation ``[*observation]``, a batch
``[B, *observation]``, or ``[S, B, *observation]``. Answers always have the axes ``[S, B, ...]``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import ArrayLike
from torch import Tensor

LARGEST_COUNT = 2**62  # what counts stays below it, in 64-bit integers
Given = ArrayLike | Tensor  # a number, a nested list, a numpy array or a tensor


def as_tensor(given: Given, name: str, device: torch.device | str | None = None, double: bool = False) -> Tensor:
    """Convert numbers to a tensor; a tensor is returned as it is, on ``device``.

    Floating arrays and lists become float32, integers int64 (uint8 stays), booleans stay. The result has its own
    memory unless ``given`` is a tensor.

    Args:
        given: numbers or booleans.
        name: name of the argument, for the message.
        device: device of the result; None leaves a tensor where it is.
        double: convert floating arrays and lists to float64 instead.

    Raises:
        ValueError: something else than numbers, or rows of different lengths.
    """
    if isinstance(given, Tensor):
        return given if device is None else given.to(device)
    try:
        numbers = np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(_refusal(given, name)) from error
    if numbers.dtype.kind not in "biuf":
        raise ValueError(_refusal(given, name))
    kinds: dict[str, Any] = {"b": np.bool_, "f": np.float64 if double else np.float32, "i": np.int64, "u": np.int64}
    dtype = np.uint8 if numbers.dtype == np.uint8 else kinds[numbers.dtype.kind]
    return torch.from_numpy(np.array(numbers, dtype=dtype)).to(device)


def as_observations(given: Given, policy: Any = None, name: str = "obs") -> Tensor:
    """Convert observations to ``[S, B, *observation]`` of a policy.

    One observation and a batch ``[B, *observation]`` are repeated for every row of the policy.
    ``policy.observation_space`` decides which axes belong to an observation. A policy without this attribute is assumed
    to have flat observations ``[D]``; give it others as ``[S, B, *observation]``.

    Args:
        given: ``[*observation]``, ``[B, *observation]`` or ``[S, B, *observation]``; axes of time may stand between. Of
            an environment with Dict observations also a dictionary of such arrays.
        policy: asked for ``observation_space``, ``num_seeds`` and ``device``, as far as it has them; None for none.
        name: name of the argument, for the message.

    Raises:
        ValueError: something else than numbers, another shape than the space's, or another number of rows than the
            policy's.
    """
    space, starts = getattr(policy, "observation_space", None), getattr(policy, "starts", None)
    given = given if starts is None else starts.flatten(given)
    obs = as_tensor(given, name, getattr(policy, "device", None))
    if not isinstance(given, Tensor) and isinstance(space, spaces.Box) and space.dtype.kind == "f":
        obs = obs.to(torch.float32)  # a list of integers
    shape = _shape_of(space, obs)
    batch_axes = obs.dim() - (1 if shape is None else len(shape))
    if batch_axes < 0 or not _fits(obs.shape[batch_axes:], shape):
        raise ValueError(
            f"{name} has shape {list(obs.shape)} and dtype {obs.dtype}, which does not fit "
            f"{'flat observations [D]' if space is None else space}: pass one observation, a batch [B, *observation] "
            "or [S, B, *observation]"
        )
    rows = getattr(policy, "num_seeds", None)
    if batch_axes < 2:
        batch = obs[None] if batch_axes == 0 else obs  # [B, *observation]
        return batch.expand(rows or 1, *batch.shape).contiguous()
    if rows not in (None, len(obs)):
        raise ValueError(
            f"{name} must have one row per seed, {rows}, got {len(obs)} in shape {list(obs.shape)}: pass "
            f"[{rows}, B, *observation], or [B, *observation] for the same observations in every row"
        )
    return obs


def as_actions(given: Given, obs: Tensor, name: str = "action") -> Tensor:
    """Convert actions to ``[S, B]`` int64 of observations ``[S, B, *observation]``.

    Args:
        given: one integer for all, ``[B]`` or ``[S, B]``.
        obs: observations of these actions.
        name: name of the argument, for the message.

    Raises:
        ValueError: something else than integers, another shape, or a negative one.
    """
    actions, shape = as_tensor(given, name, obs.device), obs.shape[:2]
    if actions.is_floating_point() or actions.dtype == torch.bool or actions.shape not in (shape, shape[1:], ()):
        raise ValueError(
            f"{name} must hold an action for every example, integers {list(shape)}, got {actions.dtype} "
            f"{list(actions.shape)}"
        )
    if (actions < 0).any():
        raise ValueError(f"{name} actions must not be negative, got {int(actions.min())}")
    return actions.to(torch.int64).expand(shape)


def as_action_mask(given: Given | None, scores: Tensor, name: str = "action_mask") -> Tensor | None:
    """Convert a mask of allowed actions to ``[S, B, A]`` bool of scores ``[S, B, A]``; None stays.

    Args:
        given: booleans ``[A]``, ``[B, A]`` or ``[S, B, A]``.
        scores: scores of the actions.
        name: name of the argument, for the message.

    Raises:
        ValueError: another shape, or a mask that allows no action for some observation.
    """
    if given is None:
        return None
    mask = as_tensor(given, name, scores.device).bool()
    if mask.shape not in (scores.shape, scores.shape[1:], scores.shape[2:]):
        raise ValueError(
            f"{name} has shape {list(mask.shape)}, expected {list(scores.shape)}: one boolean per seed, copy and action"
        )
    if not mask.any(dim=-1).all():
        row, copy = (~mask.expand(scores.shape).any(dim=-1)).nonzero()[0].tolist()
        raise ValueError(f"{name} allows no action in row {row}, copy {copy}: at least one must be True")
    return mask.expand(scores.shape)


def as_uniforms(given: Given | None, obs: Tensor, name: str = "u") -> Tensor | None:
    """Convert uniform numbers to ``[S, B, w]`` of observations ``[S, B, *observation]``; None stays.

    Args:
        given: ``[w]``, ``[B, w]`` or ``[S, B, w]``.
        obs: observations of these numbers.
        name: name of the argument, for the message.

    Raises:
        ValueError: something else than numbers.
    """
    if given is None:
        return None
    u = as_tensor(given, name, obs.device, double=True)
    return u.expand(*obs.shape[:2], u.shape[-1]) if 0 < u.dim() < 3 and u.shape[:-1] in (obs.shape[1:2], ()) else u


def as_numbers(given: Given, name: str) -> tuple[float, ...]:
    """Convert one number or several to a tuple.

    Raises:
        ValueError: none, or something else than numbers.
    """
    numbers = as_tensor(given, name, double=True).flatten().tolist()
    if not numbers:
        raise ValueError(f"{name} must hold at least one number, got none")
    return tuple(float(number) for number in numbers)


def as_whole_number(given: Any, name: str, least: int = 1) -> int:
    """Convert a count to int; a float or a number of numpy or torch is accepted if it is whole, such as 1e5.

    Args:
        given: a number.
        name: name of the argument, for the message.
        least: smallest number that is accepted.

    Raises:
        ValueError: something else than a whole number, or one below ``least`` or of 2**62 or more.
    """
    number: Any = given.item() if isinstance(given, Tensor | np.ndarray) and given.ndim == 0 else given
    if isinstance(number, bool | np.bool_) or not _is_whole(number):
        raise ValueError(f"{name} must be a whole number, got {given!r:.80}")
    if not least <= number < LARGEST_COUNT:
        limit = f"at least {least}" if number < least else "below 2**62"
        raise ValueError(f"{name} must be {limit}, got {given!r:.80}")
    return int(number)


def refuse_nonfinite(numbers: Tensor, name: str) -> None:
    """Refuse NaN and infinite numbers.

    Raises:
        ValueError: there are some; the message says how many, and at which index the first is.
    """
    finite = numbers.isfinite()
    if not finite.all():
        first = (~finite).nonzero()[0].tolist()
        raise ValueError(
            f"{name} must be finite, got {numbers[tuple(first)].item()} at index {first} ({int((~finite).sum())} of "
            f"{numbers.numel()} numbers are NaN or infinite)"
        )


def _is_whole(number: Any) -> bool:
    """Whether this is a finite real number without fraction."""
    return isinstance(number, Real) and math.isfinite(number) and number == int(number)  # type: ignore[call-overload]


def _shape_of(space: Any, obs: Tensor) -> Sequence[int] | None:
    """The shape of one observation; None for a flat one of any length."""
    if obs.is_floating_point() and isinstance(space, spaces.Discrete | spaces.MultiDiscrete):  # one-hot codes
        return (int(space.n if isinstance(space, spaces.Discrete) else space.nvec.sum(axis=None)),)
    shape: Sequence[int] | None = getattr(space, "shape", None)
    return shape


def _fits(found: Sequence[int], shape: Sequence[int] | None) -> bool:
    """Whether this is the shape of an observation; of images the channels may come first or last."""
    return shape is None or (tuple(found) == tuple(shape) if len(shape) != 3 else sorted(found) == sorted(shape))


def _refusal(given: Any, name: str) -> str:
    return (
        f"{name} must be numbers in a tensor, numpy array or nested list with rows of equal length, got {given!r:.80}"
    )
