"""Targets and losses, one function per equation, elementwise: the caller reduces, naming its dims."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


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
    return reward + torch.where(terminated, 0.0, gamma * next_q.amax(dim=-1))


def double_q_target(
    reward: Tensor, terminated: Tensor, next_q_online: Tensor, next_q_target: Tensor, gamma: Tensor | float
) -> Tensor:
    """y = r + gamma Q(s', argmax_a' Q(s', a'; theta); theta-) (van Hasselt, Guez & Silver 2016, equation 4).

    One network selects the action and the other evaluates it, which reduces overestimation. Arguments and result are
    those of ``q_learning_target``.
    """
    chosen = next_q_online.argmax(dim=-1, keepdim=True)
    return reward + torch.where(terminated, 0.0, gamma * next_q_target.gather(-1, chosen)[..., 0])


def squared(error: Tensor) -> Tensor:
    """Half the square of the error, elementwise."""
    return 0.5 * error.square()


def huber(error: Tensor, delta: float = 1.0) -> Tensor:
    """Half the square up to ``delta``, linear with slope ``delta`` beyond it, elementwise (Huber 1964)."""
    clipped = error.clamp(-delta, delta)
    return clipped * (error - 0.5 * clipped)


def huber_grad(error: Tensor, delta: float = 1.0) -> Tensor:
    """Derivative of ``huber``: the error clipped to +-delta, elementwise."""
    return error.clamp(-delta, delta)


LOSSES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {  # and their derivatives
    "huber": (huber, huber_grad),
    "squared": (squared, lambda error: error),
}


def td_error(q: Tensor, action: Tensor, target: Tensor) -> Tensor:
    """Q(s, a) - y: q ``[..., M, A]``, action and target ``[..., M]`` -> ``[..., M]``."""
    return q.gather(-1, action[..., None])[..., 0] - target


def td_grad(q: Tensor, action_weights: Tensor, target: Tensor, grad: Callable[[Tensor], Tensor] = huber_grad) -> Tensor:
    """Derivative by q of the mean over M of the loss of Q(s, a) - y, ``[S, M, A]``.

    Args:
        q: ``[S, M, A]``.
        action_weights: ``[S, M, A]``, 1/M at the action taken and 0 at the others.
        target: y, ``[S, M, 1]``.
        grad: derivative of the loss by the error; that of half the square is the error itself.
    """
    return grad(q - target) * action_weights


# Policies that are softmax(logits). Derivatives are by the logits and written out: they are short, and an
# autograd graph costs small networks more than the arithmetic does.


def one_hot(action: Tensor, like: Tensor) -> Tensor:
    """1 at the action taken and 0 at the others, ``[...] -> [..., A]``, A and dtype those of ``like [..., A]``."""
    return torch.zeros_like(like).scatter_(-1, action[..., None], 1.0)


def log_softmax(logits: Tensor) -> Tensor:
    """log softmax over the last axis, ``[..., M, A]``, to the bit what torch gives.

    For few actions torch's kernel takes several times as long along the last axis as along the one before it; where M
    fills whole vectors and A none both round alike.
    """
    if logits.shape[-2] % 16 or logits.shape[-1] >= 8:
        return logits.log_softmax(dim=-1)
    return logits.mT.contiguous().log_softmax(dim=-2).mT.contiguous()


def entropy(log_p: Tensor) -> Tensor:
    """H = -sum_a p log p in nats of log-probabilities ``[..., A] -> [...]``; an action of probability 0 adds 0."""
    return -(log_p.exp() * log_p.clamp(min=torch.finfo(log_p.dtype).min)).sum(dim=-1)


def kl_divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p, q) = sum_a p (log p - log q) in nats, ``[..., A] -> [...]``; an action of probability 0 under p adds 0."""
    return torch.where(log_p > -math.inf, log_p.exp() * (log_p - log_q), 0.0).sum(dim=-1)


def score_grad(log_p: Tensor, taken: Tensor, weight: Tensor) -> Tensor:
    """Derivative of -weight log pi(a) by the logits, weight (pi - 1_a): ``[..., A]``.

    With the return or the advantage as weight it is the policy gradient (Williams 1992; Sutton et al. 2000).

    Args:
        log_p: log pi ``[..., A]``.
        taken: 1 at the action taken, ``[..., A]``.
        weight: ``[...]``.
    """
    return weight[..., None] * (log_p.exp() - taken)


def entropy_grad(log_p: Tensor) -> Tensor:
    """Derivative of the entropy H by the logits, -pi (log pi + H): ``[..., A]``."""
    p = log_p.exp()
    return -p * (torch.where(p > 0, log_p, 0.0) + entropy(log_p)[..., None])


def clipped_surrogate(ratio: Tensor, advantage: Tensor, clip_range: Tensor) -> tuple[Tensor, Tensor]:
    """PPO's -min(r A, clip(r, 1 - c, 1 + c) A) (Schulman et al. 2017, equation 7) and its derivative, elementwise.

    The derivative is by log pi, since dr = r d log pi: -r A, and 0 where the clipped objective is constant,
    r > 1 + c with A > 0 or r < 1 - c with A < 0.

    Returns:
        the loss and its derivative, both of the shape of ratio.
    """
    clipped = ratio.clamp(1.0 - clip_range, 1.0 + clip_range)
    gain = ratio * advantage
    bound = clipped * advantage
    return -torch.minimum(gain, bound), torch.where(gain > bound, 0.0, -gain)  # NaN stays NaN


def clipped_squared(
    value: Tensor, old_value: Tensor, target: Tensor, clip_range: Tensor | None
) -> tuple[Tensor, Tensor]:
    """(clip(V, V_old - c, V_old + c) - target)^2 and its derivative by V, elementwise; c None does not clip."""
    change = value - old_value
    clipped = change if clip_range is None else change.clamp(-clip_range, clip_range)
    error = old_value + clipped - target
    grad = 2.0 * error
    return error.square(), grad if clip_range is None else torch.where(change.abs() > clip_range, 0.0, grad)


def standardized(advantage: Tensor) -> Tensor:
    """Standardize each row to mean 0 and (unbiased) standard deviation 1, ``[S, M]``."""
    centered = advantage - advantage.mean(dim=1, keepdim=True)
    return centered / (advantage.std(dim=1, keepdim=True) + 1e-8)


def explained_variance(prediction: Tensor, target: Tensor) -> Tensor:
    """1 - Var(target - prediction) / Var(target) over the last axis, ``[..., M] -> [...]``."""
    return 1.0 - (target - prediction).var(dim=-1, correction=0) / target.var(dim=-1, correction=0)
