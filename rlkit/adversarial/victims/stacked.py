"""Plain torch networks of one shape as one stack, which is attacked many seeds at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from rlkit.arrays import Given, as_observations
from rlkit.nn import MLP, Activation

ACTIVATIONS: dict[type[nn.Module], Activation] = {nn.ReLU: "relu", nn.Tanh: "tanh"}


class Stacked:
    """S copied networks as a victim: one product a layer for all rows, gradients by hand.

    ``ModuleVictim`` and ``SB3Policy`` take any network and ask them in turn; this one takes fully connected networks
    with one activation. It gives their scores, up to rounding, and does not follow them when they are trained on.

    Args:
        networks: of every row, each a sequence of ``nn.Linear`` with ReLU or Tanh in between.
        scores_are_values: whether they give action values, else logits.
        seeds: one integer per row; None for 0, 1, ...

    Raises:
        ValueError: no network, other layers, or shapes that differ.
    """

    def __init__(
        self, networks: Sequence[nn.Sequential], scores_are_values: bool = False, seeds: Sequence[int] | None = None
    ) -> None:
        if not networks:
            raise ValueError("networks must hold at least one network, got none")
        shapes = [_shape(network) for network in networks]
        if any(shape != shapes[0] for shape in shapes):
            raise ValueError(f"networks must be of one shape, got {shapes}")
        sizes, activation = shapes[0]
        self.num_seeds, self.scores_are_values = len(networks), scores_are_values
        self.seeds = tuple(range(len(networks))) if seeds is None else tuple(seeds)
        self.network = MLP(sizes, self.seeds, activation)
        for row, network in enumerate(networks):
            layers = [layer for layer in network if isinstance(layer, nn.Linear)]
            for i, layer in enumerate(layers):
                weight, bias = (parameter.detach() for parameter in self.network.parameters[2 * i : 2 * i + 2])
                weight[row, : layer.in_features, : layer.out_features] = layer.weight.detach().T
                bias[row, 0, : layer.out_features] = layer.bias.detach()

    def scores(self, obs: Given) -> Tensor:
        """``[S, B, D] -> [S, B, A]``, differentiable."""
        return self.network(as_observations(obs, self))

    def scores_and_pullback(self, obs: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """``scores`` without a graph, and d value / d scores ``[S, B, A]`` -> d value / d obs ``[S, B, D]``."""
        with torch.no_grad():
            return self.network.input_vjp(obs)

    def act(self, obs: Given, deterministic: bool = True) -> Tensor:
        """The actions of the highest score ``[S, B]``.

        Raises:
            ValueError: ``deterministic=False``: a network does not say how it would sample.
        """
        if not deterministic:
            raise ValueError("a network does not say how it would sample actions: use deterministic=True")
        with torch.no_grad():
            return self.scores(obs).argmax(dim=-1)


def _shape(network: nn.Sequential) -> tuple[tuple[int, ...], Activation]:
    """Widths from input to output, and the activation.

    Raises:
        ValueError: other layers than linear ones with one activation in between.
    """
    linear = [layer for layer in list(network)[::2] if isinstance(layer, nn.Linear)]
    between = {type(layer) for layer in list(network)[1::2]}
    if len(network) != 2 * len(linear) - 1 or len(between) > 1 or not between <= set(ACTIVATIONS):
        raise ValueError(f"a network must be linear layers with ReLU or Tanh in between, got {network}")
    activation = ACTIVATIONS[between.pop()] if between else "relu"
    return (linear[0].in_features, *(layer.out_features for layer in linear)), activation
