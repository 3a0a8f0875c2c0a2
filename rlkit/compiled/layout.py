"""Views of an agent's own tensors as the loops read them: nothing is owned, copied or checkpointed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.nn import MLP, Adam, RMSprop

Floats = NDArray[Any]  # float32, or float64 throughout
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


class MLPArrays(NamedTuple):
    """S multilayer perceptrons."""

    flat: Floats  # [S, P], C-contiguous; the parameters of other networks may lie in it too
    layers: Integers  # [L, 4]: input and output width, whether weights are stored [out, in], first place
    tanh: bool  # whether the activation is tanh, else relu

    @classmethod
    def of(cls, mlp: MLP, shared: Any = None) -> MLPArrays:
        """Return the views of a network.

        Args:
            mlp: without convolutions and radial basis, on the CPU.
            shared: the matrix ``[S, P]`` that ``mlp.flat`` is a part of, such as that of an ``ActorCritic``.
        """
        flat = mlp.flat if shared is None else shared
        item = flat.element_size()
        layers = np.array(
            [
                (*layer.weight.shape[1:], layer.out_first, (layer.weight.data_ptr() - flat.data_ptr()) // item)  # type: ignore[union-attr]
                for layer in mlp._layers
            ],
            dtype=np.int64,
        )
        return cls(flat.numpy(), layers, mlp.activation == "tanh")


class AdamArrays(NamedTuple):
    """S Adam optimizers."""

    first: Floats  # [S, P]
    second: Floats  # [S, P]
    steps: NDArray[np.float64]  # [S]
    beta1: float
    beta2: float
    eps: float

    @classmethod
    def of(cls, optimizer: Adam) -> AdamArrays:
        """Return the views of an optimizer."""
        moments = optimizer.first.numpy(), optimizer.second.numpy(), optimizer.steps.numpy()
        return cls(*moments, *optimizer.betas, optimizer.eps)


class RMSpropArrays(NamedTuple):
    """S RMSprop optimizers."""

    second: Floats  # [S, P]
    alpha: float
    eps: float

    @classmethod
    def of(cls, optimizer: RMSprop) -> RMSpropArrays:
        """Return the views of an optimizer."""
        return cls(optimizer.second.numpy(), optimizer.alpha, optimizer.eps)
