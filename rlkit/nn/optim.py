"""Optimizers over rows: S optimizers as elementwise operations on ``[S, P]``.

Each row may have its own learning rate, is clipped by its own norm, and counts its own steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .matmul import ALIGNMENT

DENORMAL = np.float32(1e-39)


@contextmanager
def flush_denormals() -> Iterator[None]:
    """Round denormal numbers to zero in this thread while in the context, as GPUs do.

    The first moment of a unit that has died decays towards zero and stays denormal for thousands of updates,
    and arithmetic on denormals takes ten times as long.
    """
    already = bool(DENORMAL * np.float32(1.0) == 0.0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(already)


def row_norm(gradient: Tensor) -> Tensor:
    """Euclidean norm of each row, ``[S, P] -> [S]``."""
    norm: Tensor = torch.linalg.vector_norm(gradient, dim=1)
    return norm


def clip_rows_(gradient: Tensor, norm: Tensor, max_norm: Tensor | float) -> Tensor:
    """Scale each row of ``gradient [S, P]``, of norm ``norm [S]``, in place to norm at most ``max_norm``.

    Source: Pascanu, Mikolov & Bengio 2013, "On the difficulty of training recurrent neural networks", algorithm 1.
    """
    return gradient.mul_((max_norm / norm.clamp(min=max_norm))[:, None])


def known_within(norm: Tensor, max_norm: Tensor) -> bool:
    """Whether no row's norm ``[S]`` is above its limit or NaN, where that is known without waiting for a device."""
    if norm.device.type != "cpu":
        return False
    # Python numbers, because torch operations on a few numbers cost more
    return all(n <= most for n, most in zip(norm.tolist(), max_norm.tolist(), strict=True))


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1), one independent optimizer per row.

    Args:
        parameters: ``[S, P]``, updated in place.
        betas: decay of the two moments.
        eps: added to the root of the second moment.
        pauses: whether a row may continue after steps in which it was not active. Off the CPU it costs more operations.
    """

    def __init__(
        self,
        parameters: Tensor,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        pauses: bool = False,
    ) -> None:
        self.parameters = parameters
        self.betas = betas
        self.eps = eps
        self.gradient = torch.empty_like(parameters)  # [S, P], for pullbacks to write into
        self.first = torch.zeros_like(parameters)  # [S, P]
        self.second = torch.zeros_like(parameters)  # [S, P]
        self._together = parameters.device.type != "cpu" and not pauses
        # [S]; for all rows together float32, as torch's kernel wants it on a device
        counted = torch.float32 if self._together else torch.float64
        self.steps = torch.zeros(len(parameters), dtype=counted, device=parameters.device)
        # [S], 1 where a row sits out a step: float32, whatever the parameters are, because torch's kernel wants it
        self._idle = torch.zeros(len(parameters), dtype=torch.float32, device=parameters.device)
        self._zero = torch.zeros((), dtype=parameters.dtype, device=parameters.device)
        self._attach()
        # rows of whole cache lines round in one piece as they do one by one
        self._lines = parameters.is_contiguous() and parameters.shape[1] % ALIGNMENT == 0

    def _attach(self) -> None:
        """Make the views of every row that torch's fused kernel is called with."""
        tensors = (self.parameters, self.first, self.second, self.steps, self._idle)
        self._rows = list(zip(*(tensor.unbind(0) for tensor in tensors), strict=True))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickle or a deep copy, and make its views anew."""
        vars(self).update(state)
        self._attach()

    def step(self, gradient: Tensor, learning_rate: Tensor, active: Tensor) -> None:
        """One step of every active row; the others keep their parameters to the bit.

        Args:
            gradient: ``[S, P]``.
            learning_rate: ``[S]``.
            active: ``[S]`` bool.
        """
        if self._together:
            self.steps += 1.0
            self._step_together(gradient, learning_rate, active)
            return
        self.steps += active
        if self.parameters.device.type == "cpu":
            self._step_by_row(gradient, learning_rate, active)
        else:
            self._step_elementwise(gradient, learning_rate, active)

    def _step_by_row(self, gradient: Tensor, learning_rate: Tensor, active: Tensor) -> None:
        """Torch's fused kernel on each row: on a CPU one pass over the memory instead of nine."""
        torch.logical_not(active, out=self._idle)
        if len(self._rows) > 1 and self._lines and self._alike(learning_rate, active):
            moments = self.first.view(-1), self.second.view(-1)
            whole = (self.parameters.view(-1), *moments, self.steps[0], self._idle[0])
            self._fused(whole, gradient.flatten(), learning_rate[0])
            return
        given = zip(_rows(gradient), _rows(learning_rate), strict=True)
        for row, (g, rate) in zip(self._rows, given, strict=True):
            self._fused(row, g, rate)

    def _alike(self, learning_rate: Tensor, active: Tensor) -> bool:
        """Whether all rows take the same step: together, at one rate, after as many steps."""
        same = active & (learning_rate == learning_rate[0]) & (self.steps == self.steps[0])
        return bool(same.all())

    def _fused(
        self, row: tuple[Tensor, ...], gradient: Tensor, rate: Tensor | float, weight_decay: float = 0.0
    ) -> None:
        """Step a row: its parameters, two moments, number of steps and whether it is idle; AdamW with a decay."""
        (parameters, first, second, steps, idle), (beta1, beta2) = row, self.betas
        kernel = torch._fused_adamw_ if weight_decay else torch._fused_adam_
        kernel(
            (parameters,), (gradient,), (first,), (second,), (), (steps,),
            lr=rate, beta1=beta1, beta2=beta2, eps=self.eps, weight_decay=weight_decay, amsgrad=False, maximize=False,
            found_inf=idle,
        )  # fmt: skip

    @cached_property
    def _direction(self) -> Tensor:
        """Minus the direction of the last step that all rows took together, ``[S, P]``."""
        return torch.zeros_like(self.parameters)

    def _step_together(self, gradient: Tensor, learning_rate: Tensor, active: Tensor) -> None:
        """Torch's fused kernel on all rows at once, for a device: those that still learn have taken as many steps.

        A row that has stopped, for good, is counted on with the others; its moments are not read.
        """
        # at rate 1 and decay 1 the kernel writes minus the direction of every row over that of the step before
        moments = self.first, self.second
        self._fused((self._direction, *moments, self.steps[0], self._idle[0]), gradient, 1.0, weight_decay=1.0)
        moved = torch.addcmul(self.parameters, self._direction, learning_rate[:, None])
        torch.where(active[:, None], moved, self.parameters, out=self.parameters)

    def _step_elementwise(self, gradient: Tensor, learning_rate: Tensor, active: Tensor) -> None:
        """The same in operations over all rows, each after its own number of steps."""
        (beta1, beta2), idle = self.betas, ~active
        gradient = torch.where(active[:, None], gradient, self._zero)
        learning = active.to(gradient.dtype)[:, None]  # the moments of an idle row stay
        self.first.lerp_(gradient, (1.0 - beta1) * learning)
        self.second.lerp_(gradient.square(), (1.0 - beta2) * learning)
        correction1 = 1.0 - beta1**self.steps  # [S] float64
        correction2 = 1.0 - beta2**self.steps
        # an idle row has learning rate 0 and finite moments, so it subtracts exactly 0
        rate = (learning_rate / correction1).masked_fill(idle, 0.0).to(gradient.dtype)
        scale = correction2.rsqrt().masked_fill(idle, 1.0).to(gradient.dtype)
        denominator = self.second.sqrt().mul_(scale[:, None]).add_(self.eps)
        self.parameters.addcdiv_(self.first * rate[:, None], denominator, value=-1.0)

    def state_dict(self) -> dict[str, Tensor]:
        """Moments and step counts, for a checkpoint."""
        return {"first": self.first, "second": self.second, "steps": self.steps.double()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from saved moments."""
        self.first.copy_(state["first"])
        self.second.copy_(state["second"])
        self.steps.copy_(state["steps"])


def _rows(x: Tensor) -> Sequence[Tensor]:
    """``[S, ...] -> S x [...]``, views; as ``unbind``, in a third of its time for one row."""
    return x.unbind(0) if x.shape[0] > 1 else (x.squeeze(0),)


class RMSprop:
    """RMSprop (Hinton 2012, lecture 6e), one independent optimizer per row, as in torch.

    v <- alpha v + (1 - alpha) g^2, theta <- theta - rate g / (sqrt(v) + eps).

    Args:
        parameters: ``[S, P]``, updated in place.
        alpha: decay of the second moment.
        eps: added to its root.
    """

    def __init__(self, parameters: Tensor, alpha: float = 0.99, eps: float = 1e-8) -> None:
        self.parameters = parameters
        self.alpha = alpha
        self.eps = eps
        self.gradient = torch.empty_like(parameters)  # [S, P], for pullbacks to write into
        self.second = torch.zeros_like(parameters)  # [S, P]
        self._zero = torch.zeros((), dtype=parameters.dtype, device=parameters.device)
        self._as_adam = None if parameters.device.type == "cpu" else self._adam()

    def _adam(self) -> Adam:
        """Make the Adam that is this rule: without a first moment, and whose corrections of bias have come to 1."""
        adam = Adam(self.parameters, (0.0, self.alpha), self.eps)
        adam.second = self.second
        adam.steps.fill_(math.inf)
        return adam

    def step(self, gradient: Tensor, learning_rate: Tensor, active: Tensor) -> None:
        """One step of every active row; the others keep their parameters to the bit.

        Args:
            gradient: ``[S, P]``.
            learning_rate: ``[S]``.
            active: ``[S]`` bool.
        """
        if self._as_adam is not None:
            self._as_adam._step_together(gradient, learning_rate, active)
            return
        gradient = torch.where(active[:, None], gradient, self._zero)
        self.second.mul_(self.alpha).addcmul_(gradient, gradient, value=1.0 - self.alpha)
        rate = (learning_rate * active).to(gradient.dtype)
        self.parameters.addcdiv_(gradient.mul_(rate[:, None]), self.second.sqrt().add_(self.eps), value=-1.0)

    def state_dict(self) -> dict[str, Tensor]:
        """The moment, for a checkpoint."""
        return {"second": self.second}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from a saved moment."""
        self.second.copy_(state["second"])


Optimizer = Adam | RMSprop  # S independent optimizers
