"""Exploration: actions as pure functions of the policy's output and uniform numbers."""

from __future__ import annotations

import torch
from torch import Tensor


def mask_logits(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Set the scores ``[..., A]`` of actions that ``mask [..., A]`` bool forbids to -inf; None allows all.

    As logits, they give such actions probability 0 and gradient 0 (Huang & Ontanon 2022).
    """
    return scores if mask is None else scores.masked_fill(~mask, -torch.inf)


def epsilon_greedy(q: Tensor, epsilon: Tensor | float, u: Tensor, mask: Tensor | None = None) -> Tensor:
    """Choose a random action with probability epsilon, else the greedy one (Sutton & Barto 2018, section 2.2).

    Args:
        q: action values ``[..., A]``.
        epsilon: probability, broadcastable to ``[...]``.
        u: uniform numbers ``[..., 2]``: the coin and the random action.
        mask: the actions allowed, ``[..., A]`` bool; None for all.

    Returns:
        actions ``[...]`` int64; ties go to the lowest index.
    """
    explores, random = exploration(epsilon, u, num_actions=q.shape[-1])
    if mask is not None:
        random = allowed_action(u[..., 1], mask)
    return torch.where(explores, random, mask_logits(q, mask).argmax(dim=-1))


def exploration(epsilon: Tensor | float, u: Tensor, num_actions: int) -> tuple[Tensor, Tensor]:
    """Compute the part of ``epsilon_greedy`` that does not need q: whether to explore, and the random action.

    Args:
        epsilon: probability, broadcastable to ``[...]``.
        u: uniform numbers ``[..., 2]``: the coin and the random action.
        num_actions: A.

    Returns:
        ``[...]`` bool and ``[...]`` int64.
    """
    return u[..., 0] < epsilon, (u[..., 1] * num_actions).long()  # u < 1, so the action is below num_actions


def any_per_step(chosen: Tensor) -> list[bool]:
    """Return at which steps any copy is chosen, ``[T, S, B]`` bool -> T; off the CPU all True, to avoid a wait."""
    return chosen.flatten(1).any(dim=1).tolist() if chosen.device.type == "cpu" else [True] * len(chosen)


def all_per_step(chosen: Tensor) -> list[bool]:
    """Return at which steps all copies are chosen, ``[T, S, B]`` bool -> T; off the CPU all False, to avoid a wait."""
    return chosen.flatten(1).all(dim=1).tolist() if chosen.device.type == "cpu" else [False] * len(chosen)


def allowed_action(u: Tensor, mask: Tensor) -> Tensor:
    """Choose one of the allowed actions uniformly: u ``[...]``, mask ``[..., A]`` bool -> ``[...]`` int64.

    Where none is allowed, it is the last action.
    """
    rank = (u * mask.sum(dim=-1)).long()  # how many allowed actions to pass over
    return (mask.cumsum(dim=-1)[..., :-1] <= rank[..., None]).sum(dim=-1)


def epsilon_greedy_probs(q: Tensor, epsilon: Tensor | float, mask: Tensor | None = None) -> Tensor:
    """Return the probabilities of ``epsilon_greedy``: epsilon / A each, and 1 - epsilon more for the greedy action.

    With a mask, A counts the allowed actions, and the others have probability 0.

    Args:
        q: action values ``[..., A]``.
        epsilon: probability, broadcastable to ``[...]``.
        mask: the actions allowed, ``[..., A]`` bool; None for all.

    Returns:
        ``[..., A]``.
    """
    epsilon = torch.as_tensor(epsilon, dtype=q.dtype, device=q.device).expand(q.shape[:-1])[..., None]
    if mask is None:
        uniform = (epsilon / q.shape[-1]).expand(q.shape)
    else:
        uniform = epsilon / mask.sum(dim=-1, keepdim=True).clamp(min=1) * mask
    return uniform.scatter_add(-1, mask_logits(q, mask).argmax(dim=-1, keepdim=True), 1.0 - epsilon)


def linear_schedule(step: Tensor | float, total: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Interpolate linearly from ``start`` at step 0 to ``end`` at step ``total``, then ``end``; elementwise."""
    return torch.where(step < total, start + step / total * (end - start), end)


def categorical(logits: Tensor, u: Tensor, mask: Tensor | None = None) -> Tensor:
    """Sample from softmax(logits) by inverting its distribution function.

    Args:
        logits: ``[..., A]``.
        u: uniform numbers ``[...]``.
        mask: the actions allowed, ``[..., A]`` bool; None for all.

    Returns:
        actions ``[...]`` int64: the number of actions whose cumulative probability is at most u.
    """
    probabilities = torch.softmax(mask_logits(logits, mask), dim=-1)
    if mask is None and logits.shape[-1] == 2:  # the same with fewer operations
        return torch.le(probabilities[..., 0], u, out=torch.empty_like(u, dtype=torch.int64))
    cumulative = probabilities.cumsum(dim=-1)
    if mask is None:
        # rounding cannot make an action A
        return (cumulative[..., :-1] <= u[..., None]).sum(dim=-1)
    # nor one that is not allowed: the last that is has everything above the one before it
    last = mask.cumsum(dim=-1) == mask.sum(dim=-1, keepdim=True)
    return (cumulative.masked_fill(last, torch.inf) <= u[..., None]).sum(dim=-1)
