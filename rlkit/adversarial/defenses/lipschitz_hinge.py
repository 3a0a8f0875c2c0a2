"""The Lipschitz hinge: scores need not be steeper than the values that they learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from rlkit.arrays import Given, as_observations, as_tensor
from rlkit.types import Targets

from ..budget import DUAL, ORDER, Budget
from .base import ByRow, Defense, by_row, not_negative
from .interval import branches

Estimate = Literal["weights", "data"]


@dataclass(frozen=True, eq=False)
class LipschitzHinge(Defense):
    """``strength max(Lip(f) - limit, 0)``, with Lip(f) the Lipschitz constant of the steepest score.

    With "weights" Lip(f) is the product of the layers' operator norms, an upper bound everywhere. With "data" it is the
    largest derivative over the minibatch, a lower estimate. The penalty is 0, and so is its gradient, below the limit.

    Args:
        budget: norm and scale of observations; epsilon and the curriculum are not used.
        strength: as in ``Defense``.
        curriculum: has no effect.
        limit: L0, one for all rows or one per row ``[S]``; ``table_lipschitz`` gives that of exact values.
        of: "weights" or "data".

    Raises:
        ValueError: a limit that is negative or not finite, or an unknown ``of``; at the first update a network with
            convolutions or a radial basis and "weights".

    Source: Gouk et al. 2021, "Regularisation of neural networks by enforcing Lipschitz continuity", for the product of
    norms.
    """

    limit: ByRow = 1.0
    of: Estimate = "weights"
    name: ClassVar[str] = "lipschitz_hinge"

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative(self.limit, "limit")
        if self.of not in get_args(Estimate):
            raise ValueError(f"of must be one of {', '.join(get_args(Estimate))}, got {self.of!r}")

    def penalty(self, network: Any, features: Tensor, budget: Budget, targets: Targets) -> Tensor:
        """Return the excess of every row, ``[S]``; arguments as in ``Defense.penalty``."""
        steepest = (
            weights_lipschitz(network, features, budget)
            if self.of == "weights"
            else data_lipschitz(network, features, budget)
        )
        return torch.relu(steepest - by_row(self.limit, "limit", features))


def weights_lipschitz(network: Any, features: Tensor, budget: Budget) -> Tensor:
    """Bound the Lipschitz constant of the steepest score by the layers' norms, ``[S]``, differentiable.

    The numbers of ``lipschitz_bound``; the bounds of a dueling network's two parts are added.

    Args:
        network: an ``MLP`` or a ``Dueling`` network.
        features: features with their shape and dtype, ``[S, M, D]``.
        budget: norm and scale.

    Raises:
        ValueError: another network, see ``branches``.
    """
    bounds = []
    for weights, _, _ in branches(network):
        weights[0] = budget.extent(features)[:, None] * weights[0]
        *hidden, output = weights
        gain = torch.linalg.vector_norm(output, ord=DUAL[budget.norm], dim=1)  # [S, A]
        for weight in hidden:
            gain = gain * operator_norm(weight, ORDER[budget.norm])[:, None]
        bounds.append(gain)
    bound: Tensor = sum(bounds[1:], bounds[0]).amax(dim=1)
    return bound


def operator_norm(weight: Tensor, order: float) -> Tensor:
    """Return the operator norm of ``x -> x W``, ``[S, in, out] -> [S]``; NaN for a row that is not finite.

    A decomposition of a matrix that is not finite would fail for all rows, so such rows are replaced in it.
    """
    finite = weight.isfinite().flatten(1).all(dim=1)
    sound = torch.where(finite[:, None, None], weight, torch.zeros_like(weight))
    norm: Tensor = torch.linalg.matrix_norm(sound.mT, ord=order)
    return torch.where(finite, norm, torch.nan)


def data_lipschitz(network: Any, features: Tensor, budget: Budget) -> Tensor:
    """Return the largest derivative of a score over the minibatch, in the dual norm, ``[S]``, differentiable.

    Args:
        network: gives scores ``[S, M, A]``.
        features: ``[S, M, D]``.
        budget: norm and scale.
    """
    x = features.detach().requires_grad_()
    norms = []
    for score in network(x).unbind(-1):
        (gradient,) = torch.autograd.grad(score, x, torch.ones_like(score), create_graph=True)
        norms.append(budget.dual_norm(gradient))
    return torch.stack(norms, dim=-1).amax(dim=(1, 2))


def table_lipschitz(values: Given, obs: Given, budget: Budget | float = 1.0) -> Tensor:
    """Return ``L0 = max |Q(s, a) - Q(s', a)| / |x_s - x_s'|`` over pairs of states and actions, ``[S]``.

    It is the smallest Lipschitz constant of any function of observations with these values.

    Args:
        values: exact action values ``[S, N, A]``, or ``[N, A]`` for one row.
        obs: the observations of the N states, ``[S, N, D]`` or ``[N, D]``.
        budget: norm and scale of observations; epsilon is not used.

    Raises:
        ValueError: shapes that do not fit, or two states with equal observations and different values.
    """
    budget = budget if isinstance(budget, Budget) else Budget(budget)
    table, x = as_tensor(values, "values", double=True).double(), as_tensor(obs, "obs", double=True).double()
    table, x = (each[None] if each.dim() == 2 else each for each in (table, x))
    if table.dim() != 3 or x.dim() != 3 or table.shape[:2] != x.shape[:2]:
        raise ValueError(f"values must be [S, N, A] of obs [S, N, D], got {list(table.shape)} and {list(x.shape)}")
    steepest = []
    for table_s, x_s in zip(table, as_observations(x), strict=True):
        rise = (table_s[:, None] - table_s).abs().amax(dim=-1)  # [N, N]
        run = budget.distance(x_s[:, None].expand(-1, len(x_s), -1), x_s[None].expand(len(x_s), -1, -1))
        if (rise[run == 0] > 0).any():
            raise ValueError("two states have the same observation and other values: no Lipschitz constant exists")
        steepest.append(torch.where(run > 0, rise / torch.where(run > 0, run, 1.0), 0.0).flatten().amax(dim=0))
    return torch.stack(steepest)
