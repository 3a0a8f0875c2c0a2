"""Torch networks of one shape as one victim: all seeds are attacked in one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from rlkit.arrays import Given, as_observations
from rlkit.nn import MLP, Activation

ACTIVATIONS: dict[type[nn.Module], Activation] = {nn.ReLU: "relu", nn.Tanh: "tanh"}


class Stacked:
    """Copies of S networks as one victim: one matrix product per layer for all rows, gradients in closed form.

    ``ModuleVictim`` and ``SB3Policy`` accept any network and query one after another; this class accepts fully
    connected networks with one activation. Its scores equal those of the networks up to rounding. Later training of
    the networks does not change it.

    Args:
        networks: one per row, each a sequence of ``nn.Linear`` with ReLU or Tanh in between.
        scores_are_values: whether they give action values; logits otherwise.
        seeds: one integer per row; None for 0, 1, ...

    Raises:
        ValueError: there is no network, one has other layers, or their shapes differ.
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
        """Return scores, ``[S, B, D] -> [S, B, A]``, differentiable."""
        return self.network(as_observations(obs, self))

    def scores_and_pullback(self, obs: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return ``scores`` and their pullback, d value / d scores ``[S, B, A]`` -> d value / d obs ``[S, B, D]``."""
        with torch.no_grad():
            return self.network.input_vjp(obs)

    def act(self, obs: Given, deterministic: bool = True) -> Tensor:
        """Return the actions of the highest score, ``[S, B]``.

        Raises:
            ValueError: ``deterministic=False``; a network does not define how to sample.
        """
        if not deterministic:
            raise ValueError("a network does not define how to sample actions: use deterministic=True")
        with torch.no_grad():
            return self.scores(obs).argmax(dim=-1)


def _shape(network: nn.Sequential) -> tuple[tuple[int, ...], Activation]:
    """Return the widths from input to output, and the activation.

    Raises:
        ValueError: the layers are others than linear ones with one activation in between.
    """
    linear = [layer for layer in list(network)[::2] if isinstance(layer, nn.Linear)]
    between = {type(layer) for layer in list(network)[1::2]}
    if len(network) != 2 * len(linear) - 1 or len(between) > 1 or not between <= set(ACTIVATIONS):
        raise ValueError(f"a network must be linear layers with ReLU or Tanh in between, got {network}")
    activation = ACTIVATIONS[between.pop()] if between else "relu"
    return (linear[0].in_features, *(layer.out_features for layer in linear)), activation
