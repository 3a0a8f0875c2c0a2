"""Networks with a leading seed axis: S networks of one shape evaluated as one.

A layer's weights are ``[S, in, out]`` and its application is one ``baddbmm``, so row s depends on row s alone and
equals, to the bit on CPU, what a stack of one would give. All parameters of a stack live in one matrix
``flat [S, P]``: an optimiser step, a target-network copy and a gradient norm are each a single operation on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from gymnasium import spaces
from torch import Tensor, nn

from .streams import Stream

Activation = Literal["relu", "tanh"]
ALIGNMENT = 16  # float32 numbers in a cache line


def encode(obs: Tensor, space: spaces.Space) -> Tensor:
    """Observations as the network reads them: ``[..., *space.shape]`` -> ``[..., features]`` float.

    Discrete becomes one-hot, uint8 images are divided by 255, every other Box is flattened and cast. The result
    is differentiable with respect to floating observations, so attacks pass through it.

    Raises:
        ValueError: a space that is neither Box nor Discrete.
    """
    if isinstance(space, spaces.Discrete):
        return nn.functional.one_hot(obs.long() - int(space.start), int(space.n)).to(torch.float32)
    if not isinstance(space, spaces.Box):
        raise ValueError(
            f"observations must be Box or Discrete, got {space}: flatten them first, "
            "for example with gymnasium.wrappers.FlattenObservation"
        )
    lead = obs.shape[: obs.dim() - len(space.shape)]
    features = obs.reshape(*lead, -1)
    if features.dtype == torch.uint8:
        return features.to(torch.float32) / 255.0
    return features if features.is_floating_point() else features.to(torch.float32)


def num_features(space: spaces.Space) -> int:
    """Length of what ``encode`` gives for one observation."""
    return int(space.n) if isinstance(space, spaces.Discrete) else math.prod(space.shape or ())


class MLP:
    """S multilayer perceptrons side by side: ``[S, M, in] -> [S, M, out]``.

    The initial weights are torch's default for ``nn.Linear``, uniform on +-1/sqrt(in) for weights and biases
    (what stable-baselines3's DQN starts from), drawn from the stream (seed, "init").

    Args:
        sizes: widths from input to output, for example ``(4, 64, 64, 2)``.
        seeds: one integer per row.
        activation: between the layers; the output is linear.
        device: where the parameters live.

    Raises:
        ValueError: fewer than two sizes, a size below one, or an unknown activation.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        seeds: Sequence[int],
        activation: Activation = "relu",
        device: torch.device | str = "cpu",
    ) -> None:
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"sizes must be at least two positive widths, got {tuple(sizes)}")
        if activation not in get_args(Activation):
            raise ValueError(f"activation must be one of {', '.join(get_args(Activation))}, got {activation!r}")
        self.sizes = tuple(sizes)
        self.activation = activation
        layers = list(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        self.flat = _uniform_linear(layers, seeds).to(device)  # [S, P]
        self._attach()

    def _attach(self) -> None:
        """Make the layers, whose weights and biases are views of ``flat``."""
        self._layers: list[Layer] = []
        start = 0
        for n_in, n_out in zip(self.sizes[:-1], self.sizes[1:], strict=True):
            stop = start + (n_in + 1) * n_out
            last = len(self._layers) == len(self.sizes) - 2
            self._layers.append(Layer(self.flat[:, start:stop], n_in, n_out, "none" if last else self.activation))
            start = stop
        # weight [S, in, out] and bias [S, 1, out] of each layer in turn, as leaves for autograd
        self._padding = torch.zeros_like(self.flat[:, start:])
        self.parameters = [t.detach().requires_grad_() for layer in self._layers for t in (layer.weight, layer.bias)]

    def __call__(self, x: Tensor) -> Tensor:
        """``[S, M, in] -> [S, M, out]``, differentiable in x and in ``parameters`` where gradients are enabled."""
        if not torch.is_grad_enabled():
            for layer in self._layers:
                x = layer(x)
            return x
        if x.shape[1] < ALIGNMENT:
            return self(_pad_minibatch(x))[:, : x.shape[1]]
        layers = len(self.parameters) // 2
        for i in range(layers):
            x = linear(x, self.parameters[2 * i], self.parameters[2 * i + 1])
            if i < layers - 1:
                x = torch.relu(x) if self.activation == "relu" else torch.tanh(x)
        return x

    def gradient(self, loss: Tensor) -> Tensor:
        """Gradient of a scalar with respect to every parameter, ``[S, P]``, in the order of ``flat``.

        The loss is a sum over seeds, so row s is the gradient of seed s's own loss.
        """
        gradients = [_as_stored(gradient) for gradient in torch.autograd.grad(loss, self.parameters)]
        return torch.cat([*gradients, self._padding], dim=1)

    def vjp(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The output ``[S, M, out]`` and the pullback: d loss / d output ``[S, M, out]`` -> d loss / d flat ``[S, P]``.

        Backpropagation (Rumelhart, Hinton & Williams 1986) written out: the numbers of ``gradient`` of a loss on
        ``self(x)``, at half the price for small networks. x is taken as constant.
        """
        if x.shape[1] < ALIGNMENT:
            output, pull = self.vjp(_pad_minibatch(x))
            return output[:, : x.shape[1]], lambda slope: pull(_pad_minibatch(slope))
        activations = [x]  # x, h_1, h_2, ..., output
        for layer in self._layers:
            activations.append(layer(activations[-1]))

        def pullback(slope: Tensor) -> Tensor:
            gradients = [self._padding]  # from the end of ``flat`` to its start
            for i in reversed(range(len(self._layers))):
                layer, h = self._layers[i], activations[i]
                gradients += [slope.sum(dim=1), layer.weight_gradient(h, slope)]
                if i > 0:
                    slope = _through(self.activation, layer.input_slope(slope), h)  # [S, M, in]
            return torch.cat(gradients[::-1], dim=1)

        return activations[-1], pullback

    def copy(self) -> MLP:
        """A separate stack with the same parameters, for example a target network."""
        return self.rows(slice(None))

    def rows(self, rows: slice) -> MLP:
        """A separate stack of some of the rows."""
        twin = object.__new__(MLP)
        twin.sizes, twin.activation = self.sizes, self.activation
        twin.flat = self.flat[rows].clone()
        twin._attach()
        return twin

    def seed(self, row: int) -> nn.Sequential:
        """Row ``row`` as a plain torch module of ``nn.Linear`` layers, with parameters of its own."""
        modules: list[nn.Module] = []
        for weight, bias in zip(self.parameters[::2], self.parameters[1::2], strict=True):
            layer = nn.Linear(weight.shape[1], weight.shape[2], device=weight.device, dtype=weight.dtype)
            with torch.no_grad():
                layer.weight.copy_(weight[row].T)
                layer.bias.copy_(bias[row, 0])
            modules += [layer, nn.ReLU() if self.activation == "relu" else nn.Tanh()]
        return nn.Sequential(*modules[:-1])


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
    products run along it.

    Args:
        flat: weights, then biases, ``[S, in out + out]``, kept as views.
        n_in: width of the input.
        n_out: width of the output.
        activation: applied to the output.
    """

    def __init__(self, flat: Tensor, n_in: int, n_out: int, activation: Activation | Literal["none"]) -> None:
        weight, bias = flat[:, : n_in * n_out], flat[:, n_in * n_out :]
        self.out_first = _is_stored_out_first(n_in, n_out)
        self.weight = (
            weight.view(-1, n_out, n_in).mT if self.out_first else weight.view(-1, n_in, n_out)
        )  # [S, in, out]
        self.bias = bias[:, None]  # [S, 1, out]
        self.activation = activation
        # rows as plain matrices, for oneDNN
        self._transposed = [weight.T for weight in self.weight]  # [out, in] each
        self._biases = list(bias)
        onednn = ONEDNN_LINEAR is not None and flat.device.type == "cpu" and flat.dtype == torch.float32
        self._work = n_in * n_out if onednn else 0  # multiply-adds per observation

    def __call__(self, x: Tensor) -> Tensor:
        """``[S, M, in] -> [S, M, out]``."""
        if self._is_large(x):
            rows = zip(x.unbind(0), self._transposed, self._biases, strict=True)
            return _stacked([ONEDNN_LINEAR(row, weight, bias, self.activation, [], "") for row, weight, bias in rows])
        y = linear(x, self.weight, self.bias)
        if self.activation == "none":
            return y
        return y.relu_() if self.activation == "relu" else y.tanh_()

    def weight_gradient(self, x: Tensor, slope: Tensor) -> Tensor:
        """d loss / d weight as stored, ``[S, in out]``, from the input ``[S, M, in]`` and d loss / d output."""
        left, right = (slope, x) if self.out_first else (x, slope)
        if self._is_large(x):
            rows = zip(left.mT.unbind(0), right.mT.unbind(0), strict=True)
            return _stacked([ONEDNN_LINEAR(a, b, None, "none", [], "") for a, b in rows]).flatten(1)
        return _product(left.mT, right).flatten(1)

    def input_slope(self, slope: Tensor) -> Tensor:
        """d loss / d input ``[S, M, in]`` from d loss / d output ``[S, M, out]``."""
        if self._is_large(slope):
            rows = zip(slope.unbind(0), self._transposed, strict=True)
            return _stacked([ONEDNN_LINEAR(row, weight.T, None, "none", [], "") for row, weight in rows])
        return _product(slope, self.weight.mT)

    def _is_large(self, x: Tensor) -> bool:
        """Decided by the shape of one row's product alone, so that a row's bits do not depend on S."""
        return x.shape[1] * self._work >= ONEDNN_WORK


# oneDNN's product of plain matrices. For large ones it is up to twice as fast as the BLAS behind ``baddbmm``,
# which has no AVX-512 kernels for every CPU; for small ones its call costs more than it saves. Not in every build.
ONEDNN_LINEAR: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
ONEDNN_WORK = 2**21  # multiply-adds from which it wins


def _stacked(rows: list[Tensor]) -> Tensor:
    return torch.stack(rows) if len(rows) > 1 else rows[0][None]


def _product(a: Tensor, b: Tensor) -> Tensor:
    """``[S, M, K] x [S, K, N] -> [S, M, N]``; where a width is one, a form that rounds alike for any S."""
    if b.shape[2] == 1:
        return (a * b.mT).sum(dim=2, keepdim=True)
    if b.shape[1] == 1:
        return a * b
    if a.shape[1] == 1:
        return (a.mT * b).sum(dim=1, keepdim=True)
    return torch.bmm(a, b)


def _through(activation: Activation, slope: Tensor, y: Tensor) -> Tensor:
    """The slope times the activation's derivative, read off its output: 1 where relu's is positive, 1 - tanh^2."""
    backward: Tensor
    if activation == "relu":
        backward = torch.ops.aten.threshold_backward(slope, y, 0.0)
    else:
        backward = torch.ops.aten.tanh_backward(slope, y)
    return backward


def _is_stored_out_first(n_in: int, n_out: int) -> bool:
    return (n_in % ALIGNMENT == 0, n_in > n_out) > (n_out % ALIGNMENT == 0, n_out > n_in)


def _as_stored(parameter: Tensor) -> Tensor:
    """A weight or bias ``[S, in, out]`` in the order in which ``flat`` keeps it, ``[S, in out]``."""
    n_in, n_out = parameter.shape[1:]
    return (parameter.mT if _is_stored_out_first(n_in, n_out) else parameter).flatten(1)


def _pad_minibatch(x: Tensor) -> Tensor:
    """Zeros after few observations: products of fewer round differently for one row and for many."""
    return nn.functional.pad(x, (0, 0, 0, ALIGNMENT - x.shape[1]))


def _uniform_linear(layers: Sequence[tuple[int, int]], seeds: Sequence[int]) -> Tensor:
    """Weights and biases of every layer, uniform on +-1/sqrt(in), and zeros up to a multiple of 16, ``[S, P]`` float32.

    How a product rounds depends on where its operands lie relative to a cache line, so every row starts on one.
    """
    count = sum((n_in + 1) * n_out for n_in, n_out in layers)
    numbers = Stream(seeds, "init", width=count).next()  # [S, count]
    bounds = torch.cat([torch.full(((n_in + 1) * n_out,), 1.0 / math.sqrt(n_in)) for n_in, n_out in layers])
    return nn.functional.pad((2.0 * numbers - 1.0) * bounds, (0, -count % ALIGNMENT)).to(torch.float32)
