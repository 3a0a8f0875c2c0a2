"""The layers of a victim in float64, for verification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from gymnasium import spaces
from torch import Tensor, nn

from rlkit.nn import MLP, Dueling
from rlkit.nn.normalization import CLIP, TINY
from rlkit.sb3 import SB3Policy, layers_of

from ..victims.base import IsolatedVictim, ModuleVictim, OneHot, name_of
from ..victims.stacked import Stacked

HiddenActivation = Literal["relu", "tanh", "none"]
MODULES: dict[type[nn.Module], HiddenActivation] = {nn.ReLU: "relu", nn.Tanh: "tanh"}
COVERED = (
    "verification covers agents of rlkit with fully connected networks, SB3Policy with MlpPolicy, Stacked, and "
    "ModuleVictim of nn.Sequential with nn.Linear, nn.ReLU and nn.Tanh"
)


class LayerStack(NamedTuple):
    """S fully connected networks of one shape: ``h <- activation(W h + b)`` from the normalized observation on.

    The input of the first layer is ``clamp((x - mean) * gain, -clip, clip)``.
    """

    weights: tuple[Tensor, ...]  # [S, out, in] float64, of every layer
    biases: tuple[Tensor, ...]  # [S, out, 1] float64
    activations: tuple[HiddenActivation, ...]  # after every layer but the last
    terms: tuple[int, ...]  # roundings on the way to one output of every layer, as the victim computes it
    mean: Tensor  # [S, D, 1] float64
    gain: Tensor  # [S, D, 1] float64, positive
    clip: Tensor  # [S, 1, 1] float64, may be infinite
    dtype: torch.dtype  # in which the victim computes
    log_softmax: bool  # whether the victim subtracts log sum exp from its scores before it compares them

    @property
    def num_actions(self) -> int:
        """A."""
        return self.weights[-1].shape[1]

    @property
    def num_features(self) -> int:
        """D."""
        return self.weights[0].shape[2]


def extract_layers(victim: Any) -> LayerStack:
    """Read the layers of a victim.

    Args:
        victim: an agent of rlkit with fully connected networks (dueling ones, a normalizer and one-hot codes included),
            ``SB3Policy`` of models with MlpPolicy (their VecNormalize included), ``Stacked``, ``CARRL`` with interval
            bounds, or ``ModuleVictim`` of ``nn.Sequential`` with ``nn.Linear``, ``nn.ReLU`` and ``nn.Tanh``.

    Raises:
        ValueError: the victim is another, has convolutions or a radial basis, its rows differ in shape, a number is not
            finite, or torch is allowed to multiply float32 matrices in lower precision.
    """
    if torch.get_float32_matmul_precision() != "highest":
        raise ValueError(
            f"torch's float32 matmul precision is {torch.get_float32_matmul_precision()!r}, and certificates hold for "
            "'highest': call torch.set_float32_matmul_precision('highest')"
        )
    victim = _unwrapped(victim)
    if isinstance(victim, ModuleVictim):
        stack = _of_modules([_linear_layers(module) for module in victim.modules])
    elif isinstance(victim, SB3Policy):
        stack = _of_sb3(victim)
    elif isinstance(victim, Stacked):
        stack = _of_network(victim.network)
    elif hasattr(victim, "layer_stack"):
        stack = victim.layer_stack
    elif hasattr(victim, "score_network"):
        stack = _of_agent(victim)
    else:
        raise ValueError(f"{name_of(victim)} cannot be verified: {COVERED}; DecisionTrees have leaves instead")
    numbers = (*stack.weights, *stack.biases, stack.mean, stack.gain)
    if not all(bool(number.isfinite().all()) for number in numbers):
        raise ValueError(f"{name_of(victim)} has parameters that are NaN or infinite, and no certificate holds for it")
    return stack


def _unwrapped(victim: Any) -> Any:
    """The victim without wrappers that show it the same floating observations."""
    while isinstance(victim, IsolatedVictim | OneHot):
        victim = victim.victim
    return victim


def _of_network(network: Any) -> LayerStack:
    """Read a network of rlkit; raise for others than layers."""
    if isinstance(network, Dueling):
        return _of_dueling(network)
    if not (isinstance(network, MLP) and network.layers_alone):
        raise ValueError(f"the network has convolutions, a radial basis or other parts than layers: {COVERED}")
    weights = [weight.detach().double().mT for weight in network.parameters[::2]]  # [S, out, in]
    biases = [bias.detach().double().mT for bias in network.parameters[1::2]]  # [S, out, 1]
    sizes = network.sizes
    # without the units that only fill up cache lines
    weights = [weight[:, : sizes[i + 1], : sizes[i]].contiguous() for i, weight in enumerate(weights)]
    biases = [bias[:, : sizes[i + 1]].contiguous() for i, bias in enumerate(biases)]
    return _plain(weights, biases, (network.activation,) * (len(weights) - 1), network.flat.dtype)


def _of_dueling(network: Dueling) -> LayerStack:
    """Both streams side by side, and Q = V + A - mean A as one more layer."""
    advantage, value = _of_network(network.advantage), _of_network(network.value)
    weights = [torch.cat([advantage.weights[0], value.weights[0]], dim=1)]
    for left, right in zip(advantage.weights[1:], value.weights[1:], strict=True):
        weights.append(_block_diagonal(left, right))
    biases = [torch.cat(pair, dim=1) for pair in zip(advantage.biases, value.biases, strict=True)]
    actions = advantage.num_actions
    combine = torch.cat([torch.eye(actions) - 1.0 / actions, torch.ones(actions, 1)], dim=1).to(weights[0])
    weights.append(combine.expand(len(weights[0]), -1, -1).contiguous())
    biases.append(biases[0].new_zeros(len(weights[0]), actions, 1))
    stack = _plain(weights, biases, (*advantage.activations, "none"), advantage.dtype)
    # the mean is computed first: its terms are up to three times those of the combined weights
    return stack._replace(terms=(*stack.terms[:-1], 3 * (actions + 4)))


def _block_diagonal(left: Tensor, right: Tensor) -> Tensor:
    """Two layers that share nothing as one, ``[S, out, in]``."""
    above = torch.cat([left, left.new_zeros(*left.shape[:2], right.shape[2])], dim=2)
    return torch.cat([above, torch.cat([right.new_zeros(*right.shape[:2], left.shape[2]), right], dim=2)], dim=1)


def _of_agent(agent: Any) -> LayerStack:
    stack, normalizer, space = _of_network(agent.score_network), agent.normalizer, agent.observation_space
    if isinstance(space, spaces.Box) and space.dtype.kind != "f":
        raise ValueError(f"verification is of floating observations, got {space}: integers have no small changes")
    if normalizer is None or not normalizer.of_observations:
        return stack
    mean, variance = normalizer.moments.mean[:, :-1, None], normalizer.moments.variance[:, :-1, None]
    return stack._replace(
        mean=mean.double(), gain=(variance.double() + TINY).rsqrt(), clip=torch.full_like(stack.clip, CLIP)
    )


def _of_sb3(policy: SB3Policy) -> LayerStack:
    stack = _of_modules([_linear_layers(layers_of(model)) for model in policy.models])
    mean, gain, clip = stack.mean.clone(), stack.gain.clone(), stack.clip.clone()
    for row, normalization in enumerate(policy.normalizations):
        if normalization is not None:
            mean[row, :, 0] = normalization.mean.to(mean)
            gain[row, :, 0] = (normalization.variance + normalization.epsilon).rsqrt().to(gain)
            clip[row] = normalization.clip
    return stack._replace(mean=mean, gain=gain, clip=clip, log_softmax=not policy.scores_are_values)


def _linear_layers(module: nn.Module) -> tuple[list[nn.Linear], tuple[HiddenActivation, ...]]:
    """The linear layers and what stands between them; consecutive ones have "none"."""
    linear: list[nn.Linear] = []
    activations: list[HiddenActivation] = []
    for layer in module if isinstance(module, nn.Sequential) else [module]:
        if isinstance(layer, nn.Linear):
            if linear and len(activations) < len(linear):
                activations.append("none")
            linear.append(layer)
        elif type(layer) in MODULES and linear and len(activations) < len(linear):
            activations.append(MODULES[type(layer)])
        elif not (isinstance(layer, nn.Flatten) and not linear) and not isinstance(layer, nn.Identity):
            raise ValueError(f"{layer} cannot be verified at its place in {module}: {COVERED}")
    if not linear or len(activations) != len(linear) - 1:
        raise ValueError(f"a network must begin and end with nn.Linear, got {module}: {COVERED}")
    return linear, tuple(activations)


def _of_modules(rows: Sequence[tuple[list[nn.Linear], tuple[HiddenActivation, ...]]]) -> LayerStack:
    shapes = [([tuple(layer.weight.shape) for layer in linear], activations) for linear, activations in rows]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"networks must be of one shape to be verified together, got {shapes}")
    layers = list(zip(*(linear for linear, _ in rows), strict=True))
    weights = [torch.stack([one.weight.detach().double() for one in layer]) for layer in layers]
    biases = [torch.stack([_bias(one)[:, None] for one in layer]) for layer in layers]
    return _plain(weights, biases, rows[0][1], rows[0][0][0].weight.dtype)


def _bias(layer: nn.Linear) -> Tensor:
    bias: Tensor | None = layer.bias
    return layer.weight.new_zeros(layer.out_features, dtype=torch.float64) if bias is None else bias.detach().double()


def _plain(
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    activations: tuple[HiddenActivation, ...],
    dtype: torch.dtype,
) -> LayerStack:
    """Layers of observations that are not normalized."""
    rows, _, features = weights[0].shape
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"verification covers victims that compute in float32 or float64, got {dtype}")
    return LayerStack(
        tuple(weights),
        tuple(biases),
        activations,
        tuple(weight.shape[2] + 2 for weight in weights),
        weights[0].new_zeros(rows, features, 1),
        weights[0].new_ones(rows, features, 1),
        weights[0].new_full((rows, 1, 1), torch.inf),
        dtype,
        False,
    )
