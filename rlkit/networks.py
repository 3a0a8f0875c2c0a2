"""Networks with a leading seed axis: S networks of one shape evaluated as one.

A layer's weights are ``[S, in, out]`` and its application is one ``baddbmm``, so row s depends on row s alone and
equals, to the bit on CPU, what a stack of one would give. All parameters of a stack live in one matrix
``flat [S, P]``: an optimiser step, a target-network copy and a gradient norm are each a single operation on it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from gymnasium import spaces
from torch import Tensor, nn

from .streams import Stream

Activation = Literal["relu", "tanh"]


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
        """Make the layers' tensors: leaves that are views of ``flat``."""
        self.parameters: list[Tensor] = []  # weight [S, in, out], bias [S, 1, out], layer by layer
        start = 0
        for n_in, n_out in zip(self.sizes[:-1], self.sizes[1:], strict=True):
            for rows in (n_in, 1):
                view = self.flat[:, start : start + rows * n_out].view(-1, rows, n_out)
                self.parameters.append(view.detach().requires_grad_())
                start += rows * n_out

    def __call__(self, x: Tensor) -> Tensor:
        """``[S, M, in] -> [S, M, out]``."""
        if x.shape[1] == 1 and torch.is_grad_enabled():
            # the backward products of a single observation round differently for one row and for many
            return self(torch.cat([x, torch.zeros_like(x)], dim=1))[:, :1]
        layers = len(self.parameters) // 2
        for i in range(layers):
            weight, bias = self.parameters[2 * i], self.parameters[2 * i + 1]
            x = linear(x, weight, bias)
            if i < layers - 1:
                x = torch.relu(x) if self.activation == "relu" else torch.tanh(x)
        return x

    def gradient(self, loss: Tensor) -> Tensor:
        """Gradient of a scalar with respect to every parameter, ``[S, P]``, in the order of ``flat``.

        The loss is a sum over seeds, so row s is the gradient of seed s's own loss.
        """
        return torch.cat([g.flatten(1) for g in torch.autograd.grad(loss, self.parameters)], dim=1)

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


def _uniform_linear(layers: Sequence[tuple[int, int]], seeds: Sequence[int]) -> Tensor:
    """Weights and biases of every layer, uniform on +-1/sqrt(in), ``[S, P]`` float32."""
    count = sum((n_in + 1) * n_out for n_in, n_out in layers)
    numbers = Stream(seeds, "init", width=count).next()  # [S, P]
    bounds = torch.cat([torch.full(((n_in + 1) * n_out,), 1.0 / math.sqrt(n_in)) for n_in, n_out in layers])
    return ((2.0 * numbers - 1.0) * bounds).to(torch.float32)
