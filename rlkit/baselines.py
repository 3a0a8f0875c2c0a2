"""Baselines of a policy gradient, computed from other copies or earlier batches.

A baseline that depends on the episode it is subtracted from biases the gradient. Copies of one seed are independent
given the parameters, so a function of the other copies, or of earlier batches, adds no bias. All tensors
are ``[S, T, B]``.
"""

from __future__ import annotations

import torch
from torch import Tensor


def leave_one_out_mean(weight: Tensor, counted: Tensor) -> Tensor:
    """Mean weight of the counted steps of the other copies, ``[S, 1, B]``; 0 where they have none.

    (Kool, van Hoof & Welling 2019, for returns of whole episodes.)

    Args:
        weight: weight of the score of each step.
        counted: whether a step counts, bool.
    """
    total = torch.where(counted, weight, 0.0).sum(dim=1, keepdim=True)  # [S, 1, B]
    count = counted.sum(dim=1, keepdim=True)
    return _ratio_of_others(total, count)


def time_dependent_mean(weight: Tensor, counted: Tensor, step: Tensor, longest: int) -> Tensor:
    """Mean weight that the other copies' counted steps have at the same step of their episodes, ``[S, T, B]``.

    It is 0 where no other copy reached that step.

    Args:
        weight: weight of the score of each step.
        counted: whether a step counts, bool.
        step: steps of the episode before this one, int64, below ``longest``.
        longest: steps that an episode may have.
    """
    shape = (weight.shape[0], longest, weight.shape[2])
    total = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
    total.scatter_add_(1, step, torch.where(counted, weight, 0.0))
    count = torch.zeros(shape, dtype=torch.int64, device=weight.device).scatter_add_(1, step, counted.long())
    return _ratio_of_others(total, count).gather(1, step)


def optimal_constant(weighted_score: Tensor, score: Tensor) -> Tensor:
    """The b that minimizes the variance of A - b g, E[A . g] / E[|g|^2] over the other copies: ``[S, B]``.

    A and g are a copy's sums of weight times score and of score. Where the weight is the return R of a whole episode,
    A = R g, and b = E[|g|^2 R] / E[|g|^2] (Weaver & Tao 2001; Greensmith, Bartlett & Baxter 2004). No other constant
    has less variance; a baseline that depends on state or time may.

    Args:
        weighted_score: A, ``[S, B, P]``.
        score: g, ``[S, B, P]``.
    """
    return _ratio_of_others((weighted_score * score).sum(dim=2), score.square().sum(dim=2))


def _ratio_of_others(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide the sums over all other copies, given sums by copy ``[..., B]``; 0 where their denominator is 0."""
    others = numerator.sum(dim=-1, keepdim=True) - numerator
    count = (denominator.sum(dim=-1, keepdim=True) - denominator).to(numerator.dtype)
    return torch.where(count > 0, others / count.clamp(min=torch.finfo(numerator.dtype).tiny), 0.0)


class MovingAverage:
    """The decaying mean of the weights of earlier batches, one number for each row.

    Args:
        decay: the factor by which a batch reduces the weight of those before it, ``[S]``.
    """

    def __init__(self, decay: Tensor) -> None:
        self.decay = decay
        self.total = torch.zeros_like(decay)  # [S]
        self.mass = torch.zeros_like(decay)  # total weight of the batches so far

    def next(self, weight: Tensor, counted: Tensor) -> Tensor:
        """Return the mean before this batch, ``[S, 1, 1]``, 0 at first; then include the batch's counted steps."""
        before = torch.where(self.mass > 0, self.total / self.mass.clamp(min=1e-30), 0.0)
        count = counted.sum(dim=(1, 2))
        mean = torch.where(counted, weight, 0.0).sum(dim=(1, 2)) / count.clamp(min=1)
        decay = torch.where(count > 0, self.decay, 1.0)
        self.total = decay * self.total + (1.0 - decay) * mean
        self.mass = decay * self.mass + (1.0 - decay)
        return before[:, None, None]

    def state_dict(self) -> dict[str, Tensor]:
        """The sum and its mass, for a checkpoint."""
        return {"total": self.total, "mass": self.mass}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from a saved average."""
        self.total, self.mass = state["total"].clone(), state["mass"].clone()
