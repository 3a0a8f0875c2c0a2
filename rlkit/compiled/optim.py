"""Norm, clipping and optimizers of one row, the arithmetic of ``rlkit.nn.optim``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .jit import compiled, reassociated
from .layout import Flags, Floats, OptimizerArrays


@reassociated
def norm(g: Floats) -> Any:
    """Euclidean norm, ``[P]`` -> number of its dtype."""
    total = g.dtype.type(0)
    for i in range(len(g)):
        total += g[i] * g[i]
    return np.sqrt(total)


@reassociated
def clip(g: Floats, size: float, max_norm: float) -> None:
    """Scale ``g [P]`` of norm ``size`` in place to norm at most ``max_norm`` (Pascanu, Mikolov & Bengio 2013)."""
    if size > max_norm:
        factor = max_norm / size
        for i in range(len(g)):
            g[i] *= factor


@reassociated
def adam(optimizer: OptimizerArrays, s: int, p: Floats, g: Floats, rate: float) -> None:
    """Take one step of Adam (Kingma & Ba 2015, algorithm 1) of row s, of ``p [P]`` down its gradient ``g [P]``."""
    f = g.dtype.type
    optimizer.steps[s] += 1.0
    first, second, t = optimizer.first[s], optimizer.second[s], optimizer.steps[s]
    beta1, beta2, eps = f(optimizer.beta1), f(optimizer.beta2), f(optimizer.eps)
    rest1, rest2 = f(1.0 - optimizer.beta1), f(1.0 - optimizer.beta2)
    scale = f(rate / (1.0 - optimizer.beta1**t))
    root = f(1.0 / math.sqrt(1.0 - optimizer.beta2**t))
    for i in range(len(p)):
        m = beta1 * first[i] + rest1 * g[i]
        v = beta2 * second[i] + rest2 * g[i] * g[i]
        first[i], second[i] = m, v
        p[i] -= scale * m / (np.sqrt(v) * root + eps)


@reassociated
def rmsprop(optimizer: OptimizerArrays, s: int, p: Floats, g: Floats, rate: float) -> None:
    """Take one step of RMSprop (Hinton 2012, lecture 6e) of row s, of ``p [P]`` down its gradient ``g [P]``."""
    f = g.dtype.type
    second, alpha, eps = optimizer.second[s], f(optimizer.beta2), f(optimizer.eps)
    rest, rate_ = f(1.0 - optimizer.beta2), f(rate)
    for i in range(len(p)):
        v = alpha * second[i] + rest * g[i] * g[i]
        second[i] = v
        p[i] -= rate_ * g[i] / (np.sqrt(v) + eps)


@compiled
def descend(
    optimizer: OptimizerArrays,
    s: int,
    p: Floats,
    g: Floats,
    rate: float,
    max_norm: float,
    active: Flags,
    going_on: bool,
) -> Any:
    """Take one clipped step of row s if it still learns; stop the row for good if its gradient is not finite.

    Args:
        optimizer: of all rows.
        s: the row.
        p: its parameters, ``[P]``.
        g: their gradient, ``[P]``, clipped in place.
        rate: learning rate.
        max_norm: largest norm.
        active: which rows still learn, ``[S]``.
        going_on: whether to step.

    Returns:
        the norm before clipping.
    """
    size = norm(g)
    if not size < np.inf:  # NaN compares false
        active[s] = False
    clip(g, size, max_norm)
    if going_on and active[s]:
        if optimizer.adam:
            adam(optimizer, s, p, g, rate)
        else:
            rmsprop(optimizer, s, p, g, rate)
    return size
