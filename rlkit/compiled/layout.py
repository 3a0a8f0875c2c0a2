"""Views of an agent's own tensors as the loops read them: nothing is owned, copied or checkpointed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.nn import MLP, Adam, RMSprop
from rlkit.replay import Priorities, ReplayBuffer
from rlkit.types import Transition

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


class OptimizerArrays(NamedTuple):
    """S optimizers, Adam or RMSprop: one type for both, so that both run on one machine code."""

    adam: bool  # else RMSprop, whose arrays of means and steps are empty
    first: Floats  # [S, P], mean of the gradient
    second: Floats  # [S, P], mean of its square
    steps: NDArray[np.float64]  # [S]
    beta1: float  # decay of the mean
    beta2: float  # and of the mean square, RMSprop's alpha
    eps: float

    @classmethod
    def of(cls, optimizer: Adam | RMSprop) -> OptimizerArrays:
        """Return the views of an optimizer."""
        second = optimizer.second.numpy()
        if isinstance(optimizer, RMSprop):
            return cls(False, second[:0], second, np.empty(0), 0.0, optimizer.alpha, optimizer.eps)
        return cls(True, optimizer.first.numpy(), second, optimizer.steps.numpy(), *optimizer.betas, optimizer.eps)


class ReplayArrays(NamedTuple):
    """The memory of S rows; observations are flat, ``[..., D]``. Letters: C capacity, B copies, R room of the table."""

    obs: NDArray[Any]  # [S, C, D]
    action: NDArray[Any]  # [S, C], of the smallest integers
    reward: NDArray[np.float32]  # [S, C]
    flags: NDArray[np.uint8]  # [S, C]
    next_action_mask: Flags  # [S, C, A]; [S, 0, A] where none is stored
    latest: NDArray[Any]  # [S, B, D], successors of each copy's last step
    latest_kept: Flags  # [S, B], whether they are in the table
    numbers: Integers  # [S, R + 1], the transitions whose successors are in the table, ascending
    successors: NDArray[Any]  # [S, R + 1, D]
    kept: Integers  # [S], how many successors are in the table

    @classmethod
    def of(cls, replay: ReplayBuffer, steps: int = 0) -> ReplayArrays:
        """Return the views of a buffer, with room for so many steps of every copy to be stored."""
        arrays = {name: tensor.numpy() for name, tensor in replay.tensors(steps).items()}
        seeds = len(arrays["reward"])
        no_masks = np.zeros((seeds, 0, 1), dtype=np.bool_)
        for name in ("obs", "latest", "successors"):
            arrays[name] = arrays[name].reshape(*arrays[name].shape[:2], -1)
        return cls(**{"next_action_mask": no_masks, **arrays})

    def as_bytes(self) -> ReplayArrays:
        """Return the same memory with the bytes of observations, so that one machine code reads every kind."""
        names = ("obs", "latest", "successors")
        return self._replace(**{name: getattr(self, name).view(np.uint8) for name in names})


class TransitionArrays(NamedTuple):
    """Steps of every copy, as a ``Transition``; observations are flat."""

    obs: NDArray[Any]  # [S, T, B, D]
    action: Integers  # [S, T, B]
    reward: NDArray[np.float32]  # [S, T, B]
    next_obs: NDArray[Any]  # [S, T, B, D]
    terminated: Flags  # [S, T, B]
    truncated: Flags  # [S, T, B]

    @classmethod
    def of(cls, segment: Transition) -> TransitionArrays:
        """Return the views of a segment."""
        obs, action, reward, next_obs, terminated, truncated = (field.numpy() for field in segment[:6])
        shape = (*reward.shape, -1)
        return cls(obs.reshape(shape), action, reward, next_obs.reshape(shape), terminated, truncated)


class PriorityArrays(NamedTuple):
    """The priorities of S memories in K blocks of W slots."""

    mass: NDArray[np.float64]  # [S, K, W], chances before they are divided by their sum; K = 0 where all are alike
    blocks: NDArray[np.float64]  # [S, K], sums of the blocks
    largest: NDArray[np.float64]  # [S, 1], priority so far
    alpha: NDArray[np.float64]  # [S, 1]

    @classmethod
    def of(cls, priorities: Priorities | None) -> PriorityArrays:
        """Return the views of priorities, and empty arrays without them."""
        if priorities is None:
            return cls(np.zeros((0, 0, 0)), *[np.zeros((0, 0))] * 3)
        return cls(*(tensor.numpy() for tensor in priorities.tensors))
