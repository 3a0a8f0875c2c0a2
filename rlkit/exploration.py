"""How an agent leaves its own policy: pure functions of the policy's output and uniform numbers."""

from __future__ import annotations

import torch
from torch import Tensor


def epsilon_greedy(q: Tensor, epsilon: Tensor | float, u: Tensor) -> Tensor:
    """With probability epsilon a uniformly random action, else the greedy one (Sutton & Barto 2018, section 2.2).

    Args:
        q: action values ``[..., A]``.
        epsilon: probability, broadcastable to ``[...]``.
        u: uniform numbers ``[..., 2]``: the coin and the random action.

    Returns:
        actions ``[...]`` int64; ties go to the lowest index.
    """
    num_actions = q.shape[-1]
    random = (u[..., 1] * num_actions).long()  # u < 1, so this is below num_actions
    return torch.where(u[..., 0] < epsilon, random, q.argmax(dim=-1))


def linear_schedule(step: float, total: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """From ``start`` at step 0 to ``end`` at step ``total`` on a line, then ``end``; elementwise over rows ``[S]``."""
    return torch.where(step < total, start + step / total * (end - start), end)
