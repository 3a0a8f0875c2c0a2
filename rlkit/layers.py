"""Affine maps on the seed axis and their derivatives, written so that a row's bits do not depend on S."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

Activation = Literal["relu", "tanh"]
ALIGNMENT = 16  # float32 numbers in a cache line


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """S affine maps: x ``[S, M, in]``, weight ``[S, in, out]``, bias ``[S, 1, out]`` -> ``[S, M, out]``.

    A width of one is a multiply-and-sum: there the batched matrix product rounds differently for one row and
    for many.
    """
    if weight.shape[2] == 1:
        return (x * weight.mT).sum(dim=2, keepdim=True) + bias
    if weight.shape[1] == 1:
        return x * weight + bias
    return torch.baddbmm(bias, x, weight)


class Layer:
    """S affine maps and their activation, with products for training: no graph is recorded.

    Weights are stored ``[in, out]`` or ``[out, in]``, whichever ends in whole cache lines or else in the longer axis:
    products run along it. Which product is taken depends on the shape of one row's matrices alone, so that a row's
    bits do not depend on S.

    Args:
        flat: weights, then biases, ``[S, in out + out]``, kept as views.
        n_in: width of the input.
        n_out: width of the output.
        activation: applied to the output.
    """

    def __init__(self, flat: Tensor, n_in: int, n_out: int, activation: Activation | Literal["none"]) -> None:
        weight, bias = flat[:, : n_in * n_out], flat[:, n_in * n_out :]
        self.out_first = is_stored_out_first(n_in, n_out)
        self.weight = weight.view(-1, n_out, n_in).mT if self.out_first else weight.view(-1, n_in, n_out)
        self.weight_mT = self.weight.mT  # [S, out, in]
        self.bias = bias[:, None]  # [S, 1, out]
        self.activation = activation
        self.narrow = 1 in (n_in, n_out)
        # the minibatch from which tanh is made of the sigmoid
        vectors = activation == "tanh" and n_out % (2 * ALIGNMENT) == 0 and not self.narrow
        self.sigmoid_from = math.ceil(SIGMOID_WORK / n_out) if vectors else sys.maxsize
        # the minibatch from which oneDNN takes the products, and the rows as it wants them
        onednn = ONEDNN_LINEAR is not None and flat.device.type == "cpu" and flat.dtype == torch.float32
        self.onednn_from = math.ceil(ONEDNN_WORK / (n_in * n_out)) if onednn else sys.maxsize
        self.rows = [(weight, weight.T, bias) for weight, bias in zip(self.weight, bias, strict=True)]

    def output(self, x: Tensor, minibatch: int) -> Tensor:
        """``[S, M, in] -> [S, M, out]``."""
        if minibatch >= self.onednn_from:
            parts = [
                ONEDNN_LINEAR(x_s, weight_T, bias, self.activation, [], "")
                for x_s, (_, weight_T, bias) in zip(_rows(x), self.rows, strict=True)
            ]
            return _together(parts)
        if minibatch >= self.sigmoid_from:
            # tanh(y) = 2 sigmoid(2 y) - 1, where the product gives 2 y
            return _twice_less_one_(torch.baddbmm(self.bias, x, self.weight, beta=2.0, alpha=2.0).sigmoid_())
        y = linear(x, self.weight, self.bias) if self.narrow else torch.baddbmm(self.bias, x, self.weight)
        if self.activation == "none":
            return y
        return y.relu_() if self.activation == "relu" else y.tanh_()

    def graph(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The affine map alone for autograd, of given leaves: ``[S, M, in] -> [S, M, out]``."""
        return linear(x, weight, bias)

    def gradients(self, x: Tensor, slope: Tensor, minibatch: int) -> list[Tensor]:
        """d loss / d bias ``[S, out]`` and d loss / d weight as stored ``[S, in out]``, from the end of ``flat``.

        x is the input ``[S, M, in]``, slope d loss / d output ``[S, M, out]``.
        """
        return [slope.sum(dim=1), self.weight_gradient(x, slope, minibatch)]

    def weight_gradient(self, x: Tensor, slope: Tensor, minibatch: int) -> Tensor:
        """d loss / d weight as stored, ``[S, in out]``, from the input ``[S, M, in]`` and d loss / d output."""
        left, right = (slope, x) if self.out_first else (x, slope)
        if minibatch >= self.onednn_from:
            pairs = zip(_rows(left.mT), right.unbind(0), strict=True)
            return _together([ONEDNN_LINEAR(a, b.t(), None, "none", [], "") for a, b in pairs]).flatten(1)
        return (_product(left.mT, right) if self.narrow else torch.bmm(left.mT, right)).flatten(1)

    def input_slope(self, slope: Tensor, minibatch: int) -> Tensor:
        """d loss / d input ``[S, M, in]`` from d loss / d output ``[S, M, out]``."""
        if minibatch >= self.onednn_from:
            parts = [
                ONEDNN_LINEAR(slope_s, weight, None, "none", [], "")
                for slope_s, (weight, _, _) in zip(_rows(slope), self.rows, strict=True)
            ]
            return _together(parts)
        return _product(slope, self.weight_mT) if self.narrow else torch.bmm(slope, self.weight_mT)


# oneDNN's product of plain matrices, x w^T + b. For large ones it is up to twice as fast as the BLAS behind
# ``baddbmm``, which has no AVX-512 kernels for every CPU; for small ones its call costs more than it saves.
# Not in every build.
ONEDNN_LINEAR: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
ONEDNN_WORK = 2**21  # multiply-adds from which it wins


def _rows(x: Tensor) -> Sequence[Tensor]:
    """``[S, M, K] -> S x [M, K]``, views; one row stays ``[1, M, K]``, which oneDNN takes as well."""
    return x.unbind(0) if x.shape[0] > 1 else (x,)


def _together(products: list[Tensor]) -> Tensor:
    """What ``_rows`` took apart."""
    return torch.stack(products) if len(products) > 1 else products[0]


def _product(a: Tensor, b: Tensor) -> Tensor:
    """``[S, M, K] x [S, K, N] -> [S, M, N]``, where a width may be one: then in a form that rounds alike for any S."""
    if b.shape[2] == 1:
        return (a * b.mT).sum(dim=2, keepdim=True)
    if b.shape[1] == 1:
        return a * b
    if a.shape[1] == 1:
        return (a.mT * b).sum(dim=1, keepdim=True)
    return torch.bmm(a, b)


def _twice_less_one_(y: Tensor) -> Tensor:
    """2 y - 1 in place, in one pass."""
    return torch.add(MINUS_ONE, y, alpha=2.0, out=y)


MINUS_ONE = torch.tensor(-1.0)
# torch's sigmoid is six times as fast as its tanh, and what is made of it within 2e-7 of tanh. Only where a row is
# large, for three operations instead of one, and in whole vectors, because the last few elements of a tensor are
# computed otherwise.
SIGMOID_WORK = 2**11  # elements of a row from which it wins


def through(activation: Activation, slope: Tensor, y: Tensor) -> Tensor:
    """The slope, which is overwritten, times the activation's derivative read off its output: 1 - y^2, or y > 0."""
    if activation == "relu":
        slope = torch.ops.aten.threshold_backward.grad_input(slope, y, 0.0, grad_input=slope)
    else:
        slope = torch.ops.aten.tanh_backward.grad_input(slope, y, grad_input=slope)
    return slope


def is_stored_out_first(n_in: int, n_out: int) -> bool:
    """Whether a layer of these widths keeps its weights as ``[out, in]``."""
    return (n_in % ALIGNMENT == 0, n_in > n_out) > (n_out % ALIGNMENT == 0, n_out > n_in)


def as_stored(parameter: Tensor) -> Tensor:
    """A weight or bias ``[S, in, out]`` in the order in which ``flat`` keeps it, ``[S, in out]``."""
    n_in, n_out = parameter.shape[1:]
    return (parameter.mT if is_stored_out_first(n_in, n_out) else parameter).flatten(1)
