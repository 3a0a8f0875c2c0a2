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
    explores, random = exploration(epsilon, u, num_actions=q.shape[-1])
    return torch.where(explores, random, q.argmax(dim=-1))


def exploration(epsilon: Tensor | float, u: Tensor, num_actions: int) -> tuple[Tensor, Tensor]:
    """The part of ``epsilon_greedy`` that does not wait for q: whether to explore, and the action then.

    Args:
        epsilon: probability, broadcastable to ``[...]``.
        u: uniform numbers ``[..., 2]``: the coin and the random action.
        num_actions: A.

    Returns:
        ``[...]`` bool and ``[...]`` int64.
    """
    return u[..., 0] < epsilon, (u[..., 1] * num_actions).long()  # u < 1, so the action is below num_actions


def greedy_mixture(q: Tensor, epsilon: Tensor | float) -> Tensor:
    """The probabilities that ``epsilon_greedy`` acts by: epsilon / A each, and 1 - epsilon more for the greedy action.

    Args:
        q: action values ``[..., A]``.
        epsilon: probability, broadcastable to ``[...]``.

    Returns:
        ``[..., A]``.
    """
    epsilon = torch.as_tensor(epsilon, dtype=q.dtype, device=q.device).expand(q.shape[:-1])[..., None]
    uniform = (epsilon / q.shape[-1]).expand(q.shape)
    return uniform.scatter_add(-1, q.argmax(dim=-1, keepdim=True), 1.0 - epsilon)


def linear_schedule(step: Tensor | float, total: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """From ``start`` at step 0 to ``end`` at step ``total`` on a line, then ``end``; elementwise, broadcasting."""
    return torch.where(step < total, start + step / total * (end - start), end)


def categorical(logits: Tensor, u: Tensor) -> Tensor:
    """A sample of softmax(logits) by inverting its distribution function.

    Args:
        logits: ``[..., A]``.
        u: uniform numbers ``[...]``.

    Returns:
        actions ``[...]`` int64: the number of actions whose cumulative probability is at most u.
    """
    cumulative = torch.softmax(logits, dim=-1).cumsum(dim=-1)[..., :-1]  # rounding cannot make an action A
    return (cumulative <= u[..., None]).sum(dim=-1)
