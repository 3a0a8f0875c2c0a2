"""Functions that change the observations of a policy during a rollout."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

Perturb = Callable[[Tensor], Tensor]  # true observation [S, B, *observation] -> what the policy is shown


@runtime_checkable
class Perturbation(Protocol):
    """An attack on the observations of S x B running episodes, which may remember each of them."""

    attacked: Tensor  # [S, B] bool, whether the last observations were shown changed

    def perturb(self, obs: Tensor) -> Tensor:
        """Return the observation to show for the true ``obs [S, B, *observation]``, a copy, and set ``attacked``."""
        ...

    def restart(self, ended: Tensor | None = None, /) -> None:
        """Forget the episodes of the copies where ``ended [S, B]`` is true, or of all copies without it."""
        ...


class FunctionPerturbation:
    """A function of the observation as a ``Perturbation``: it remembers nothing."""

    def __init__(self, function: Perturb) -> None:
        self.function = function
        self.attacked = torch.zeros(0, 0, dtype=torch.bool)

    def perturb(self, obs: Tensor) -> Tensor:
        """Return ``function(obs)``; it is given a copy, which it may change."""
        shown = self.function(obs.clone())
        self.attacked = (shown != obs).flatten(2).any(dim=-1) if obs.dim() > 2 else shown != obs  # [S, B]
        return shown

    def restart(self, ended: Tensor | None = None, /) -> None:
        """Do nothing."""


def as_perturbation(perturb: Perturbation | Perturb) -> Perturbation:
    """Return a ``Perturbation`` as it is and a function as one.

    Raises:
        ValueError: neither, or the ``perturb`` of a ``Perturbation``, which would not be told where episodes end.
    """
    if isinstance(perturb, Perturbation):
        return perturb
    if not callable(perturb):
        raise ValueError(f"perturb must be a function of the observation or a Perturbation, got {perturb!r}")
    owner = perturb.__self__ if inspect.ismethod(perturb) else None
    if isinstance(owner, Perturbation):
        raise ValueError(
            f"perturb is a method of a {type(owner).__name__}, which has to know where episodes end: "
            "pass the object itself"
        )
    return FunctionPerturbation(perturb)
