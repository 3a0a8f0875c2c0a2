"""What an iteration of the on-policy algorithms learns from its segment, one row after another.

One call does a bounded amount of work: Python loops over blocks of rows, so signals are handled in between.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .jit import compiled, reassociated
from .layout import Flags, Floats, Integers, MLPArrays
from .losses import ENTROPY, KL, POLICY, VALUE, OnPolicyBatch, log_softmax, slope
from .mlp import backward, forward, room, widest
from .optim import descend

CHUNK = 128  # observations evaluated at once
WORK = 2**27  # multiply-adds of one call, unless a single row has more: about 10 ms


class Rewards(NamedTuple):
    """What the advantages of a segment are computed from, ``[S, T, B]``."""

    reward: Floats
    terminated: Flags
    truncated: Flags


class Descent(NamedTuple):
    """How the gradient of a minibatch is descended."""

    learning_rate: Floats  # [S]
    max_grad_norm: Floats  # [S]
    target_kl: Floats  # [S], infinite for no limit
    normalize_advantage: bool


def blocks(rows: int, work: int) -> Iterator[tuple[int, int]]:
    """Cut rows into blocks of at most ``WORK`` multiply-adds, of which one row has ``work``."""
    at_once = max(WORK // max(work, 1), 1)
    for first in range(0, rows, at_once):
        yield first, min(first + at_once, rows)


@compiled
def evaluate(p: Floats, network: MLPArrays, x: Floats, h: Floats, value: Floats) -> None:
    """Write the values ``[N]`` of observations ``[N, D]``; ``h`` has room for ``CHUNK`` of them."""
    for start in range(0, len(x), CHUNK):
        y = forward(p, network.layers, network.tanh, x[start : start + CHUNK], h)
        for m in range(len(y)):
            value[start + m] = y[m, 0]


@compiled
def gae(
    rewards: Rewards, s: int, value: Floats, next_value: Floats, gamma: float, gae_lambda: float, advantage: Floats
) -> None:
    """Write generalized advantage estimates, ``[T B]`` each (Schulman et al. 2016, equation 16)."""
    steps, copies = rewards.reward.shape[1:]
    zero = value.dtype.type(0)
    for b in range(copies):
        following = zero
        for t in range(steps - 1, -1, -1):
            i = t * copies + b
            ahead = zero if rewards.terminated[s, t, b] else gamma * next_value[i]
            delta = rewards.reward[s, t, b] + ahead - value[i]
            ended = rewards.terminated[s, t, b] or rewards.truncated[s, t, b]
            following = delta + (zero if ended else gamma * gae_lambda * following)
            advantage[i] = following


@reassociated
def variance(x: Floats, y: Floats) -> float:
    """Variance of x - y, ``[N]`` each, divided by N."""
    count, mean, squares = len(x), 0.0, 0.0
    for i in range(count):
        mean += x[i] - y[i]
    mean /= count
    for i in range(count):
        squares += (x[i] - y[i] - mean) ** 2
    return squares / count


@compiled
def prepare_rows(
    first: int,
    last: int,
    policy: MLPArrays,
    value: MLPArrays,
    rewards: Rewards,
    next_features: Floats,
    gamma: Floats,
    gae_lambda: Floats,
    batch: OnPolicyBatch,
    explained: Floats,
) -> None:
    """Write V, A, R = A + V and log pi(a|s) of a segment, and the explained variance of R by V.

    Args:
        first, last: the rows.
        policy, value: the networks.
        rewards: of the segment.
        next_features: of its successors, ``[S, N, D]``.
        gamma, gae_lambda: ``[S]``.
        batch: with features, actions and masks; the rest is written.
        explained: ``[S]``.
    """
    features, dtype = batch.features, policy.flat.dtype
    h = np.empty(CHUNK * (max(policy.layers[:, 1].sum(), value.layers[:, 1].sum())), dtype)
    next_value, log_p = np.empty(features.shape[1], dtype), np.empty(policy.layers[-1, 1], dtype)
    nothing = np.zeros_like(next_value)
    for s in range(first, last):
        p = policy.flat[s]
        evaluate(p, value, features[s], h, batch.old_value[s])
        evaluate(p, value, next_features[s], h, next_value)
        gae(rewards, s, batch.old_value[s], next_value, gamma[s], gae_lambda[s], batch.advantage[s])
        for i in range(len(next_value)):
            batch.target[s, i] = batch.advantage[s, i] + batch.old_value[s, i]
        total = variance(batch.target[s], nothing)
        explained[s] = 1.0 - variance(batch.target[s], batch.old_value[s]) / total
        for start in range(0, len(next_value), CHUNK):
            logits = forward(p, policy.layers, policy.tanh, features[s, start : start + CHUNK], h)
            for m in range(len(logits)):
                i = start + m
                log_softmax(logits[m], batch.mask[s, i] if batch.mask.shape[1] else batch.mask[s].reshape(-1), log_p)
                batch.old_log_p[s, i] = log_p[batch.action[s, i]]


@compiled
def standardize(x: Floats) -> None:
    """Give numbers ``[M]`` mean 0 and (unbiased) standard deviation 1."""
    mean, squares = 0.0, 0.0
    for m in range(len(x)):
        mean += x[m]
    mean /= len(x)
    for m in range(len(x)):
        squares += (x[m] - mean) ** 2
    deviation = math.sqrt(squares / (len(x) - 1)) + 1e-8
    for m in range(len(x)):
        x[m] = (x[m] - mean) / deviation


@compiled
def descend_rows(
    first: int,
    last: int,
    numbers: Any,
    descent: Descent,
    policy: MLPArrays,
    value: MLPArrays,
    optimizer: Any,
    batch: OnPolicyBatch,
    order: Integers,
    active: Flags,
    losses: Floats,
) -> None:
    """Descend the loss of one minibatch after another.

    Args:
        first, last: the rows.
        numbers: of the loss, whose type chooses it; see ``slope``.
        descent: how.
        policy, value: networks that share ``flat``.
        optimizer: of ``flat``.
        batch: the transitions.
        order: those of each minibatch, ``[S, n, M]``.
        active: which rows still learn, ``[S]``; a row whose gradient is not finite stops.
        losses: the loss, its parts, and the norm of the gradient, ``[S, n, 7]``, to write into.
    """
    dtype, size = policy.flat.dtype, order.shape[2]
    f = dtype.type
    x, advantage = np.empty((size, batch.features.shape[2]), dtype), np.empty(size, dtype)
    h_policy, h_value = np.empty(room(policy.layers, size), dtype), np.empty(room(value.layers, size), dtype)
    work = np.empty((2, size * max(widest(policy.layers), widest(value.layers))), dtype)
    g, log_p = np.zeros(policy.flat.shape[1], dtype), np.empty(policy.layers[-1, 1], dtype)
    parts = np.empty(5, dtype)
    for s in range(first, last):
        p, going_on = policy.flat[s], True
        for n in range(order.shape[1]):
            for m in range(size):
                i = order[s, n, m]
                advantage[m] = batch.advantage[s, i]
                for j in range(x.shape[1]):
                    x[m, j] = batch.features[s, i, j]
            if descent.normalize_advantage:
                standardize(advantage)
            logits = forward(p, policy.layers, policy.tanh, x, h_policy)
            values = forward(p, value.layers, value.tanh, x, h_value)
            parts[:] = 0
            for m in range(size):
                i = order[s, n, m]
                values[m, 0] = slope(numbers, s, batch, i, advantage[m], logits[m], values[m, 0], log_p, parts) / f(
                    size
                )
                for a in range(logits.shape[1]):
                    logits[m, a] /= f(size)
            backward(p, policy.layers, policy.tanh, x, h_policy, logits, g, work)
            backward(p, value.layers, value.tanh, x, h_value, values, g, work)
            going_on = going_on and not parts[KL] / f(size) > f(1.5) * descent.target_kl[s]
            rate, limit = descent.learning_rate[s], descent.max_grad_norm[s]
            row = losses[s, n]
            row[6] = descend(optimizer, s, p, g, rate, limit, active, going_on)
            for k in range(5):
                row[1 + k] = parts[k] / f(size)
            row[0] = row[1 + POLICY] - numbers.ent_coef[s] * row[1 + ENTROPY] + numbers.vf_coef[s] * row[1 + VALUE]
