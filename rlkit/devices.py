"""The choice of a torch device, and numbers that lie on one."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


def usable_device(device: str | torch.device) -> torch.device:
    """Return a usable device, a GPU with its number; ``"auto"`` means a GPU if there is one, else the CPU.

    Raises:
        ValueError: an unknown device, or one that this machine or this build of torch does not have.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(1, device=torch.device(device)).device
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        raise ValueError(f"device {str(device)!r} cannot be used: {str(error).splitlines()[0]}") from error


@cache
def constant(number: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a number as a tensor ``[]``, made once because making it launches an operation; it must not be written."""
    with torch.inference_mode(False):
        return torch.full((), number, dtype=dtype, device=device)


def integers(start: int, stop: int, step: int, device: torch.device) -> Tensor:
    """Return ``start, start + step, ...`` below ``stop``; it must not be written.

    Off the CPU it is made once, as ``constant`` is. On the CPU, where lengths of segments vary, none is kept.
    """
    if device.type == "cpu":
        return torch.arange(start, stop, step)
    return _kept_integers(start, stop, step, device)


@cache
def _kept_integers(start: int, stop: int, step: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.arange(start, stop, step, device=device)
