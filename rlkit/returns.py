"""Returns and advantages of segments of experience, one function per equation.

A segment is T steps of S x B copies, ``[S, T, B]``. It may hold the ends of several episodes, and begin and stop at any
step. Throughout, ``next_value`` is V of the true successor of each step: a terminated step never reads it, a
truncated one and the last of the segment bootstrap from it, and nothing passes from one episode to the next.
Discounts are numbers or broadcast to ``[S, B]``, for example ``[S, 1]``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .devices import constant, integers

Discount = Tensor | float


def discounted_returns(
    reward: Tensor, next_value: Tensor, terminated: Tensor, truncated: Tensor, gamma: Discount
) -> Tensor:
    """G_t = r_t + gamma G_(t+1), the reward to go: all ``[S, T, B]``.

    G_(t+1) is 0 where the step is terminated, and V(s_(t+1)) where it is truncated or the last of the segment.
    """
    bootstrap = next_value.masked_fill(terminated, 0.0)  # [S, T, B]
    done = terminated | truncated
    following = bootstrap[:, -1]  # [S, B]
    returns = []
    for t in reversed(range(reward.shape[1])):
        following = reward[:, t] + gamma * torch.where(done[:, t], bootstrap[:, t], following)
        returns.append(following)
    return torch.stack(returns[::-1], dim=1)


def gae(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: Discount,
    gae_lambda: Discount,
) -> Tensor:
    """Generalized advantage estimates (Schulman et al. 2016, equation 16), all ``[S, T, B]``.

    A_t = delta_t + gamma lambda A_(t+1) with delta_t = r_t + gamma V(s_(t+1)) - V(s_t). lambda = 1 is the
    discounted return less V(s_t), lambda = 0 the temporal difference.
    """
    delta = reward + _time(gamma) * next_value.masked_fill(terminated, 0.0) - value  # [S, T, B]
    zero = constant(0.0, delta.dtype, delta.device)
    decay = torch.where(terminated | truncated, zero, _time(gamma * gae_lambda)).expand_as(delta)
    advantages = [delta[:, -1]]
    for delta_t, decay_t in zip(delta.unbind(1)[-2::-1], decay.unbind(1)[-2::-1], strict=True):
        advantages.append(torch.addcmul(delta_t, decay_t, advantages[-1]))
    return torch.stack(advantages[::-1], dim=1)


def episode_returns(returns: Tensor, done: Tensor) -> Tensor:
    """The return of the whole episode (or the part of it in the segment) at each of its steps, ``[S, T, B]``.

    r(tau) = G of the episode's first step: what Williams (1992) multiplies the whole episode's gradient by.

    Args:
        returns: rewards to go, as ``discounted_returns`` gives them.
        done: whether the episode ended at a step.
    """
    whole = [returns[:, 0]]
    for t in range(1, returns.shape[1]):
        whole.append(torch.where(done[:, t - 1], returns[:, t], whole[-1]))
    return torch.stack(whole, dim=1)


def steps_since_start(done: Tensor, before: Tensor) -> Tensor:
    """Count the steps of the episode before each step, ``[S, T, B]`` int64.

    Args:
        done: whether the episode ended at a step.
        before: steps of the running episode before the segment, ``[S, B]``.
    """
    times = integers(0, done.shape[1], 1, done.device)[:, None]
    # the episode of a step began after the latest end, or before the segment
    at_first = -before[:, None]
    after_ends = torch.where(done[:, :-1], times[1:], at_first)
    began = torch.cat([at_first, after_ends], dim=1).cummax(dim=1).values
    return times - began


def ends_by_terminating(terminated: Tensor, truncated: Tensor) -> Tensor:
    """Whether a step's episode terminates in the segment: not cut by a time limit or by its end, ``[S, T, B]`` bool."""
    ends = torch.zeros_like(terminated[:, 0])  # [S, B]
    steps = []
    for t in reversed(range(terminated.shape[1])):
        ends = terminated[:, t] | (ends & ~truncated[:, t])
        steps.append(ends)
    return torch.stack(steps[::-1], dim=1)


def _time(discount: Discount) -> Discount:
    """A discount that broadcasts to ``[S, B]`` as one that broadcasts to ``[S, T, B]``."""
    return discount[:, None] if isinstance(discount, Tensor) and discount.dim() == 2 else discount
