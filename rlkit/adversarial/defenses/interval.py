"""Interval bounds of S networks over balls, differentiable in the parameters.

They hold up to float32 rounding: a training signal, no certificate.

Source: Gowal et al. 2018, "On the effectiveness of interval bound propagation for training verifiably robust models".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from rlkit.nn import MLP, Activation, Dueling
from rlkit.nn.matmul import ALIGNMENT, thin_affine, thin_product

from ..budget import DUAL, Budget


class Branch(NamedTuple):
    """The layers of S networks."""

    weights: list[Tensor]  # [S, in, out] each
    biases: list[Tensor]  # [S, 1, out] each
    activation: Activation


def branches(network: Any) -> list[Branch]:
    """Return the layers of the networks whose sum gives the scores; the first has all that depends on the action.

    Raises:
        ValueError: what is neither an ``MLP`` nor a ``Dueling`` network, or has convolutions or a radial basis.
    """
    parts = [network.advantage, network.value] if isinstance(network, Dueling) else [network]
    if not all(isinstance(part, MLP) and part.layers_alone for part in parts):
        raise ValueError(
            f"bounds of the layers are for fully connected networks without convolutions or a basis, got "
            f"{type(network).__name__}: use a defense by gradients, such as J1, or method='pgd'"
        )
    found = [Branch(list(part.parameters[::2]), list(part.parameters[1::2]), part.activation) for part in parts]
    if isinstance(network, Dueling):  # A - mean A is one affine map
        for layers in (found[0].weights, found[0].biases):
            layers[-1] = layers[-1] - layers[-1].mean(dim=2, keepdim=True)
    return found


def interval_bounds(network: Any, features: Tensor, budget: Budget) -> tuple[Tensor, Tensor]:
    """Bound every score over the ball around each example: lower and upper, ``[S, M, A]`` each.

    Args:
        network: an ``MLP`` or a ``Dueling`` network.
        features: centers, ``[S, M, D]``.
        budget: the balls. Bounds of observations are used with the norm "inf" alone.

    Raises:
        ValueError: another network, see ``branches``.
    """
    parts = [
        _propagated(branch.weights, branch.biases, branch.activation, features, budget) for branch in branches(network)
    ]
    lowers, uppers = zip(*parts, strict=True)
    return sum(lowers[1:], lowers[0]), sum(uppers[1:], uppers[0])


def upper_leads(network: Any, features: Tensor, budget: Budget, action: Tensor) -> Tensor:
    """Bound ``score_b - score_a`` from above over the ball, for every action b: ``[S, M, A]``, 0 where b is a.

    The difference is an affine map of the last hidden layer. So the bound is at most the difference of the bounds of
    both scores.

    Args:
        network: an ``MLP`` or a ``Dueling`` network.
        features: centers, ``[S, M, D]``.
        budget: the balls.
        action: a, ``[S, M]``.

    Raises:
        ValueError: another network, see ``branches``.
    """
    weights, biases, activation = branches(network)[0]
    num_actions = biases[-1].shape[-1]
    for layers in (weights, biases):  # every b minus every a, [S, in, A A]
        layers[-1] = (layers[-1][..., None, :] - layers[-1][..., None]).flatten(2)
    _, upper = _propagated(weights, biases, activation, features, budget)
    upper = upper.reshape(*action.shape, num_actions, num_actions)  # [S, M, a, b]
    return upper.gather(2, action[..., None, None].expand(-1, -1, 1, num_actions)).squeeze(2)


def _propagated(
    weights: list[Tensor], biases: list[Tensor], activation: Activation, features: Tensor, budget: Budget
) -> tuple[Tensor, Tensor]:
    """Propagate the balls through layers; lower and upper bounds of the output, ``[S, M, out]`` each."""
    minibatch = features.shape[1]
    x, epsilon = features, budget.per_example(features)
    if minibatch < ALIGNMENT:  # see ``MLP``
        x, epsilon = (pad(each, (0, 0, 0, ALIGNMENT - minibatch)) for each in (x, epsilon))
    center, radius = _first_layer(weights[0], biases[0], x, epsilon, budget)
    for weight, bias in zip(weights[1:], biases[1:], strict=True):
        low, high = (
            torch.relu(end) if activation == "relu" else torch.tanh(end) for end in (center - radius, center + radius)
        )
        center = thin_affine(bias, 0.5 * (low + high), weight)
        radius = thin_product(0.5 * (high - low), weight.abs())
    center, radius = center[:, :minibatch], radius[:, :minibatch]
    return center - radius, center + radius


def _first_layer(weight: Tensor, bias: Tensor, x: Tensor, epsilon: Tensor, budget: Budget) -> tuple[Tensor, Tensor]:
    """Return center and radius of the first affine map over the balls, ``[S, M, out]``: exact for each output.

    The radius is epsilon times the dual norm of the scaled weights, or that of the box cut at the bounds.
    """
    extent = budget.extent(x)
    if budget.norm == "inf" and budget.bounded:
        low, high = budget.cut(x - epsilon * extent), budget.cut(x + epsilon * extent)
        return thin_affine(bias, 0.5 * (low + high), weight), thin_product(0.5 * (high - low), weight.abs())
    gain = torch.linalg.vector_norm(extent[:, None] * weight, ord=DUAL[budget.norm], dim=1, keepdim=True)
    return thin_affine(bias, x, weight), epsilon * gain
