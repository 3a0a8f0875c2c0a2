"""The equations of WocaR, worst-case-aware robust reinforcement learning.

WocaR learns a second network, the worst-case action values, and lets them choose the action of the target. So it is no
term of a loss; these are its equations for an agent that has both networks.

Source: Liang et al. 2022, "Efficient adversarial training without attacking: worst-case-aware robust reinforcement
learning".
"""

from __future__ import annotations

import torch
from torch import Tensor


def provocable(lower: Tensor, upper: Tensor) -> Tensor:
    """Return which actions bounds of the scores do not exclude, ``upper_a >= max_b lower_b``: ``[..., A]`` bool.

    At epsilon 0 these are the greedy actions. The published code compares strictly, which leaves none there.

    Args:
        lower, upper: bounds of the scores over the ball of a state, ``[..., A]``.
    """
    return upper >= lower.amax(dim=-1, keepdim=True)


def worst_case_target(
    reward: Tensor, terminated: Tensor, next_worst_q: Tensor, next_provocable: Tensor, gamma: Tensor | float
) -> Tensor:
    """y = r + gamma min over a' in A_adv(s') of Qworst(s', a'), with y = r where s' is terminal: ``[..., M]``.

    Args:
        reward: ``[..., M]``.
        terminated: ``[..., M]`` bool.
        next_worst_q: worst-case action values at s', ``[..., M, A]``; those of a terminal s' are never read.
        next_provocable: A_adv(s'), the actions that an attack at *s'* may cause, ``[..., M, A]`` bool. The published
            code takes the actions of s.
        gamma: discount, broadcastable to ``[..., M]``.
    """
    worst = next_worst_q.masked_fill(~next_provocable, torch.inf).amin(dim=-1)
    return reward + torch.where(terminated, 0.0, gamma * worst)


def worst_case_aware_action(q: Tensor, worst_q: Tensor, weight: Tensor | float) -> Tensor:
    """Return ``argmax_a (1 - w) Q(s, a) + w Qworst(s, a)``, ``[..., A] -> [...]``.

    Args:
        q, worst_q: action values and worst-case action values, ``[..., A]``.
        weight: w in [0, 1], broadcastable to ``[..., A]``.
    """
    return torch.lerp(q, worst_q, torch.as_tensor(weight, dtype=q.dtype)).argmax(dim=-1)
