"""Networks with a leading seed axis: S networks of one shape evaluated as one.

A layer's weights are ``[S, in, out]`` and its application is one ``baddbmm``, so row s depends on row s alone and
equals, to the bit on CPU, what a stack of one would give. All parameters of a stack live in one matrix
``flat [S, P]``: an optimiser step, a target-network copy and a gradient norm are each a single operation on it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from gymnasium import spaces
from scipy.special import ndtri
from torch import Tensor, nn

from .streams import Stream

Activation = Literal["relu", "tanh"]
ALIGNMENT = 16  # float32 numbers in a cache line


def encode(obs: Tensor, space: spaces.Space) -> Tensor:
    """Observations as the network reads them: ``[..., *space.shape]`` -> ``[..., features]`` float.

    Discrete becomes one-hot, unless it is given as codes already (floating ``[..., n]``, for example attacked ones);
    uint8 images are divided by 255, every other Box is flattened and cast. The result is differentiable with respect
    to floating observations, so attacks pass through it.

    Raises:
        ValueError: a space that is neither Box nor Discrete.
    """
    if isinstance(space, spaces.Discrete):
        if obs.is_floating_point():
            return obs
        return nn.functional.one_hot(obs.long() - int(space.start), int(space.n)).to(torch.float32)
    if not isinstance(space, spaces.Box):
        raise ValueError(
            f"observations must be Box or Discrete, got {space}: flatten them first, "
            "for example with gymnasium.wrappers.FlattenObservation"
        )
    features = obs if len(space.shape) == 1 else obs.reshape(*obs.shape[: obs.dim() - len(space.shape)], -1)
    if features.dtype == torch.uint8:
        return features.to(torch.float32) / 255.0
    return features if features.is_floating_point() else features.to(torch.float32)


def num_features(space: spaces.Space) -> int:
    """Length of what ``encode`` gives for one observation."""
    return int(space.n) if isinstance(space, spaces.Discrete) else math.prod(space.shape or ())


class MLP:
    """S multilayer perceptrons side by side: ``[S, M, in] -> [S, M, out]``.

    The initial weights are torch's default for ``nn.Linear``, uniform on +-1/sqrt(in) for weights and biases
    (what stable-baselines3's DQN starts from), or orthogonal with ``gains`` (what its A2C and PPO start from), drawn
    from the stream (seed, "init", copy).

    Args:
        sizes: widths from input to output, for example ``(4, 64, 64, 2)``. With hidden widths that are multiples of 16
            a row's numbers do not depend on S to the bit; with others they may differ in the last bits.
        seeds: one integer per row.
        activation: between the layers; the output is linear.
        device: where the parameters live.
        gains: of every layer, for orthogonal weights and zero biases.
        copy: which of an agent's networks this is: networks of one agent draw from different streams.

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
    ) -> None:
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"sizes must be at least two positive widths, got {tuple(sizes)}")
        if activation not in get_args(Activation):
            raise ValueError(f"activation must be one of {', '.join(get_args(Activation))}, got {activation!r}")
        self.sizes = tuple(sizes)
        self.activation = activation
        layers = list(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        numbers = _initial_numbers(layers, seeds, copy)
        flat = _uniform_linear(layers, numbers) if gains is None else _orthogonal(layers, numbers, gains)
        self.place(_pad_row(flat).to(device))

    def place(self, flat: Tensor) -> None:
        """Let the parameters be this matrix ``[S, P]`` from now on, for example a part of a larger one."""
        self.flat = flat
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
            return self._activations(x)[-1]
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
        minibatch, activations = x.shape[1], self._activations(x)

        def pullback(slope: Tensor) -> Tensor:
            gradients = [self._padding]  # from the end of ``flat`` to its start
            for i in reversed(range(len(self._layers))):
                layer, h = self._layers[i], activations[i]
                gradients += [slope.sum(dim=1), layer.weight_gradient(h, slope, minibatch)]
                if i > 0:
                    slope = _through(self.activation, layer.input_slope(slope, minibatch), h)  # [S, M, in]
            return torch.cat(gradients[::-1], dim=1)

        return activations[-1], pullback

    def _activations(self, x: Tensor) -> list[Tensor]:
        """x and the output of every layer, without gradients."""
        minibatch, activations = x.shape[1], [x]
        for layer in self._layers:
            activations.append(layer.output(activations[-1], minibatch))
        return activations

    def copy(self) -> MLP:
        """A separate stack with the same parameters, for example a target network."""
        return self.rows(slice(None))

    def rows(self, rows: slice) -> MLP:
        """A separate stack of some of the rows."""
        twin = object.__new__(MLP)
        twin.sizes, twin.activation = self.sizes, self.activation
        twin.place(self.flat[rows].clone())
        return twin

    def repeated(self, copies: int) -> MLP:
        """A separate stack with every row ``copies`` times: ``[S copies]`` rows, the copies of a row together."""
        twin = object.__new__(MLP)
        twin.sizes, twin.activation = self.sizes, self.activation
        twin.place(self.flat.repeat_interleave(copies, dim=0))
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
        self.out_first = _is_stored_out_first(n_in, n_out)
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
            pairs = zip(_rows(x), self.rows, strict=True)
            return _stacked([ONEDNN_LINEAR(x_s, w_T, bias, self.activation, [], "") for x_s, (_, w_T, bias) in pairs])
        if minibatch >= self.sigmoid_from:
            # tanh(y) = 2 sigmoid(2 y) - 1, where the product gives 2 y
            return _twice_less_one_(torch.baddbmm(self.bias, x, self.weight, beta=2.0, alpha=2.0).sigmoid_())
        y = linear(x, self.weight, self.bias) if self.narrow else torch.baddbmm(self.bias, x, self.weight)
        if self.activation == "none":
            return y
        return y.relu_() if self.activation == "relu" else y.tanh_()

    def weight_gradient(self, x: Tensor, slope: Tensor, minibatch: int) -> Tensor:
        """d loss / d weight as stored, ``[S, in out]``, from the input ``[S, M, in]`` and d loss / d output."""
        left, right = (slope, x) if self.out_first else (x, slope)
        if minibatch >= self.onednn_from:
            pairs = zip(_rows(left), _rows(right), strict=True)
            return _stacked([ONEDNN_LINEAR(a.T, b.T, None, "none", [], "").view(-1) for a, b in pairs])
        return (_product(left.mT, right) if self.narrow else torch.bmm(left.mT, right)).flatten(1)

    def input_slope(self, slope: Tensor, minibatch: int) -> Tensor:
        """d loss / d input ``[S, M, in]`` from d loss / d output ``[S, M, out]``."""
        if minibatch >= self.onednn_from:
            pairs = zip(_rows(slope), self.rows, strict=True)
            return _stacked([ONEDNN_LINEAR(slope_s, w, None, "none", [], "") for slope_s, (w, _, _) in pairs])
        return _product(slope, self.weight_mT) if self.narrow else torch.bmm(slope, self.weight_mT)


# oneDNN's product of plain matrices, x w^T + b. For large ones it is up to twice as fast as the BLAS behind
# ``baddbmm``, which has no AVX-512 kernels for every CPU; for small ones its call costs more than it saves.
# Not in every build.
ONEDNN_LINEAR: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
ONEDNN_WORK = 2**21  # multiply-adds from which it wins


def _rows(x: Tensor) -> Sequence[Tensor]:
    """``[S, ...] -> S x [...]``, views; ``unbind`` at a third of its price where there is one row."""
    return x.unbind(0) if len(x) > 1 else (x.squeeze(0),)


def _stacked(rows: list[Tensor]) -> Tensor:
    return torch.stack(rows) if len(rows) > 1 else rows[0][None]


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


def _through(activation: Activation, slope: Tensor, y: Tensor) -> Tensor:
    """The slope, which is overwritten, times the activation's derivative read off its output: 1 - y^2, or y > 0."""
    if activation == "relu":
        through: Tensor = torch.ops.aten.threshold_backward.grad_input(slope, y, 0.0, grad_input=slope)
    else:
        through = torch.ops.aten.tanh_backward.grad_input(slope, y, grad_input=slope)
    return through


def _is_stored_out_first(n_in: int, n_out: int) -> bool:
    return (n_in % ALIGNMENT == 0, n_in > n_out) > (n_out % ALIGNMENT == 0, n_out > n_in)


def _as_stored(parameter: Tensor) -> Tensor:
    """A weight or bias ``[S, in, out]`` in the order in which ``flat`` keeps it, ``[S, in out]``."""
    n_in, n_out = parameter.shape[1:]
    return (parameter.mT if _is_stored_out_first(n_in, n_out) else parameter).flatten(1)


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
        parts += [_as_stored(weight), weight.new_zeros(len(weight), n_out)]
        start += (n_in + 1) * n_out
    return torch.cat(parts, dim=1)


def _pad_row(flat: Tensor) -> Tensor:
    """Zeros up to a multiple of 16 parameters, ``[S, count] -> [S, P]`` float32.

    How a product rounds depends on where its operands lie relative to a cache line, so every row starts on one.
    """
    return nn.functional.pad(flat, (0, -flat.shape[1] % ALIGNMENT)).to(torch.float32)


class Dueling:
    """Q = V + A - mean_a A of a value's and an advantage's networks (Wang et al. 2016, equation 9): ``[S, M, A]``.

    The streams share nothing, and their parameters are one matrix ``flat [S, P]``. Arguments as of ``MLP``.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        seeds: Sequence[int],
        activation: Activation = "relu",
        device: torch.device | str = "cpu",
    ) -> None:
        self.advantage = MLP(sizes, seeds, activation, device)
        self.value = MLP((*sizes[:-1], 1), seeds, activation, device, copy=1)
        self.place(torch.cat([self.advantage.flat, self.value.flat], dim=1))

    def place(self, flat: Tensor) -> None:
        """Let the parameters be this matrix ``[S, P]``, the advantage's before the value's."""
        split = self.advantage.flat.shape[1]
        self.flat = flat
        self.advantage.place(flat[:, :split])
        self.value.place(flat[:, split:])

    def __call__(self, x: Tensor) -> Tensor:
        """``[S, M, in] -> [S, M, A]``, differentiable in x where gradients are enabled."""
        advantage = self.advantage(x)
        return self.value(x) + advantage - advantage.mean(dim=2, keepdim=True)

    def vjp(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """As ``MLP.vjp``."""
        advantage, advantage_pullback = self.advantage.vjp(x)
        value, value_pullback = self.value.vjp(x)

        def pullback(slope: Tensor) -> Tensor:
            centred = slope - slope.mean(dim=2, keepdim=True)
            return torch.cat([advantage_pullback(centred), value_pullback(slope.sum(dim=2, keepdim=True))], dim=1)

        return value + advantage - advantage.mean(dim=2, keepdim=True), pullback

    def copy(self) -> Dueling:
        """A separate stack with the same parameters, for example a target network."""
        twin = object.__new__(Dueling)
        twin.advantage, twin.value = self.advantage.copy(), self.value.copy()
        twin.place(self.flat.clone())
        return twin


def orthogonal_gains(hidden: int, output: float) -> list[float]:
    """sqrt(2) for each hidden layer, then the output layer's own: stable-baselines3's for policies and values."""
    return [math.sqrt(2.0)] * hidden + [output]


class ActorCritic:
    """A policy's and a value's networks side by side, S of each; all their parameters are one matrix ``flat [S, P]``.

    One optimiser step moves both and one norm clips both, as in stable-baselines3's ActorCriticPolicy.

    Args:
        num_features: D.
        num_actions: A.
        seeds: one integer per row.
        net_arch: hidden widths of each.
        activation: between the layers.
        ortho_init: orthogonal weights with gain sqrt(2) inside, 0.01 for the policy's output, which so begins near
            uniform, and 1 for the value's; else torch's default.
        device: where the parameters live.
    """

    def __init__(
        self,
        num_features: int,
        num_actions: int,
        seeds: Sequence[int],
        net_arch: Sequence[int] = (64, 64),
        activation: Activation = "tanh",
        ortho_init: bool = True,
        device: torch.device | str = "cpu",
    ) -> None:
        policy_gains = orthogonal_gains(len(net_arch), output=0.01) if ortho_init else None
        value_gains = orthogonal_gains(len(net_arch), output=1.0) if ortho_init else None
        self.policy = MLP((num_features, *net_arch, num_actions), seeds, activation, device, policy_gains)
        self.value = MLP((num_features, *net_arch, 1), seeds, activation, device, value_gains, copy=1)
        self.place(torch.cat([self.policy.flat, self.value.flat], dim=1))

    def place(self, flat: Tensor) -> None:
        """Let the parameters be this matrix ``[S, P]``, the policy's before the value's."""
        split = self.policy.flat.shape[1]
        self.flat = flat
        self.policy.place(flat[:, :split])
        self.value.place(flat[:, split:])

    def vjp(self, x: Tensor) -> tuple[Tensor, Tensor, Callable[[Tensor, Tensor], Tensor]]:
        """Logits ``[S, M, A]``, values ``[S, M]`` and the pullback of a loss's derivatives by both -> ``[S, P]``."""
        logits, policy_pullback = self.policy.vjp(x)
        values, value_pullback = self.value.vjp(x)

        def pullback(logits_slope: Tensor, values_slope: Tensor) -> Tensor:
            return torch.cat([policy_pullback(logits_slope), value_pullback(values_slope[..., None])], dim=1)

        return logits, values[..., 0], pullback

    def values(self, x: Tensor) -> Tensor:
        """V of features, ``[S, M, D] -> [S, M]``, without gradients."""
        with torch.no_grad():
            return self.value(x)[..., 0]
