"""Unsigned observations as signed integers of the same bits: torch indexes no unsigned integers wider than a byte."""

from __future__ import annotations

import torch
from torch import Tensor

from rlkit.types import Transition

SIGNED = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}


def as_stored(batch: Transition) -> Transition:
    """Return a batch whose observations the replay buffer can index: uint16, uint32 and uint64 as signed integers."""
    return _viewed(batch, SIGNED.get(batch.obs.dtype, batch.obs.dtype))


def as_observed(batch: Transition, dtype: torch.dtype) -> Transition:
    """Return what ``as_stored`` was given: a batch whose observations have the environment's ``dtype`` again."""
    return _viewed(batch, dtype) if dtype in SIGNED else batch


def _viewed(batch: Transition, dtype: torch.dtype) -> Transition:
    """Reinterpret the bits of the observations ``[S, ..., *observation]``."""

    def view(obs: Tensor) -> Tensor:
        return obs if obs.dtype == dtype else obs.view(dtype)

    return batch._replace(obs=view(batch.obs), next_obs=view(batch.next_obs))
