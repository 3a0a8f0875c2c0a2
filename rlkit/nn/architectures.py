"""Networks by name for an observation space: linear, radial basis functions, multilayer perceptron, convolutional."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from gymnasium import spaces

from .convolution import convolutions
from .encoding import num_features
from .layers import Activation
from .mlp import MLP
from .rbf import RadialBasis

NetworkName = Literal["auto", "mlp", "linear", "rbf", "cnn"]
OPTIONS: dict[str, tuple[str, ...]] = {
    "mlp": (),
    "linear": (),
    "rbf": ("centers", "width"),
    "cnn": ("layers",),
}
SMALL_CNN = ((16, 3, 1),)  # (filters, kernel, stride): MinAtar's (Young & Tian 2019), for images of about 10 x 10


class Architecture:
    """A factory of networks of one shape for one observation space.

    - ``"mlp"``: fully connected, hidden widths ``net_arch``;
    - ``"linear"``: no hidden layer, ``net_arch`` is ignored;
    - ``"rbf"``: fixed Gaussians, then linear; options ``centers`` and ``width``, see ``RadialBasis``;
    - ``"cnn"``: convolutions without padding, option ``layers`` of (filters, kernel, stride), one of 16 filters of
      3 x 3 by default, then fully connected, ``net_arch``;
    - ``"auto"``: "cnn" for images, which are Boxes of three axes, else "mlp".

    Args:
        space: space of the observations, Box or Discrete.
        seeds: one integer per row.
        network: name of the kind, see above.
        net_arch: hidden widths of fully connected layers.
        activation: between layers, convolutions included.
        device: where the parameters live.
        options: options of the network, by name.
        normalized: whether observations are normalized, and so exceed the space's bounds.
        dtype: dtype of the parameters.

    Raises:
        ValueError: an unknown network or option, or a space that the network cannot read.
    """

    def __init__(
        self,
        space: spaces.Space[Any],
        seeds: Sequence[int],
        network: NetworkName = "auto",
        net_arch: Sequence[int] = (64, 64),
        activation: Activation = "relu",
        device: torch.device | str = "cpu",
        options: Mapping[str, Any] | None = None,
        normalized: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if network not in get_args(NetworkName):
            raise ValueError(f"network must be one of {', '.join(get_args(NetworkName))}, got {network!r}")
        shape = space.shape or ()
        name = ("cnn" if len(shape) == 3 else "mlp") if network == "auto" else network
        options = dict(options or {})
        for option in options:
            if option not in OPTIONS[name]:
                known = ", ".join(OPTIONS[name]) or "none"
                raise ValueError(f"unknown option {option!r} of network {name!r}: known are {known}")
        self.seeds, self.activation, self.device, self.dtype = tuple(seeds), activation, device, dtype
        self.hidden = tuple(net_arch) if name in ("mlp", "cnn") else ()
        self.convolutions = convolutions(shape, options.get("layers", SMALL_CNN)) if name == "cnn" else []
        self.basis: RadialBasis | None = None
        self.num_inputs = num_features(space)
        if self.convolutions:
            self.num_inputs = self.convolutions[-1].num_outputs
        if name == "rbf":
            if not isinstance(space, spaces.Box) or len(shape) != 1:
                raise ValueError(f"radial basis functions need a Box of one axis, got {space}: use network='linear'")
            nowhere = np.full(shape, np.inf)
            low, high = (-nowhere, nowhere) if normalized else (space.low, space.high)
            self.basis = RadialBasis(low, high, self.seeds, device=device, **options)
            self.num_inputs = self.basis.centers.shape[1]

    def policy(self, num_actions: int, orthogonal: bool) -> MLP:
        """Make the logits of a policy; with orthogonal weights, near uniform at first, as in stable-baselines3."""
        return self.network(num_actions, 0.01 if orthogonal else None)

    def value(self, orthogonal: bool) -> MLP:
        """Make the state values for a policy."""
        return self.network(1, 1.0 if orthogonal else None, network_index=1)

    def network(self, outputs: int, gain: float | None = None, network_index: int = 0) -> MLP:
        """Make S networks of this shape.

        Args:
            outputs: width of the output.
            gain: gain of the output layer, for orthogonal weights, with sqrt(2) in the layers before as in
                stable-baselines3; None for torch's default.
            network_index: number of the network within its agent; different ones draw different initial weights.
        """
        inside = [math.sqrt(2.0)] * (len(self.convolutions) + len(self.hidden))
        return MLP(
            (self.num_inputs, *self.hidden, outputs),
            self.seeds,
            self.activation,
            self.device,
            None if gain is None else [*inside, gain],
            network_index,
            self.convolutions,
            self.basis,
            self.dtype,
        )
