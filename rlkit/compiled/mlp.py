"""Forward and backward pass of one row's multilayer perceptron, on the agent's own ``flat``.

Layers and widths are data, so one machine code serves every network. Letters: M observations, P parameters.
Activations of all layers lie one after another in one array of ``room`` numbers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .jit import COMPILED, compiled, implementation, reassociated
from .layout import Floats, Integers

if COMPILED:
    from numba import types  # type: ignore[import-untyped,import-not-found,unused-ignore]

FEW = 8  # observations or inputs up to which loops are faster than a call of BLAS
NARROW = 4  # outputs up to which they are
SMALL = 10**6  # multiply-adds of a product up to which OpenBLAS reads the operands where they lie, and is faster
FEWEST = 32  # rows of a block of a product
TRANSPOSED = 2**13  # weights up to which they are transposed, because OpenBLAS reads only plain operands as they lie
TANH_ERROR = 4e-7  # of tanh in float32, absolute


def tanh(x: float) -> float:
    """tanh(x): exact in float64; in float32 a rational function, within 4e-7 of it everywhere, NaN of NaN."""
    return math.tanh(x)


@implementation(tanh, lambda x: COMPILED and x == types.float64)
def _tanh64(x: Any) -> Any:
    return math.tanh(x)


@implementation(tanh, lambda x: COMPILED and x == types.float32)
def _tanh32(x: Any) -> Any:
    """x p(x^2) / q(x^2) of degrees 13 and 6, the minimax approximation of Eigen and XLA; +-1 beyond +-7.9."""
    f = np.float32
    x = f(-7.90531110763549805) if x < f(-7.90531110763549805) else x  # NaN compares false and stays
    x = f(7.90531110763549805) if x > f(7.90531110763549805) else x
    y = x * x
    p = f(-2.76076847742355e-16) * y + f(2.00018790482477e-13)
    p = p * y + f(-8.60467152213735e-11)
    p = p * y + f(5.12229709037114e-08)
    p = p * y + f(1.48572235717979e-05)
    p = p * y + f(6.37261928875436e-04)
    p = p * y + f(4.89352455891786e-03)
    q = f(1.19825839466702e-06) * y + f(1.18534705686654e-04)
    q = q * y + f(2.26843463243900e-03)
    q = q * y + f(4.89352518554385e-03)
    return x * p / q


@compiled
def room(layers: Integers, m: int) -> Any:
    """Return how many numbers the outputs of all layers take."""
    return m * layers[:, 1].sum()


@compiled
def widest(layers: Integers) -> Any:
    """Return the largest width, of the input too."""
    most = 0
    for i in range(len(layers)):
        most = max(most, layers[i, 0], layers[i, 1])
    return most


@compiled
def product(x: Floats, w: Floats, y: Floats) -> None:
    """Compute y = x w in equal blocks of rows: ``[M, K]``, ``[K, N]`` -> ``[M, N]``, the same bits as at once."""
    blocks = len(x) * w.size // SMALL + 1
    rows = (len(x) - 1) // blocks + 1
    if rows < FEWEST:
        rows = len(x)
    for m in range(0, len(x), rows):
        np.dot(x[m : m + rows], w, y[m : m + rows])


@compiled
def transposed(w: Floats) -> Floats:
    """Return w^T in memory of its own."""
    n, m = w.shape
    turned = np.empty((m, n), w.dtype)
    for i in range(n):
        for j in range(m):
            turned[j, i] = w[i, j]
    return turned


@reassociated
def affine(x: Floats, p: Floats, n_in: int, n_out: int, out_first: int, start: int, y: Floats) -> None:
    """Compute y = x W + b: x ``[M, in]`` -> y ``[M, out]``."""
    weight, bias = p[start : start + n_in * n_out], p[start + n_in * n_out : start + (n_in + 1) * n_out]
    if out_first:
        v = weight.reshape(n_out, n_in)
        if len(x) <= FEW or n_out <= NARROW:
            for m in range(len(x)):
                for j in range(n_out):
                    total = bias[j]
                    for k in range(n_in):
                        total += x[m, k] * v[j, k]
                    y[m, j] = total
            return
        np.dot(x, v.T, y)
    else:
        w = weight.reshape(n_in, n_out)
        if len(x) <= FEW or n_in <= FEW:
            for m in range(len(x)):
                for j in range(n_out):
                    y[m, j] = bias[j]
                k = 0
                while k + 4 <= n_in:
                    x0, x1, x2, x3 = x[m, k], x[m, k + 1], x[m, k + 2], x[m, k + 3]
                    for j in range(n_out):
                        y[m, j] += x0 * w[k, j] + x1 * w[k + 1, j] + x2 * w[k + 2, j] + x3 * w[k + 3, j]
                    k += 4
                while k < n_in:
                    x0 = x[m, k]
                    for j in range(n_out):
                        y[m, j] += x0 * w[k, j]
                    k += 1
            return
        product(x, w, y)
    for m in range(len(x)):
        for j in range(n_out):
            y[m, j] += bias[j]


@reassociated
def activate(y: Floats, by_tanh: bool) -> None:
    """Apply the activation in place."""
    flat = y.reshape(-1)
    if by_tanh:
        for i in range(len(flat)):
            flat[i] = tanh(flat[i])
    else:
        zero = y.dtype.type(0)
        for i in range(len(flat)):
            value = flat[i]  # read once: a second reading keeps the loop from running in vectors
            flat[i] = zero if value < zero else value  # NaN stays


@reassociated
def activation_backward(grad: Floats, y: Floats, by_tanh: bool) -> None:
    """Multiply ``grad`` in place by the activation's derivative at its output y: 1 - y^2, or y > 0."""
    g, h = grad.reshape(-1), y.reshape(-1)
    if by_tanh:
        for i in range(len(g)):
            g[i] -= g[i] * h[i] * h[i]
    else:
        for i in range(len(g)):
            g[i] = y.dtype.type(0) if h[i] <= 0 else g[i]


@compiled
def forward(p: Floats, layers: Integers, by_tanh: bool, x: Floats, h: Floats) -> Floats:
    """Compute the outputs of all layers.

    Args:
        p: the row of parameters ``[P]``.
        layers: ``[L, 4]``, see ``MLPArrays``.
        by_tanh: whether the activation is tanh.
        x: ``[M, in]``, C-contiguous.
        h: ``room(layers, M)`` numbers or more, to write the outputs of the layers into.

    Returns:
        the last layer's output ``[M, out]``, a view of ``h``.
    """
    y, start = x, 0
    for i in range(len(layers)):
        n_in, n_out = layers[i, 0], layers[i, 1]
        z = h[start : start + len(x) * n_out].reshape(len(x), n_out)
        affine(y, p, n_in, n_out, layers[i, 2], layers[i, 3], z)
        if i < len(layers) - 1:
            activate(z, by_tanh)
        y = z
        start += len(x) * n_out
    return y


@reassociated
def _weight_gradient(x: Floats, d: Floats, out_first: int, g: Floats) -> None:
    """Compute x^T d as it is stored, ``[in out]``, of x ``[M, in]`` and d ``[M, out]``."""
    n_in, n_out = x.shape[1], d.shape[1]
    if n_in > FEW and n_out > NARROW:
        if out_first:
            np.dot(d.T, x, g.reshape(n_out, n_in))
        else:
            np.dot(x.T, d, g.reshape(n_in, n_out))
        return
    g[:] = 0
    if out_first:
        v = g.reshape(n_out, n_in)
        for m in range(len(x)):
            for j in range(n_out):
                t = d[m, j]
                for k in range(n_in):
                    v[j, k] += t * x[m, k]
    else:
        w = g.reshape(n_in, n_out)
        for m in range(len(x)):
            for k in range(n_in):
                t = x[m, k]
                for j in range(n_out):
                    w[k, j] += t * d[m, j]


@reassociated
def _input_gradient(d: Floats, weight: Floats, n_in: int, n_out: int, out_first: int, y: Floats) -> None:
    """Compute d W^T, ``[M, in]``."""
    if out_first:
        v = weight.reshape(n_out, n_in)
        if n_out > NARROW:
            product(d, v, y)
            return
        for m in range(len(d)):
            for k in range(n_in):
                y[m, k] = d[m, 0] * v[0, k]
            for j in range(1, n_out):
                t = d[m, j]
                for k in range(n_in):
                    y[m, k] += t * v[j, k]
    elif len(weight) <= TRANSPOSED:
        product(d, transposed(weight.reshape(n_in, n_out)), y)
    else:
        np.dot(d, weight.reshape(n_in, n_out).T, y)


@reassociated
def _bias_gradient(d: Floats, g: Floats) -> None:
    """Compute the sum of d ``[M, out]`` over M, ``[out]``."""
    g[:] = 0
    for m in range(len(d)):
        for j in range(len(g)):
            g[j] += d[m, j]


@compiled
def backward(
    p: Floats, layers: Integers, by_tanh: bool, x: Floats, h: Floats, d: Floats, g: Floats, work: Floats
) -> None:
    """Compute the derivative of a loss by the parameters (Rumelhart, Hinton & Williams 1986).

    Args:
        p, layers, by_tanh, x, h: as of ``forward``, with the outputs that it wrote.
        d: derivative by the output, ``[M, out]``; it may be the output's own memory, ``work`` may not.
        g: to write the derivatives by the parameters of these layers into, ``[P]``; its other elements are kept.
        work: ``[2, M widest(layers)]`` numbers or more.
    """
    count = len(x)
    stop = room(layers, count)
    for i in range(len(layers) - 1, -1, -1):
        n_in, n_out, out_first, start = layers[i, 0], layers[i, 1], layers[i, 2], layers[i, 3]
        stop -= count * n_out
        y = x if i == 0 else h[stop - count * n_in : stop].reshape(count, n_in)
        _bias_gradient(d, g[start + n_in * n_out : start + (n_in + 1) * n_out])
        _weight_gradient(y, d, out_first, g[start : start + n_in * n_out])
        if i > 0:
            before = work[i % 2, : count * n_in].reshape(count, n_in)
            _input_gradient(d, p[start : start + n_in * n_out], n_in, n_out, out_first, before)
            activation_backward(before, y, by_tanh)
            d = before
