"""Initial weights of stacked layers, drawn from each seed's own stream."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.streams import Stream

from .layers import as_stored


def initial_numbers(layers: Sequence[tuple[int, int]], seeds: Sequence[int], network_index: int) -> Tensor:
    """One uniform number for every weight and bias, ``[S, count]`` float64."""
    count = sum((n_in + 1) * n_out for n_in, n_out in layers)
    return Stream(seeds, "init", width=count, copies=network_index + 1).next()[:, network_index]


def standard_normal(uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn uniform numbers of [0, 1) of any shape into standard normal ones: the quantile function of the normal."""
    from scipy.special import ndtri  # here, because it takes a third of a second to import; torch's has other last bits

    normal: NDArray[np.float64] = ndtri(np.maximum(uniform, 2.0**-54))
    return normal


def uniform_linear(layers: Sequence[tuple[int, int]], numbers: Tensor) -> Tensor:
    """Weights and biases of every layer, uniform on +-1/sqrt(in), ``[S, count]``."""
    bounds = [torch.full(((n_in + 1) * n_out,), 1.0 / math.sqrt(n_in), dtype=torch.float32) for n_in, n_out in layers]
    return (2.0 * numbers - 1.0) * torch.cat(bounds)


def orthogonal(layers: Sequence[tuple[int, int]], numbers: Tensor, gains: Sequence[float]) -> Tensor:
    """Weights uniform among those with orthonormal rows or columns, times a gain, and zero biases, ``[S, count]``.

    The Q of a normal matrix's QR decomposition, with R's diagonal made positive (Saxe et al. 2014; Mezzadri 2007).
    """
    if len(gains) != len(layers):
        raise ValueError(f"gains must have one value per layer, {len(layers)}, got {len(gains)}")
    normal = standard_normal(numbers.numpy())  # [S, count]
    parts, start = [], 0
    for (n_in, n_out), gain in zip(layers, gains, strict=True):
        long, short = max(n_in, n_out), min(n_in, n_out)
        q, r = np.linalg.qr(normal[:, start : start + n_in * n_out].reshape(-1, long, short))
        q = gain * q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None]  # [S, long, short]
        weight = torch.from_numpy(q if n_in >= n_out else q.swapaxes(1, 2))  # [S, in, out]
        parts += [as_stored(weight), weight.new_zeros(len(weight), n_out)]
        start += (n_in + 1) * n_out
    return torch.cat(parts, dim=1)
