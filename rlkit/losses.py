"""Targets and losses, one function per equation, elementwise: the caller reduces, naming its dims."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .devices import constant


def q_learning_target(reward: Tensor, terminated: Tensor, next_q: Tensor, gamma: Tensor | float) -> Tensor:
    """y = r + gamma max_a' Q(s', a'; theta-), with y = r where s' is terminal (Mnih et al. 2015, algorithm 1).

    Args:
        reward: ``[..., M]``.
        terminated: ``[..., M]`` bool. Truncation is not termination: a time limit keeps its bootstrap.
        next_q: ``[..., M, A]`` of the target network. Values of a terminal s' are never read.
        gamma: discount, broadcastable to ``[..., M]``.

    Returns:
        ``[..., M]``.
    """
    return reward + (gamma * next_q.amax(dim=-1)).masked_fill(terminated, 0.0)


def double_q_target(
    reward: Tensor, terminated: Tensor, next_q_online: Tensor, next_q_target: Tensor, gamma: Tensor | float
) -> Tensor:
    """y = r + gamma Q(s', argmax_a' Q(s', a'; theta); theta-) (van Hasselt, Guez & Silver 2016, equation 4).

    One network selects the action and the other evaluates it, which reduces overestimation. Arguments and result are
    those of ``q_learning_target``.
    """
    chosen = next_q_online.argmax(dim=-1, keepdim=True)
    return reward + (gamma * next_q_target.gather(-1, chosen)[..., 0]).masked_fill(terminated, 0.0)


# The worst case over what an attack can provoke (Liang et al. 2022, "Efficient adversarial training without attacking:
# worst-case-aware robust reinforcement learning")


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
        next_provocable: A_adv(s'), the actions that an attack at *s'* may provoke, ``[..., M, A]`` bool. The published
            code takes the actions of s.
        gamma: discount, broadcastable to ``[..., M]``.
    """
    worst = next_worst_q.masked_fill(~next_provocable, torch.inf).amin(dim=-1)
    return reward + (gamma * worst).masked_fill(terminated, 0.0)


def worst_case_aware_values(q: Tensor, worst_q: Tensor, weight: Tensor | float) -> Tensor:
    """(1 - kappa) Q(s, a) + kappa Qworst(s, a), ``[..., A]``: Q to the bit where kappa is 0.

    Args:
        q, worst_q: action values and worst-case action values, ``[..., A]``.
        weight: kappa in [0, 1], broadcastable to ``[..., A]``.
    """
    return torch.lerp(q, worst_q, torch.as_tensor(weight, dtype=q.dtype))


def squared(error: Tensor) -> Tensor:
    """Half the square of the error, elementwise."""
    return 0.5 * error.square()


def huber(error: Tensor, delta: float = 1.0) -> Tensor:
    """Half the square up to ``delta``, linear with slope ``delta`` beyond it, elementwise (Huber 1964)."""
    loss: Tensor = nn.functional.huber_loss(error, _zero(error).expand_as(error), reduction="none", delta=delta)
    return loss


LOSSES: dict[str, Callable[[Tensor], Tensor]] = {"huber": huber, "squared": squared}


def td_error(q: Tensor, action: Tensor, target: Tensor) -> Tensor:
    """Q(s, a) - y: q ``[..., M, A]``, action and target ``[..., M]`` -> ``[..., M]``."""
    return q.gather(-1, action[..., None]).squeeze(-1) - target


# Policies that are softmax(logits)


def log_softmax(logits: Tensor) -> Tensor:
    """log softmax over the last axis, ``[..., M, A]``, to the bit what torch gives.

    For few actions torch's CPU kernel takes several times as long along the last axis as along the axis before it. Both
    round alike where M fills whole vectors and A fills none.
    """
    if logits.shape[-2] % 16 or logits.shape[-1] >= 8 or logits.device.type != "cpu":
        return logits.log_softmax(dim=-1)
    return logits.mT.contiguous().log_softmax(dim=-2).mT.contiguous()


def entropy(log_p: Tensor) -> Tensor:
    """H = -sum_a p log p in nats of log-probabilities ``[..., A] -> [...]``; an action of probability 0 adds 0."""
    return -(log_p.exp() * log_p.clamp(min=torch.finfo(log_p.dtype).min)).sum(dim=-1)


def kl_divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p, q) = sum_a p (log p - log q) in nats, ``[..., A] -> [...]``; an action of probability 0 under p adds 0."""
    return torch.where(log_p > -math.inf, log_p.exp() * (log_p - log_q), _zero(log_p)).sum(dim=-1)


def log_probability(log_p: Tensor, action: Tensor) -> Tensor:
    """log pi(a) of the actions taken: log pi ``[..., M, A]`` and actions ``[..., M]`` -> ``[..., M]``."""
    return log_p.gather(-1, action[..., None]).squeeze(-1)


def policy_gradient_loss(log_p: Tensor, action: Tensor, weight: Tensor) -> Tensor:
    """-w log pi(a) of log pi ``[S, M, A]``, actions and weights ``[S, M]``, elementwise.

    With the return or the advantage as weight, held fixed, its gradient is minus the policy gradient (Williams 1992;
    Sutton et al. 2000). The negative log-likelihood and its derivative are one operation each.
    """
    return weight * nn.functional.nll_loss(log_p.flatten(0, 1), action.flatten(), reduction="none").view_as(weight)


def clipped_surrogate(log_ratio: Tensor, advantage: Tensor, clip_range: Tensor) -> Tensor:
    """PPO's -min(r A, clip(r, 1 - c, 1 + c) A) (Schulman et al. 2017, equation 7) of log r, elementwise.

    Where the second term is smaller, the loss is constant. There r is not evaluated for autograd, because its
    derivative would be 0 times infinity if it overflowed.
    """
    ratio, cost = log_ratio.detach().exp(), -advantage
    bound = ratio.clamp(1.0 - clip_range, 1.0 + clip_range) * cost
    clipped = ratio * cost < bound
    return torch.where(clipped, bound, cost) * log_ratio.masked_fill(clipped, 0.0).exp()


def clipped_squared(value: Tensor, old_value: Tensor, target: Tensor, clip_range: Tensor | None) -> Tensor:
    """(clip(V, V_old - c, V_old + c) - target)^2, elementwise; c None does not clip."""
    if clip_range is not None:
        value = old_value + (value - old_value).clamp(-clip_range, clip_range)
    return squared_difference(value, target)


def squared_difference(value: Tensor, target: Tensor) -> Tensor:
    """(V - R)^2, elementwise; one operation, and one for its derivative."""
    loss: Tensor = nn.functional.mse_loss(value, target, reduction="none")
    return loss


def standardized(advantage: Tensor) -> Tensor:
    """Standardize each row to mean 0 and (unbiased) standard deviation 1, ``[S, M]``."""
    centered = advantage - advantage.mean(dim=1, keepdim=True)
    return centered / (advantage.std(dim=1, keepdim=True) + 1e-8)


def explained_variance(error: Tensor, target: Tensor) -> Tensor:
    """1 - Var(target - prediction) / Var(target) over the last axis, of errors and targets ``[..., M] -> [...]``."""
    return 1.0 - error.var(dim=-1, correction=0) / target.var(dim=-1, correction=0)


def _zero(like: Tensor) -> Tensor:
    return constant(0.0, like.dtype, like.device)
