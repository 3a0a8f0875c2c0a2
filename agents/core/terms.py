"""Terms that a user adds to the loss of an agent: a penalty of the weights, a defense against attacks.

A term is a function ``term(network, features, targets) -> [S]``. Its numbers are added to the loss of every update, and
differentiated with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rlkit.nn import ActorCritic
from rlkit.streams import Stream
from rlkit.types import Network, Targets, Term

from .descent import loss_of, outputs_of

WIDTH = 64  # numbers drawn at once for a term


def name_of(term: Term) -> str:
    """Return the name of a term: its attribute ``name``, or that of its function or class."""
    function = term.func if isinstance(term, partial) else term
    name = getattr(term, "name", None) or getattr(function, "__name__", type(function).__name__)
    if not (isinstance(name, str) and name.isidentifier()):
        raise ValueError(f"a term needs a name, got {name!r}: define a function, or set the attribute name")
    return name


class Terms:
    """The terms of an agent.

    Args:
        terms: functions of (network, features, targets).
        seeds: one per row.
        device: device of the agent.

    Raises:
        ValueError: what is no sequence of functions, or names that are equal or no identifiers.
    """

    def __init__(self, terms: Sequence[Term], seeds: Sequence[int], device: torch.device) -> None:
        if callable(terms) or not all(callable(term) for term in terms):
            raise ValueError(f"terms must be a sequence of functions, got {terms!r}: pass terms=[term]")
        self.names = tuple(name_of(term) for term in terms)
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"terms need different names, got {', '.join(self.names)}: set their attribute name")
        self.terms = tuple(terms)
        self._stream = Stream(seeds, "term", WIDTH, device=device)

    def add_to(
        self, gradient: Tensor, network: Network, features: Tensor, loss: Callable[..., Any], targets: Targets
    ) -> dict[str, Tensor]:
        """Add the gradient of every term to that of the loss, in place.

        The terms are evaluated on the differentiable form of the network, so they may differentiate it themselves.
        The gradient of a sum is the sum of gradients: a row whose terms have strength 0 keeps its gradient to the bit.

        Args:
            gradient: gradient of the loss, ``[S, P]``.
            network: whose parameters are learned; a term gets the policy of an ``ActorCritic``.
            features: ``[S, M, D]``.
            loss: function of the outputs of the network, as of ``Forward.gradient``.
            targets: targets of the update.

        Returns:
            the numbers ``[S]`` of each term by ``term_NAME``.

        Raises:
            ValueError: a term that does not return a floating tensor ``[S]``.
        """
        scores: Network = network.policy if isinstance(network, ActorCritic) else network
        targets = targets._replace(
            value=network.value if isinstance(network, ActorCritic) else targets.value,
            loss=lambda x: loss_of(loss(*outputs_of(network, x))),
            loss_at_scores=lambda scores: loss_of(loss(scores, *outputs_of(network, features)[1:])),
            uniform=partial(self._uniform, features.shape[1]),
        )
        found = {}
        with torch.enable_grad():
            for name, term in zip(self.names, self.terms, strict=True):
                found[f"term_{name}"] = self._checked(name, term(scores, features, targets), gradient)
            learned = [number for number in found.values() if number.requires_grad]
            if learned:
                gradient += network.gradient(torch.stack(learned).sum(dim=0))
        return {name: number.detach() for name, number in found.items()}

    def _checked(self, name: str, number: Any, gradient: Tensor) -> Tensor:
        if isinstance(number, Tensor) and number.shape == gradient.shape[:1] and number.is_floating_point():
            return number
        got = f"{number.dtype} {list(number.shape)}" if isinstance(number, Tensor) else repr(number)
        raise ValueError(f"term {name} must return one number per seed, a tensor [{len(gradient)}], got {got}")

    def _uniform(self, minibatch: int, width: int) -> Tensor:
        """Draw the next numbers of the stream (seed, "term"), ``[S, M, width]`` float64."""
        count = minibatch * width
        drawn = self._stream.take(max(math.ceil(count / WIDTH), 1)).movedim(0, 1).flatten(1)
        return drawn[:, :count].reshape(-1, minibatch, width)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the counter of the numbers drawn, for a checkpoint; nothing without terms."""
        return {f"stream/{name}": tensor for name, tensor in self._stream.state_dict().items()} if self.terms else {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from a saved counter."""
        if self.terms:
            self._stream.load_state({"step": state["stream/step"]})
