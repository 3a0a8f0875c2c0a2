"""Minibatches cut out of larger batches, and how many updates are prepared as one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch

Batch = TypeVar("Batch", bound=tuple[Any, ...])  # a NamedTuple of tensors [S, M, ...], or None
TRANSITIONS_AT_ONCE = 1024  # of the minibatches that are prepared together


def split(batch: Batch, size: int) -> Iterator[Batch]:
    """Cut a NamedTuple of tensors ``[S, n size, ...]`` into n of ``[S, size, ...]``; what is None stays None."""
    parts = [None if field is None else torch.split(field, size, dim=1) for field in batch]
    for i in range(max(len(part) for part in parts if part is not None)):
        cut: Any = (None if part is None else part[i] for part in parts)
        yield type(batch)(*cut)


def blocks(updates: int, batch_size: int, independent: Callable[[], int]) -> Iterator[int]:
    """Cut a number of updates into blocks whose minibatches are sampled, and their targets computed, at once.

    One call for several small minibatches costs less than one for each.

    Args:
        updates: total number of updates.
        batch_size: transitions of a minibatch.
        independent: how many of the updates to come do not need the result of one before; asked before every block.
    """
    while updates > 0:
        count = min(updates, independent(), max(TRANSITIONS_AT_ONCE // batch_size, 1))
        yield count
        updates -= count
