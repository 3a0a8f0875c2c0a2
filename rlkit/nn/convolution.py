"""Convolutions on the seed axis, as a matrix product of patches.

A grouped convolution over S networks rounds differently for one network and for many. So the receptive fields of a
filter are laid out as rows (im2col: Chellapilla, Puri & Simard 2006), and a convolution is the ``Layer`` of a
perceptron on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from .layers import Activation, Layer
from .matmul import ALIGNMENT, thin_affine


class Convolution(NamedTuple):
    """The geometry of one convolution without padding. Images are flat, ``[S, M, height width channels]``."""

    height: int
    width: int
    channels: int
    filters: int
    kernel: int
    stride: int
    channels_first: bool = False  # the image is [channels, height, width], else [height, width, channels]

    @property
    def rows(self) -> int:
        """Height of the result."""
        return (self.height - self.kernel) // self.stride + 1

    @property
    def columns(self) -> int:
        """Width of the result."""
        return (self.width - self.kernel) // self.stride + 1

    @property
    def patch(self) -> int:
        """Size of a filter's receptive field."""
        return self.kernel * self.kernel * self.channels

    @property
    def num_outputs(self) -> int:
        """Length of the result, which is ``[rows, columns, filters]``."""
        return self.rows * self.columns * self.filters

    def module(self, weight: Tensor, bias: Tensor) -> nn.Conv2d:
        """A plain torch convolution with weight ``[patch, filters]`` and bias ``[filters]``."""
        geometry = (self.channels, self.filters, self.kernel, self.stride)
        layer = nn.Conv2d(*geometry, device=weight.device, dtype=weight.dtype)
        with torch.no_grad():
            layer.weight.copy_(weight.view(self.kernel, self.kernel, self.channels, -1).permute(3, 2, 0, 1))
            if layer.bias is not None:
                layer.bias.copy_(bias)
        return layer


def convolutions(shape: Sequence[int], layers: Sequence[Sequence[int]]) -> list[Convolution]:
    """Return successive convolutions of (filters, kernel, stride) each, on images of a shape.

    The channels are the last axis of the shape if it is the smallest of all, else the first.

    Raises:
        ValueError: a shape without three axes, a layer that is not three positive numbers, filters that are not a
            multiple of 16, or a kernel larger than its input.
    """
    if len(shape) != 3:
        raise ValueError(f"convolutions need images of three axes, got {tuple(shape)}: use network='mlp'")
    channels_first = shape[2] >= min(shape[:2])
    channels, height, width = shape if channels_first else (shape[2], shape[0], shape[1])
    made: list[Convolution] = []
    for layer in layers:
        if len(layer) != 3 or min(layer) < 1 or layer[0] % ALIGNMENT:
            raise ValueError(
                f"a convolution is (filters, kernel, stride), all positive and filters a multiple of {ALIGNMENT} (then "
                f"a row's bits do not depend on S), got {tuple(layer)}"
            )
        filters, kernel, stride = layer
        first = channels_first and not made
        made.append(Convolution(height, width, channels, filters, kernel, stride, first))
        if made[-1].kernel > min(height, width):
            raise ValueError(
                f"a kernel of {made[-1].kernel} does not fit into {height} x {width}, which is left of images "
                f"{tuple(shape)}: give fewer or smaller convolutions, or network='mlp'"
            )
        height, width, channels = made[-1].rows, made[-1].columns, made[-1].filters
    return made


def patches(x: Tensor, c: Convolution) -> Tensor:
    """Extract the receptive fields: ``[S, M, height width channels] -> [S, M rows columns, patch]``."""
    if c.channels_first:
        image = x.reshape(*x.shape[:2], c.channels, c.height, c.width).permute(0, 1, 3, 4, 2)
    else:
        image = x.reshape(*x.shape[:2], c.height, c.width, c.channels)
    windows = image.unfold(2, c.kernel, c.stride).unfold(3, c.kernel, c.stride)  # [S, M, rows, columns, C, k, k]
    return windows.permute(0, 1, 2, 3, 5, 6, 4).reshape(len(x), x.shape[1] * c.rows * c.columns, c.patch)


def add_patches(grad_output: Tensor, c: Convolution) -> Tensor:
    """The adjoint of ``patches``: ``[S, M rows columns, patch] -> [S, M, height width channels]``, channels last."""
    windows = grad_output.view(len(grad_output), -1, c.rows, c.columns, c.kernel, c.kernel, c.channels)
    image = grad_output.new_zeros(*windows.shape[:2], c.height, c.width, c.channels)
    down, right = c.rows * c.stride, c.columns * c.stride
    for i in range(c.kernel):
        for j in range(c.kernel):
            image[:, :, i : i + down : c.stride, j : j + right : c.stride] += windows[..., i, j, :]
    return image.flatten(2)


class ConvolutionLayer:
    """S convolutions and their activation; methods as of ``Layer``, on flat images with channels last.

    Args:
        flat: weights ``[patch, filters]``, then biases, as ``Layer`` keeps them.
        convolution: the geometry.
        activation: applied to the output.
    """

    def __init__(self, flat: Tensor, convolution: Convolution, activation: Activation | Literal["none"]) -> None:
        self.convolution = convolution
        self.filters = Layer(flat, convolution.patch, convolution.filters, activation)
        self.weight, self.bias = self.filters.weight, self.filters.bias

    def output(self, x: Tensor, minibatch: int) -> Tensor:
        """``[S, M, height width channels] -> [S, M, rows columns filters]``."""
        rows = patches(x, self.convolution)
        return self.filters.output(rows, rows.shape[1]).view(len(x), minibatch, self.convolution.num_outputs)

    def graph(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The affine map alone for autograd, of given leaves."""
        affine = thin_affine(bias, patches(x, self.convolution), weight)
        return affine.view(len(x), x.shape[1], self.convolution.num_outputs)

    def gradients(self, x: Tensor, grad_output: Tensor, minibatch: int) -> list[Tensor]:
        """d loss / d bias and d loss / d weight as stored, from input and d loss / d output."""
        rows, grad_output = patches(x, self.convolution), self._by_place(grad_output)
        return self.filters.gradients(rows, grad_output, rows.shape[1])

    def input_grad(self, grad_output: Tensor, minibatch: int) -> Tensor:
        """d loss / d input from d loss / d output; the input has its channels last."""
        grad_output = self._by_place(grad_output)
        return add_patches(self.filters.input_grad(grad_output, grad_output.shape[1]), self.convolution)

    def _by_place(self, grad_output: Tensor) -> Tensor:
        """``[S, M, rows columns filters] -> [S, M rows columns, filters]``."""
        return grad_output.reshape(len(grad_output), -1, self.convolution.filters)


class ChannelsFirst(nn.Module):
    """Flat images ``[M, height width channels]`` as the ``[M, channels, height, width]`` of torch's convolutions."""

    def __init__(self, convolution: Convolution) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        """``[M, height width channels] -> [M, channels, height, width]``."""
        c = self.convolution
        if c.channels_first:
            return x.reshape(len(x), c.channels, c.height, c.width)
        return x.reshape(len(x), c.height, c.width, c.channels).permute(0, 3, 1, 2)


class ChannelsLast(nn.Module):
    """``[M, channels, height, width] -> [M, height width channels]``: the order in which the layers after read it."""

    def forward(self, x: Tensor) -> Tensor:
        """``[M, channels, height, width] -> [M, height width channels]``."""
        return x.permute(0, 2, 3, 1).flatten(1)
