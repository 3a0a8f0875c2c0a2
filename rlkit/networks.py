"""Networks with a leading seed axis: S networks of one shape evaluated as one.

A layer's weights are ``[S, in, out]`` and its application is one ``baddbmm``, so row s depends on row s alone and
equals, to the bit on CPU, what a stack of one would give. All parameters of a stack live in one matrix
``flat [S, P]``: an optimiser step, a target-network copy and a gradient norm are each a single operation on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Protocol, get_args

import numpy as np
import torch
from gymnasium import spaces
from scipy.special import ndtri
from torch import Tensor, nn

from .convolution import ChannelsFirst, ChannelsLast, Convolution, ConvolutionLayer
from .layers import Activation, Layer, as_stored, is_stored_out_first, through
from .products import ALIGNMENT
from .radial import RadialBasis
from .streams import Stream


def encode(obs: Tensor, space: spaces.Space) -> Tensor:
    """Observations as the network reads them: ``[..., *space.shape]`` -> ``[..., features]`` float.

    Discrete becomes one-hot, unless it is given as codes already (floating ``[..., n]``, for example attacked ones);
    Boxes of uint8 from 0 to 255 are divided by 255, in whatever dtype they are given, every other Box is flattened and
    cast. The result is differentiable with respect to floating observations, so attacks pass through it.
    """
    if isinstance(space, spaces.Discrete):
        if obs.is_floating_point():
            return obs
        return nn.functional.one_hot(obs.long() - int(space.start), int(space.n)).to(torch.float32)
    axes = len(space.shape or ())
    features = obs if axes == 1 else obs.reshape(*obs.shape[: obs.dim() - axes], -1)
    features = features if features.is_floating_point() else features.to(torch.float32)
    return features / 255.0 if _is_of_bytes(space) else features


def _is_of_bytes(space: spaces.Space) -> bool:
    """Whether a Box holds all that a byte can be: one of 0 and 1 alone is of one scale already."""
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8:
        return False
    return bool((space.low == 0).all() and (space.high == 255).all())


def num_features(space: spaces.Space) -> int:
    """Length of what ``encode`` gives for one observation.

    Raises:
        ValueError: a space that is neither Box nor Discrete, Dict for example.
    """
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if not isinstance(space, spaces.Box):
        raise ValueError(
            f"observations must be Box or Discrete, got {space}: flatten them first, "
            "for example with gymnasium.wrappers.FlattenObservation"
        )
    return math.prod(space.shape)


class Pullback(Protocol):
    """d loss / d output ``[S, M, out]`` -> d loss / d parameters ``[S, P]``, written into ``out`` if that is given."""

    def __call__(self, slope: Tensor, out: Tensor | None = None) -> Tensor:
        """The slope may be overwritten."""
        ...


class PullbackOfBoth(Protocol):
    """The same of a policy's and a value's networks: slopes by logits ``[S, M, A]`` and by values ``[S, M]``."""

    def __call__(self, logits_slope: Tensor, values_slope: Tensor, out: Tensor | None = None) -> Tensor:
        """The slopes may be overwritten."""
        ...


class MLP:
    """S multilayer perceptrons side by side: ``[S, M, in] -> [S, M, out]``.

    The initial weights are torch's default for ``nn.Linear`` and ``nn.Conv2d``, uniform on +-1/sqrt(in) for weights and
    biases (what stable-baselines3's DQN starts from), or orthogonal with ``gains`` (what its A2C and PPO start from),
    drawn from the stream (seed, "init", copy).

    Inside, hidden layers are widened to multiples of 16 by units whose weights are zero and stay so, because what gives
    nothing and is asked by nobody has no gradient: products of whole cache lines round alike for any S. Files and plain
    modules do not have these units, see ``columns``.

    Args:
        sizes: widths from input to output, for example ``(4, 64, 64, 2)``; behind convolutions, the first is theirs.
        seeds: one integer per row.
        activation: between the layers; the output is linear.
        device: where the parameters live.
        gains: of every layer, for orthogonal weights and zero biases.
        copy: which of an agent's networks this is: networks of one agent draw from different streams.
        convolutions: what the input goes through first, as a flat image.
        basis: fixed features of the input, before anything that is learned.

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
        copy: int = 0,
        convolutions: Sequence[Convolution] = (),
        basis: RadialBasis | None = None,
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
        numbers = _initial_numbers(layers, seeds, copy)
        compact = _uniform_linear(layers, numbers) if gains is None else _orthogonal(layers, numbers, gains)
        widened = self._shapes(self._widths)
        self.columns = _columns(layers, widened).to(device)
        count = sum((n_in + 1) * n_out for n_in, n_out in widened)
        flat = torch.zeros(len(compact), _whole_lines(count), device=device)  # every row begins a cache line
        flat[:, self.columns] = compact.to(device, torch.float32)
        self.place(flat)

    def _shapes(self, widths: Sequence[int]) -> list[tuple[int, int]]:
        """(in, out) of every layer."""
        return [(c.patch, c.filters) for c in self.convolutions] + list(pairwise(widths))

    def place(self, flat: Tensor) -> None:
        """Let the parameters be this matrix ``[S, P]`` from now on, for example a part of a larger one."""
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
        # weight [S, in, out] and bias [S, 1, out] of each layer in turn, as leaves for autograd
        self._padding = torch.zeros_like(self.flat[:, start:])
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
        """Gradient of a scalar with respect to every parameter, ``[S, P]``, in the order of ``flat``.

        The loss is a sum over seeds, so row s is the gradient of seed s's own loss.
        """
        gradients = [as_stored(gradient) for gradient in torch.autograd.grad(loss, self.parameters)]
        return torch.cat([*gradients, self._padding], dim=1)

    def vjp(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """The output ``[S, M, out]`` and the pullback: d loss / d output ``[S, M, out]`` -> d loss / d flat ``[S, P]``.

        Backpropagation (Rumelhart, Hinton & Williams 1986) written out: the numbers of ``gradient`` of a loss on
        ``self(x)``, at half the price for small networks. x is taken as constant.
        """
        if x.shape[1] < ALIGNMENT:
            output, pull = self.vjp(_pad_minibatch(x))
            return output[:, : x.shape[1]], lambda slope, out=None: pull(_pad_minibatch(slope), out)
        minibatch, activations = x.shape[1], self._activations(x)

        def pullback(slope: Tensor, out: Tensor | None = None) -> Tensor:
            gradients = [self._padding]  # from the end of ``flat`` to its start
            for i in reversed(range(len(self._layers))):
                layer, h = self._layers[i], activations[i]
                gradients += layer.gradients(h, slope, minibatch)
                if i > 0:
                    slope = through(self.activation, layer.input_slope(slope, minibatch), h)  # [S, M, in]
            return torch.cat(gradients[::-1], dim=1, out=out)

        return activations[-1], pullback

    def input_vjp(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The output ``[S, M, out]`` and the pullback to the input: d loss / d output ``[S, M, out]`` -> d loss / d x.

        As ``vjp``, with the parameters taken as constant and no graph recorded. For networks of layers alone.

        Raises:
            ValueError: convolutions or a radial basis.
        """
        if self.convolutions or self.basis is not None:
            raise ValueError("gradients by the input are written out for layers alone: differentiate self(x) instead")
        if x.shape[1] < ALIGNMENT:
            output, pull = self.input_vjp(_pad_minibatch(x))
            return output[:, : x.shape[1]], lambda slope: pull(_pad_minibatch(slope))[:, : x.shape[1]]
        minibatch, activations = x.shape[1], self._activations(x)

        def pullback(slope: Tensor) -> Tensor:
            for layer, h in zip(reversed(self._layers[1:]), reversed(activations[:-1]), strict=False):
                slope = through(self.activation, layer.input_slope(slope, minibatch), h)
            return self._layers[0].input_slope(slope, minibatch)

        return activations[-1], pullback

    def _activations(self, x: Tensor) -> list[Tensor]:
        """What the first layer reads and the output of every layer, without gradients."""
        minibatch, x = x.shape[1], x.detach()  # numpy's products take no leaves
        activations = [x if self.basis is None else self.basis(x)]
        for layer in self._layers:
            activations.append(layer.output(activations[-1], minibatch))
        return activations

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

    def seed(self, row: int) -> nn.Sequential:
        """Row ``row`` as a plain torch module on features ``[M, in]``, with parameters of its own."""
        modules: list[nn.Module] = [] if self.basis is None else [self.basis.seed(row)]
        if self.convolutions:
            modules.append(ChannelsFirst(self.convolutions[0]))
        weights = (weight.detach()[row] for weight in self.parameters[::2])
        biases = (bias.detach()[row, 0] for bias in self.parameters[1::2])
        shapes = self._shapes(self.sizes)
        for i, (weight, bias, (n_in, n_out)) in enumerate(zip(weights, biases, shapes, strict=True)):
            if i < len(self.convolutions):
                modules.append(self.convolutions[i].module(weight, bias))
            else:
                modules.append(_linear_module(weight[:n_in, :n_out], bias[:n_out]))
            modules.append(nn.ReLU() if self.activation == "relu" else nn.Tanh())
            if i == len(self.convolutions) - 1:
                modules.append(ChannelsLast())
        return nn.Sequential(*modules[:-1])


def _linear_module(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A plain torch layer with weight ``[in, out]`` and bias ``[out]``."""
    layer = nn.Linear(weight.shape[0], weight.shape[1], device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight.T)
        layer.bias.copy_(bias)
    return layer


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
    """Zeros after few observations: products of fewer round differently for one row and for many."""
    return nn.functional.pad(x, (0, 0, 0, ALIGNMENT - x.shape[1]))


def _initial_numbers(layers: Sequence[tuple[int, int]], seeds: Sequence[int], copy: int) -> Tensor:
    """One uniform number for every weight and bias, ``[S, count]`` float64."""
    count = sum((n_in + 1) * n_out for n_in, n_out in layers)
    return Stream(seeds, "init", width=count, copies=copy + 1).next()[:, copy]


def _uniform_linear(layers: Sequence[tuple[int, int]], numbers: Tensor) -> Tensor:
    """Weights and biases of every layer, uniform on +-1/sqrt(in), ``[S, count]``."""
    bounds = torch.cat([torch.full(((n_in + 1) * n_out,), 1.0 / math.sqrt(n_in)) for n_in, n_out in layers])
    return (2.0 * numbers - 1.0) * bounds


def _orthogonal(layers: Sequence[tuple[int, int]], numbers: Tensor, gains: Sequence[float]) -> Tensor:
    """Weights uniform among those with orthonormal rows or columns, times a gain, and zero biases, ``[S, count]``.

    The Q of a normal matrix's QR decomposition, with R's diagonal made positive (Saxe et al. 2014; Mezzadri 2007).
    """
    if len(gains) != len(layers):
        raise ValueError(f"gains must have one value per layer, {len(layers)}, got {len(gains)}")
    normal = ndtri(np.maximum(numbers.numpy(), 2.0**-54))  # [S, count]
    parts, start = [], 0
    for (n_in, n_out), gain in zip(layers, gains, strict=True):
        long, short = max(n_in, n_out), min(n_in, n_out)
        q, r = np.linalg.qr(normal[:, start : start + n_in * n_out].reshape(-1, long, short))
        q = gain * q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None]  # [S, long, short]
        weight = torch.from_numpy(q if n_in >= n_out else q.swapaxes(1, 2))  # [S, in, out]
        parts += [as_stored(weight), weight.new_zeros(len(weight), n_out)]
        start += (n_in + 1) * n_out
    return torch.cat(parts, dim=1)


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


class Dueling:
    """Q = V + A - mean_a A of a value's and an advantage's networks (Wang et al. 2016, equation 9): ``[S, M, A]``.

    The streams share nothing, and their parameters become one matrix ``flat [S, P]``.

    Args:
        advantage: gives ``[S, M, A]``.
        value: gives ``[S, M, 1]``.
    """

    def __init__(self, advantage: MLP, value: MLP) -> None:
        self.advantage, self.value = advantage, value
        self.columns = torch.cat([advantage.columns, advantage.flat.shape[1] + value.columns])
        self.place(torch.cat([advantage.flat, value.flat], dim=1))

    def place(self, flat: Tensor) -> None:
        """Let the parameters be this matrix ``[S, P]``, the advantage's before the value's."""
        self.flat = flat
        _place_both(flat, self.advantage, self.value)

    @property
    def blocks(self) -> dict[str, Tensor]:
        """Weights and biases of every layer of both, by name."""
        both = {"advantage": self.advantage, "value": self.value}
        return {f"{name}'s {block}": tensor for name, mlp in both.items() for block, tensor in mlp.blocks.items()}

    def __call__(self, x: Tensor) -> Tensor:
        """``[S, M, in] -> [S, M, A]``, differentiable in x where gradients are enabled."""
        advantage = self.advantage(x)
        return self.value(x) + advantage - advantage.mean(dim=2, keepdim=True)

    def vjp(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """As ``MLP.vjp``."""
        advantage, advantage_pullback = self.advantage.vjp(x)
        value, value_pullback = self.value.vjp(x)

        def pullback(slope: Tensor, out: Tensor | None = None) -> Tensor:
            out, of_advantage, of_value = _of_both(self.flat, self.advantage, out)
            advantage_pullback(slope - slope.mean(dim=2, keepdim=True), of_advantage)
            value_pullback(slope.sum(dim=2, keepdim=True), of_value)
            return out

        return value + advantage - advantage.mean(dim=2, keepdim=True), pullback

    def copy(self) -> Dueling:
        """A separate stack with the same parameters, for example a target network."""
        return Dueling(self.advantage.copy(), self.value.copy())


class ActorCritic:
    """A policy's and a value's networks side by side, S of each; their parameters become one matrix ``flat [S, P]``.

    One optimiser step moves both and one norm clips both, as in stable-baselines3's ActorCriticPolicy. They share
    nothing, whereas stable-baselines3's share their convolutions.

    Args:
        policy: gives logits ``[S, M, A]``.
        value: gives ``[S, M, 1]``.
    """

    def __init__(self, policy: MLP, value: MLP) -> None:
        self.policy, self.value = policy, value
        self.place(torch.cat([policy.flat, value.flat], dim=1))

    def place(self, flat: Tensor) -> None:
        """Let the parameters be this matrix ``[S, P]``, the policy's before the value's."""
        self.flat = flat
        _place_both(flat, self.policy, self.value)

    def vjp(self, x: Tensor) -> tuple[Tensor, Tensor, PullbackOfBoth]:
        """Logits ``[S, M, A]``, values ``[S, M]`` and the pullback of a loss's derivatives by both -> ``[S, P]``."""
        logits, policy_pullback = self.policy.vjp(x)
        values, value_pullback = self.value.vjp(x)

        def pullback(logits_slope: Tensor, values_slope: Tensor, out: Tensor | None = None) -> Tensor:
            out, of_policy, of_value = _of_both(self.flat, self.policy, out)
            policy_pullback(logits_slope, of_policy)
            value_pullback(values_slope[..., None], of_value)
            return out

        return logits, values[..., 0], pullback

    def values(self, x: Tensor) -> Tensor:
        """V of features, ``[S, M, D] -> [S, M]``, without gradients."""
        with torch.no_grad():
            return self.value(x)[..., 0]


def _of_both(flat: Tensor, first: MLP, out: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """A matrix like ``flat``, ``out`` if it is given, and its parts of two stacks that share it."""
    out = torch.empty_like(flat) if out is None else out
    split = first.flat.shape[1]
    return out, out[:, :split], out[:, split:]


def _place_both(flat: Tensor, first: MLP, second: MLP) -> None:
    """Two stacks in one matrix, one after the other."""
    split = first.flat.shape[1]
    first.place(flat[:, :split])
    second.place(flat[:, split:])
