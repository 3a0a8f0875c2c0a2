"""Affine maps on the seed axis and their derivatives, written so that a row's bits do not depend on S."""

from __future__ import annotations

import math
import sys
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .matmul import ALIGNMENT, THIN, TORCH, MatmulBackend, choose_backend, onednn_layer, thin_affine

Activation = Literal["relu", "tanh"]


class LayerBackends(NamedTuple):
    """The backend of each of a layer's products."""

    output: MatmulBackend
    weight_gradient: MatmulBackend
    input_grad: MatmulBackend


class Layer:
    """S affine maps and their activation, with products for training: no graph is recorded.

    Weights are stored ``[in, out]`` or ``[out, in]``, whichever ends in whole cache lines or else in the longer axis:
    products run along it.

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
        self.rows = list(zip(self.weight_mT.unbind(0), bias.unbind(0), strict=True))  # S pairs, as oneDNN wants them
        self.activation = activation
        # the minibatch from which tanh is made of the sigmoid
        vectors = activation == "tanh" and n_out % (2 * ALIGNMENT) == 0 and n_in > 1 and flat.device.type == "cpu"
        self.sigmoid_from = math.ceil(SIGMOID_WORK / n_out) if vectors else sys.maxsize
        self._chosen: dict[int, LayerBackends] = {}

    def output(self, x: Tensor, minibatch: int) -> Tensor:
        """``[S, M, in] -> [S, M, out]``."""
        affine = self._by(minibatch).output.affine
        if affine is None:
            return onednn_layer(x, self.rows, self.activation)
        if minibatch >= self.sigmoid_from:
            # tanh(y) = 2 sigmoid(2 y) - 1, where the product gives 2 y
            y = affine(self.bias, x, self.weight, beta=2.0, alpha=2.0).sigmoid_()
            return torch.add(MINUS_ONE, y, alpha=2.0, out=y)
        y = affine(self.bias, x, self.weight)
        if self.activation == "none":
            return y
        return y.relu_() if self.activation == "relu" else y.tanh_()

    def graph(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The affine map alone for autograd, of given leaves: ``[S, M, in] -> [S, M, out]``."""
        return thin_affine(bias, x, weight)

    def gradients(self, x: Tensor, grad_output: Tensor, minibatch: int) -> list[Tensor]:
        """d loss / d bias ``[S, out]`` and d loss / d weight as stored ``[S, in out]``, from the end of ``flat``.

        x is the input ``[S, M, in]``, grad_output d loss / d output ``[S, M, out]``.
        """
        left, right = (grad_output, x) if self.out_first else (x, grad_output)
        return [grad_output.sum(dim=1), self._by(minibatch).weight_gradient.product(left.mT, right).flatten(1)]

    def input_grad(self, grad_output: Tensor, minibatch: int) -> Tensor:
        """d loss / d input ``[S, M, in]`` from d loss / d output ``[S, M, out]``."""
        return self._by(minibatch).input_grad.product(grad_output, self.weight_mT)

    def _by(self, minibatch: int) -> LayerBackends:
        return self._chosen.get(minibatch) or self._choose(minibatch)

    def _choose(self, minibatch: int) -> LayerBackends:
        n_in, n_out = self.weight.shape[1:]
        on_cpu = self.weight.device.type == "cpu"
        others = THIN if on_cpu and 1 in (n_in, n_out) else TORCH
        if not on_cpu or self.weight.dtype != torch.float32:
            chosen = LayerBackends(others, others, others)
        else:
            height, width = (n_out, n_in) if self.out_first else (n_in, n_out)
            chosen = LayerBackends(
                output=choose_backend(minibatch, n_in, n_out, others),
                weight_gradient=choose_backend(height, minibatch, width, others),
                input_grad=choose_backend(minibatch, n_out, n_in, others),
            )
        self._chosen[minibatch] = chosen
        return chosen


MINUS_ONE = torch.tensor(-1.0, dtype=torch.float32)
# torch's sigmoid is six times as fast as its tanh, and 2 sigmoid(2 y) - 1 is within 2e-7 of tanh(y). It takes three
# operations instead of one, so it pays only for large rows, and only in whole vectors, because the last elements of a
# tensor are computed differently.
SIGMOID_WORK = 2**11  # elements of a row from which it wins


def activation_backward(activation: Activation, grad_output: Tensor, y: Tensor) -> Tensor:
    """Multiply ``grad_output`` in place by the activation's derivative at its output y: 1 - y^2, or y > 0."""
    if activation == "relu":
        grad_output = torch.ops.aten.threshold_backward.grad_input(grad_output, y, 0.0, grad_input=grad_output)
    else:
        grad_output = torch.ops.aten.tanh_backward.grad_input(grad_output, y, grad_input=grad_output)
    return grad_output


def is_stored_out_first(n_in: int, n_out: int) -> bool:
    """Whether a layer of these widths keeps its weights as ``[out, in]``."""
    return (n_in % ALIGNMENT == 0, n_in > n_out) > (n_out % ALIGNMENT == 0, n_out > n_in)


def as_stored(parameter: Tensor) -> Tensor:
    """A weight or bias ``[S, in, out]`` in the order in which ``flat`` keeps it, ``[S, in out]``."""
    n_in, n_out = parameter.shape[1:]
    return (parameter.mT if is_stored_out_first(n_in, n_out) else parameter).flatten(1)
