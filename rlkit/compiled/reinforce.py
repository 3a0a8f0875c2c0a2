"""What an iteration of REINFORCE learns from its segment, one row after another; see ``rlkit.agents.reinforce``.

Letters: S seeds, T steps, B copies, A actions, P parameters.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .arrays import copy
from .jit import compiled, reassociated
from .layout import Flags, Floats, Integers, MLPArrays, OptimizerArrays
from .learn import Rewards, explained_variance, kl_divergence
from .losses import log_softmax, policy_slope
from .mlp import backward, forward, room, widest
from .optim import descend


class Weighting(NamedTuple):
    """How the scores of a segment are weighted."""

    gamma: Floats  # [S]
    discount_states: bool
    whole: bool  # the return of the whole episode
    drop: bool  # steps of episodes that are cut do not count


class Weights(NamedTuple):
    """The weights of a segment, ``[S, T, B]`` each."""

    returns: Floats  # G
    weight: Floats  # w
    counted: Flags  # whether a step counts
    step: Integers  # steps of the episode before this one


class PlayedSegment(NamedTuple):
    """A segment by copy, ``[S, B, T, ...]``."""

    features: Floats  # [S, B, T, D]
    action: Integers
    mask: Flags  # [S, B, T, A], the allowed actions; [S, B, 0, A] where all are
    weight: Floats  # w - b, 0 where a step does not count
    counted: Flags


class PolicyDescent(NamedTuple):
    """How the policy's gradient is descended."""

    learning_rate: Floats  # [S]
    max_grad_norm: Floats  # [S]
    ent_coef: Floats  # [S]
    optimal: bool  # whether to subtract the constant of least variance, see ``rlkit.baselines.optimal_constant``


@compiled
def weigh_rows(
    first: int, last: int, weighting: Weighting, rewards: Rewards, bootstrap: Floats, before: Integers, out: Weights
) -> None:
    """Write the returns and weights of a segment; see ``rlkit.returns``.

    Args:
        first, last: the rows.
        weighting: how.
        rewards: of the segment.
        bootstrap: V of every successor, ``[S, T, B]``.
        before: steps of the running episodes before the segment, ``[S, B]``; replaced by those before the next one.
        out: to write into.
    """
    _, steps, copies = rewards.reward.shape
    zero = bootstrap.dtype.type(0)
    for s in range(first, last):
        for b in range(copies):
            following, ends, elapsed = zero, False, before[s, b]
            for t in range(steps - 1, -1, -1):
                terminated, truncated = rewards.terminated[s, t, b], rewards.truncated[s, t, b]
                if terminated:
                    following = zero
                elif truncated or t == steps - 1:
                    following = bootstrap[s, t, b]
                following = rewards.reward[s, t, b] + weighting.gamma[s] * following
                ends = terminated or (ends and not truncated)
                out.returns[s, t, b] = following
                out.counted[s, t, b] = ends or not weighting.drop
            for t in range(steps):
                out.step[s, t, b] = elapsed
                weight = out.returns[s, t, b]
                if weighting.discount_states:
                    weight *= weighting.gamma[s] ** elapsed
                begins = t == 0 or rewards.terminated[s, t - 1, b] or rewards.truncated[s, t - 1, b]
                if weighting.whole and not begins:
                    weight = out.weight[s, t - 1, b]
                out.weight[s, t, b] = weight
                ended = rewards.terminated[s, t, b] or rewards.truncated[s, t, b]
                elapsed = 0 if ended else elapsed + 1
            before[s, b] = elapsed


@reassociated
def dot(x: Floats, y: Floats) -> Any:
    """Inner product of two rows, ``[P]`` each."""
    total = x.dtype.type(0)
    for i in range(len(x)):
        total += x[i] * y[i]
    return total


@compiled
def subtract_optimal(gradient: Floats, score: Floats, product: Floats, square: Floats) -> None:
    """Subtract from each copy's gradient its score times the constant that the other copies give, ``[B, P]``."""
    copies = len(gradient)
    for b in range(copies):
        product[b], square[b] = dot(gradient[b], score[b]), dot(score[b], score[b])
    products, squares = product.sum(), square.sum()
    for b in range(copies):
        others = squares - square[b]
        if others > 0:
            constant = (products - product[b]) / max(others, np.finfo(gradient.dtype).tiny)
            for i in range(gradient.shape[1]):
                gradient[b, i] -= constant * score[b, i]


@compiled
def mean_and_variance(gradient: Floats, mean: Floats) -> float:
    """Write the mean over copies ``[P]`` of gradients ``[B, P]``; return the variance of the mean, summed over P."""
    copies, total = len(gradient), 0.0
    for i in range(gradient.shape[1]):
        average, squares = 0.0, 0.0
        for b in range(copies):
            average += gradient[b, i]
        average /= copies
        for b in range(copies):
            squares += (gradient[b, i] - average) ** 2
        mean[i] = average
        total += squares
    return total / (copies - 1) / copies if copies > 1 else 0.0


@compiled
def descend_policy_rows(
    first: int,
    last: int,
    descent: PolicyDescent,
    policy: MLPArrays,
    optimizer: OptimizerArrays,
    played: PlayedSegment,
    active: Flags,
    log: Floats,
) -> None:
    """Make one step of the policy.

    Args:
        first, last: the rows.
        descent: how.
        policy: the network.
        optimizer: of its parameters.
        played: the segment.
        active: which rows still learn, ``[S]``; a row whose gradient is not finite stops.
        log: loss, entropy, KL(pi before, pi after), norm of the gradient and its variance, ``[S, 5]``, to write into.
    """
    _, copies, steps, _ = played.features.shape
    layers, tanh, dtype = policy.layers, policy.tanh, policy.flat.dtype
    f, actions, size = dtype.type, layers[-1, 1], policy.flat.shape[1]
    h, work = np.empty(room(layers, steps), dtype), np.empty((2, steps * widest(layers)), dtype)
    log_p, entropy = np.empty((copies, steps, actions), dtype), np.empty(steps, dtype)
    after, by_log_p = np.empty((steps, actions), dtype), np.empty(steps, dtype)
    gradient, g = np.zeros((copies, size), dtype), np.zeros(size, dtype)
    score, bonus = (np.zeros((copies, size), dtype), np.zeros(size, dtype)) if descent.optimal else (gradient, g)
    product, square = np.empty(copies, dtype), np.empty(copies, dtype)
    for s in range(first, last):
        p, ent_coef = policy.flat[s], descent.ent_coef[s]
        log[s] = 0
        for b in range(copies):
            x = played.features[s, b]
            d = forward(p, layers, tanh, x, h)
            log_softmax(d, played.mask[s, b], log_p[b], entropy)
            for t in range(steps):
                log[s, 0] -= played.weight[s, b, t] * log_p[b, t, played.action[s, b, t]] / f(steps * copies)
                log[s, 1] += entropy[t] / f(steps * copies)
                by_log_p[t] = -played.weight[s, b, t] / f(steps)
            bonus_coef = f(0) if descent.optimal else ent_coef / f(steps)  # where -H is not subtracted from
            policy_slope(log_p[b], entropy, played.action[s, b], by_log_p, bonus_coef, d)
            backward(p, layers, tanh, x, h, d, gradient[b], work)
            if descent.optimal:
                for t in range(steps):
                    by_log_p[t] = f(-1) / f(steps) if played.counted[s, b, t] else f(0)
                policy_slope(log_p[b], entropy, played.action[s, b], by_log_p, f(0), d)
                backward(p, layers, tanh, x, h, d, score[b], work)
        if descent.optimal:
            subtract_optimal(gradient, score, product, square)
            by_log_p[:] = 0
            for b in range(copies):
                x = played.features[s, b]
                d = forward(p, layers, tanh, x, h)
                log_softmax(d, played.mask[s, b], log_p[b], entropy)
                policy_slope(log_p[b], entropy, played.action[s, b], by_log_p, ent_coef / f(steps), d)
                backward(p, layers, tanh, x, h, d, bonus, work)
                for i in range(size):
                    gradient[b, i] += bonus[i]
        log[s, 4] = mean_and_variance(gradient, g)
        log[s, 3] = descend(optimizer, s, p, g, descent.learning_rate[s], descent.max_grad_norm[s], active, True)
        for b in range(copies):
            d = forward(p, layers, tanh, played.features[s, b], h)
            log_softmax(d, played.mask[s, b], after, entropy)
            log[s, 2] += kl_divergence(log_p[b], after) / f(copies)


@compiled
def fit_value_rows(
    first: int,
    last: int,
    times: int,
    learning_rate: Floats,
    max_grad_norm: Floats,
    value: MLPArrays,
    optimizer: OptimizerArrays,
    features: Floats,
    target: Floats,
    active: Flags,
    log: Floats,
) -> None:
    """Make gradient steps of V on the squared error to the returns.

    Args:
        first, last: the rows.
        times: steps.
        learning_rate, max_grad_norm: ``[S]``.
        value: the network.
        optimizer: of its parameters.
        features: ``[S, N, D]``.
        target: G, ``[S, N]``.
        active: which rows still learn, ``[S]``; a row whose gradient is not finite stops.
        log: the first loss, and the variance of G that V explained before, ``[S, 2]``, to write into.
    """
    count, dtype = features.shape[1], value.flat.dtype
    h, work = np.empty(room(value.layers, count), dtype), np.empty((2, count * widest(value.layers)), dtype)
    g, before = np.zeros(value.flat.shape[1], dtype), np.empty(count, dtype)
    f = dtype.type
    for s in range(first, last):
        p = value.flat[s]
        for n in range(times):
            d = forward(p, value.layers, value.tanh, features[s], h)
            if n == 0:
                copy(d[:, 0], before)
                loss = 0.0
                for i in range(count):
                    loss += (before[i] - target[s, i]) ** 2
                log[s, 0] = loss / count
                log[s, 1] = explained_variance(before, target[s])
            for i in range(count):
                d[i, 0] = f(2) * (d[i, 0] - target[s, i]) / f(count)
            backward(p, value.layers, value.tanh, features[s], h, d, g, work)
            descend(optimizer, s, p, g, learning_rate[s], max_grad_norm[s], active, True)
