"""The gradient of a loss: the networks' outputs, the loss on them, and autograd from there to the parameters.

An algorithm states its loss as a function of the outputs that returns the loss of every transition, or one number per
seed. Autograd differentiates the mean over transitions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from rlkit.devices import constant
from rlkit.types import Network

# a loss [S, M] whose mean over M is descended, or [S]; or a NamedTuple of tensors [S, ...] with it as a field ``loss``
L = TypeVar("L")


def outputs_of(network: Network, features: Tensor) -> tuple[Tensor, ...]:
    """Return the outputs of a network, of which there may be one or several, as a tuple."""
    outputs = network(features)
    return outputs if isinstance(outputs, tuple) else (outputs,)


def loss_of(losses: Any) -> Tensor:
    """Return the loss ``[S]`` of what a loss function returns: itself or its field ``loss``, the mean of ``[S, M]``."""
    loss = _stated(losses)
    return loss if loss.dim() == 1 else loss.mean(dim=1)


def _stated(losses: Any) -> Tensor:
    """Return the loss as it is stated, ``[S, M]`` or ``[S]``."""
    loss: Tensor = losses if isinstance(losses, Tensor) else losses.loss
    return loss


class Forward:
    """The outputs of a network for a minibatch, of which losses can be differentiated.

    Autograd records a loss from the outputs on. From them to the parameters it goes through the ``vjp`` of the network,
    whose products give a row the same bits for every S, or through autograd again where a network has none.

    Args:
        network: with parameters ``flat [S, P]``.
        features: ``[S, M, D]``.
    """

    def __init__(self, network: Network, features: Tensor) -> None:
        self.network, self.features = network, features
        self._pullback: Callable[..., Tensor] | None = None
        vjp = getattr(network, "vjp", None)
        if vjp is None:
            with torch.enable_grad():
                self.outputs = outputs_of(network, features)
        else:
            with torch.no_grad():
                *outputs, self._pullback = vjp(features)
            self.outputs = tuple(output.requires_grad_() for output in outputs)

    def gradient(self, loss: Callable[..., L], out: Tensor | None = None) -> tuple[L, Tensor]:
        """Evaluate a loss and differentiate it by the parameters; once only where the network has no ``vjp``.

        Args:
            loss: function of the outputs that returns numbers ``[S, M]``, of which the mean over M is differentiated,
                or ``[S]``, or a NamedTuple with them as the field ``loss``. Row s depends on row s alone, so the
                gradient of the sum over seeds is each row's own.
            out: ``[S, P]``, to write the gradient into.

        Returns:
            the losses without their graph, and the gradient ``[S, P]``.
        """
        with torch.enable_grad():
            losses = loss(*self.outputs)
        if self._pullback is None:
            with torch.enable_grad():
                gradient = self.network.gradient(loss_of(losses))
            gradient = gradient if out is None else out.copy_(gradient)
        else:
            stated = _stated(losses)
            # the derivative of the sum over seeds of the mean over M
            share = constant(1.0 / stated[0].numel(), stated.dtype, stated.device).expand_as(stated)
            grads = torch.autograd.grad(stated, self.outputs, share, materialize_grads=True)
            with torch.no_grad():
                # the memory layout of a derivative must not depend on S, because products would round differently
                gradient = self._pullback(*(grad.contiguous() for grad in grads), out)
        return _detached(losses), gradient


def _detached(losses: Any) -> Any:
    """Return losses without their graph."""
    return losses.detach() if isinstance(losses, Tensor) else type(losses)(*(each.detach() for each in losses))
