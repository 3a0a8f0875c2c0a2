"""Targets and losses, one function per equation, elementwise: the caller reduces, naming its dims."""

from __future__ import annotations

import torch
from torch import Tensor


def q_learning_target(reward: Tensor, terminated: Tensor, next_q: Tensor, gamma: Tensor | float) -> Tensor:
    """y = r + gamma max_a' Q(s', a'; theta-), with y = r where s' is terminal (Mnih et al. 2015, algorithm 1).

    Args:
        reward: ``[..., M]``.
        terminated: ``[..., M]`` bool. Truncation is not termination: a time limit keeps its bootstrap.
        next_q: ``[..., M, A]`` of the target network. Whatever stands there for a terminal s' is never read.
        gamma: discount, broadcastable to ``[..., M]``.

    Returns:
        ``[..., M]``.
    """
    return reward + torch.where(terminated, 0.0, gamma * next_q.amax(dim=-1))


def squared(error: Tensor) -> Tensor:
    """Half the square of the error, elementwise."""
    return 0.5 * error.square()


def huber(error: Tensor, delta: float = 1.0) -> Tensor:
    """Half the square up to ``delta``, a line of slope ``delta`` beyond it, elementwise (Huber 1964)."""
    clipped = error.clamp(-delta, delta)
    return clipped * (error - 0.5 * clipped)


def huber_slope(error: Tensor, delta: float = 1.0) -> Tensor:
    """Derivative of ``huber``: the error clipped to +-delta; NaN where it is infinite, so that divergence shows."""
    return error / (error.abs() / delta).clamp(min=1.0)
