"""Networks with a leading seed axis: S networks of one shape evaluated as one.

A layer's weights are ``[S, in, out]`` and its application is one ``baddbmm``, so row s depends on row s alone and
equals, to the bit on CPU, what a stack of one would give. All parameters of a stack live in one matrix
``flat [S, P]``: an optimizer step, a target-network copy and a gradient norm are each a single operation on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, get_args

import torch
from torch import Tensor, nn

from rlkit.devices import constant

from .convolution import ChannelsFirst, ChannelsLast, Convolution, ConvolutionLayer
from .initialization import initial_numbers, orthogonal, uniform_linear
from .layers import Activation, Layer, activation_backward, as_stored, is_stored_out_first
from .matmul import ALIGNMENT
from .rbf import RadialBasis
from .torch_modules import linear_module

# d loss / d output ``[S, M, out]``, of every output -> d loss / d parameters ``[S, P]``, written into a last argument
# ``out`` if that is given; the derivatives may be overwritten
Pullback = Callable[..., Tensor]


class MLP:
    """S multilayer perceptrons side by side: ``[S, M, in] -> [S, M, out]``.

    The initial weights are torch's default for ``nn.Linear`` and ``nn.Conv2d``, uniform on +-1/sqrt(in) for weights and
    biases (what stable-baselines3's DQN starts from), or orthogonal with ``gains`` (what its A2C and PPO start from),
    drawn from the stream (seed, "init", network_index).

    Inside, hidden layers are widened to multiples of 16, because products of whole cache lines round alike for any S.
    The extra units have zero weights in and out, hence zero gradients, and stay zero. Files and plain modules do not
    have them, see ``columns``.

    Args:
        sizes: widths from input to output, for example ``(4, 64, 64, 2)``; behind convolutions, the first is their
            output's length.
        seeds: one integer per row.
        activation: between the layers; the output is linear.
        device: where the parameters live.
        gains: gains of every layer, for orthogonal weights and zero biases.
        network_index: which of an agent's networks this is: networks of one agent draw from different streams.
        convolutions: the first layers, on a flat image.
        basis: fixed features of the input, before the learned layers.
        dtype: dtype of the parameters.

    Raises:
        ValueError: fewer than two sizes, a size below one, gains of another number than layers, or an unknown
            activation.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        seeds: Sequence[int],
        activation: Activation = "relu",
        device: torch.device | str = "cpu",
        gains: Sequence[float] | None = None,
        network_index: int = 0,
        convolutions: Sequence[Convolution] = (),
        basis: RadialBasis | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"sizes must be at least two positive widths, got {tuple(sizes)}")
        if activation not in get_args(Activation):
            raise ValueError(f"activation must be one of {', '.join(get_args(Activation))}, got {activation!r}")
        self.sizes = tuple(sizes)
        self.activation = activation
        self.convolutions = tuple(convolutions)
        self.basis = basis
        self._widths = (sizes[0], *(_whole_lines(width) for width in sizes[1:-1]), sizes[-1])
        layers = self._shapes(self.sizes)
        numbers = initial_numbers(layers, seeds, network_index)
        compact = uniform_linear(layers, numbers) if gains is None else orthogonal(layers, numbers, gains)
        widened = self._shapes(self._widths)
        self.columns = _columns(layers, widened).to(device)
        count = sum((n_in + 1) * n_out for n_in, n_out in widened)
        # every row begins a cache line
        flat = torch.zeros(len(compact), _whole_lines(count), dtype=dtype, device=device)
        flat[:, self.columns] = compact.to(flat)
        self.place(flat)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle or a deep copy holds: all but the views of ``flat``."""
        return {name: value for name, value in vars(self).items() if name not in ("_layers", "_padding", "parameters")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the attributes, and make the views of ``flat`` anew."""
        vars(self).update(state)
        self._attach()

    def _shapes(self, widths: Sequence[int]) -> list[tuple[int, int]]:
        """(in, out) of every layer."""
        return [(c.patch, c.filters) for c in self.convolutions] + list(pairwise(widths))

    def place(self, flat: Tensor) -> None:
        """Use this matrix ``[S, P]`` as the parameters from now on, for example a part of a larger one."""
        self.flat = flat
        self._attach()

    def _attach(self) -> None:
        """Make the layers, whose weights and biases are views of ``flat``."""
        self._layers: list[Layer | ConvolutionLayer] = []
        shapes, start = self._shapes(self._widths), 0
        for i, (n_in, n_out) in enumerate(shapes):
            stop = start + (n_in + 1) * n_out
            own: Tensor = self.flat[:, start:stop]
            if i < len(self.convolutions):
                self._layers.append(ConvolutionLayer(own, self.convolutions[i], self.activation))
            else:
                activation = "none" if i == len(shapes) - 1 else self.activation
                self._layers.append(Layer(own, n_in, n_out, activation))
            start = stop
        rows, width = self.flat.shape
        self._padding = constant(0.0, self.flat.dtype, self.flat.device).expand(rows, width - start)
        # weight [S, in, out] and bias [S, 1, out] of each layer in turn, as leaves for autograd
        self.parameters = [t.detach().requires_grad_() for layer in self._layers for t in (layer.weight, layer.bias)]

    @property
    def blocks(self) -> dict[str, Tensor]:
        """Weights and biases of every layer by name, ``[S, in, out]`` and ``[S, 1, out]``."""
        kinds = ("weights", "biases")
        return {f"{kinds[i % 2]} of layer {i // 2 + 1}": block for i, block in enumerate(self.parameters)}

    def __call__(self, x: Tensor) -> Tensor:
        """``[S, M, in] -> [S, M, out]``, differentiable in x and in ``parameters`` where gradients are enabled."""
        if not torch.is_grad_enabled():
            return self._activations(x)[-1]
        if x.shape[1] < ALIGNMENT:
            return self(_pad_minibatch(x))[:, : x.shape[1]]
        x = x if self.basis is None else self.basis(x)
        for i, layer in enumerate(self._layers):
            x = layer.graph(x, self.parameters[2 * i], self.parameters[2 * i + 1])
            if i < len(self._layers) - 1:
                x = torch.relu(x) if self.activation == "relu" else torch.tanh(x)
        return x

    def gradient(self, loss: Tensor) -> Tensor:
        """Gradient of a loss with respect to every parameter, ``[S, P]``, in the order of ``flat``.

        The loss is one number per seed, ``[S]``, or their sum; row s is the gradient of seed s's own loss. A parameter
        that the loss does not depend on has gradient 0.
        """
        return self.in_order(gradients_of(loss, self.parameters))

    def in_order(self, gradients: Sequence[Tensor]) -> Tensor:
        """Gradients by each of ``parameters`` as one matrix in the order of ``flat``, ``[S, P]``."""
        return torch.cat([*(as_stored(gradient) for gradient in gradients), self._padding], dim=1)

    def vjp(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """The output ``[S, M, out]`` and the pullback: d loss / d output ``[S, M, out]`` -> d loss / d flat ``[S, P]``.

        Backpropagation (Rumelhart, Hinton & Williams 1986) written out: the numbers of ``gradient`` of a loss on
        ``self(x)``, in half the time for small networks. x is taken as constant.
        """
        if x.shape[1] < ALIGNMENT:
            output, pull = self.vjp(_pad_minibatch(x))
            return output[:, : x.shape[1]], lambda grad_output, out=None: pull(_pad_minibatch(grad_output), out)
        minibatch, activations = x.shape[1], self._activations(x)

        def pullback(grad_output: Tensor, out: Tensor | None = None) -> Tensor:
            gradients = [self._padding]  # from the end of ``flat`` to its start
            for i in reversed(range(len(self._layers))):
                layer, h = self._layers[i], activations[i]
                gradients += layer.gradients(h, grad_output, minibatch)
                if i > 0:
                    grad_output = activation_backward(
                        self.activation, layer.input_grad(grad_output, minibatch), h
                    )  # [S, M, in]
            return torch.cat(gradients[::-1], dim=1, out=out)

        return activations[-1], pullback

    def input_vjp(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The output ``[S, M, out]`` and the pullback to the input: d loss / d output ``[S, M, out]`` -> d loss / d x.

        As ``vjp``, with the parameters taken as constant and no graph recorded. For networks of layers alone.

        Raises:
            ValueError: convolutions or a radial basis.
        """
        if not self.layers_alone:
            raise ValueError("input_vjp is for layers without convolutions or a basis: differentiate self(x) instead")
        if x.shape[1] < ALIGNMENT:
            output, pull = self.input_vjp(_pad_minibatch(x))
            return output[:, : x.shape[1]], lambda grad_output: pull(_pad_minibatch(grad_output))[:, : x.shape[1]]
        minibatch, activations = x.shape[1], self._activations(x)

        def pullback(grad_output: Tensor) -> Tensor:
            for layer, h in zip(reversed(self._layers[1:]), reversed(activations[:-1]), strict=False):
                grad_output = activation_backward(self.activation, layer.input_grad(grad_output, minibatch), h)
            return self._layers[0].input_grad(grad_output, minibatch)

        return activations[-1], pullback

    def _activations(self, x: Tensor) -> list[Tensor]:
        """Compute the input of the first layer and the output of every layer, without gradients."""
        minibatch, x = x.shape[1], x.detach()  # activations are computed in place
        activations = [x if self.basis is None else self.basis(x)]
        for layer in self._layers:
            activations.append(layer.output(activations[-1], minibatch))
        return activations

    @property
    def layers_alone(self) -> bool:
        """Whether the network is fully connected: no convolutions, no radial basis."""
        return not self.convolutions and self.basis is None

    def copy(self) -> MLP:
        """A separate stack with the same parameters, for example a target network."""
        return self._like(torch.clone)

    def rows(self, rows: slice) -> MLP:
        """A separate stack of some of the rows."""
        return self._like(lambda of_rows: of_rows[rows].clone())

    def repeated(self, copies: int) -> MLP:
        """A separate stack with every row ``copies`` times: ``[S copies]`` rows, the copies of a row together."""
        return self._like(lambda of_rows: of_rows.repeat_interleave(copies, dim=0))

    def _like(self, pick: Callable[[Tensor], Tensor]) -> MLP:
        """A stack of the same shape with other rows: ``pick`` says which, ``[S, ...] -> [S', ...]``."""
        twin = object.__new__(MLP)
        twin.sizes, twin._widths, twin.activation = self.sizes, self._widths, self.activation
        twin.convolutions, twin.columns = self.convolutions, self.columns
        twin.basis = None if self.basis is None else self.basis.like(pick)
        twin.place(pick(self.flat))
        return twin

    def as_module(self, row: int) -> nn.Sequential:
        """Row ``row`` as a plain torch module on features ``[M, in]``, with its own parameters."""
        modules: list[nn.Module] = [] if self.basis is None else [self.basis.as_module(row)]
        if self.convolutions:
            modules.append(ChannelsFirst(self.convolutions[0]))
        weights = (weight.detach()[row] for weight in self.parameters[::2])
        biases = (bias.detach()[row, 0] for bias in self.parameters[1::2])
        shapes = self._shapes(self.sizes)
        for i, (weight, bias, (n_in, n_out)) in enumerate(zip(weights, biases, shapes, strict=True)):
            if i < len(self.convolutions):
                modules.append(self.convolutions[i].module(weight, bias))
            else:
                modules.append(linear_module(weight[:n_in, :n_out], bias[:n_out]))
            modules.append(nn.ReLU() if self.activation == "relu" else nn.Tanh())
            if i == len(self.convolutions) - 1:
                modules.append(ChannelsLast())
        return nn.Sequential(*modules[:-1])


def gradients_of(loss: Tensor, parameters: Sequence[Tensor]) -> Sequence[Tensor]:
    """Differentiate the sum of a loss by parameters; 0 by those that it does not depend on."""
    ones = torch.ones_like(loss)
    return torch.autograd.grad(loss, parameters, ones, allow_unused=True, materialize_grads=True)


def _whole_lines(width: int) -> int:
    """The next multiple of a cache line."""
    return -(-width // ALIGNMENT) * ALIGNMENT


def _columns(layers: Sequence[tuple[int, int]], widened: Sequence[tuple[int, int]]) -> Tensor:
    """Where the parameters of layers lie in the ``flat`` of widened ones: ``[count]`` int64.

    In the order of the layers' own weights as stored, then biases.
    """
    parts, start = [], 0
    for (n_in, n_out), (wide_in, wide_out) in zip(layers, widened, strict=True):
        weights = start + torch.arange(wide_in * wide_out)
        out_first = is_stored_out_first(wide_in, wide_out)
        places = weights.view(wide_out, wide_in).T if out_first else weights.view(wide_in, wide_out)
        parts += [as_stored(places[None, :n_in, :n_out])[0], start + wide_in * wide_out + torch.arange(n_out)]
        start += (wide_in + 1) * wide_out
    return torch.cat(parts)


def _pad_minibatch(x: Tensor) -> Tensor:
    """Append zeros to fewer than 16 observations, whose products would round differently for one row and for many."""
    return nn.functional.pad(x, (0, 0, 0, ALIGNMENT - x.shape[1]))
