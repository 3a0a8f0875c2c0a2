"""Conversion between stacked layers and plain torch modules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def linear_module(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A plain torch layer with weight ``[in, out]`` and bias ``[out]``."""
    layer = nn.Linear(weight.shape[0], weight.shape[1], device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight.T)
        layer.bias.copy_(bias)
    return layer


@contextmanager
def in_evaluation_mode(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Within, torch modules are in evaluation mode; afterwards each part is back in its own."""
    training = [part for module in modules for part in module.modules() if part.training]
    try:
        for part in training:
            part.training = False
        yield
    finally:
        for part in training:
            part.training = True
