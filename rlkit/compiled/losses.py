"""Derivatives of the losses of ``rlkit.agents`` by the outputs of the networks, one minibatch at a time.

The losses are stated in the algorithms' own files. A slope has the name of its loss, is chosen by the type of its
numbers, and equals what autograd makes of the loss. Letters: K iterations, S seeds, M transitions, A actions. Loops
read arrays by all their indices: a view of every transition would cost more than its arithmetic.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .jit import compiled, implementation, inlined, of
from .layout import Flags, Floats, Integers

POLICY, VALUE, ENTROPY, KL, CLIPPED = range(5)  # parts of a loss, summed over a minibatch


class OnPolicyBatch(NamedTuple):
    """Transitions of one row and what they teach, ``[M, ...]``."""

    features: Floats  # [M, D]
    action: Integers
    mask: Flags  # [M, A], the allowed actions; [0, A] where all are
    old_log_p: Floats  # log pi_old(a|s)
    old_value: Floats
    advantage: Floats
    target: Floats  # R


class PPONumbers(NamedTuple):
    """The hyper-parameters in PPO's loss."""

    clip_range: Floats  # [K, S]
    clip_range_vf: Floats  # [K, S]
    limits_value: bool  # whether clip_range_vf is used
    ent_coef: Floats  # [S]
    vf_coef: Floats  # [S]


class A2CNumbers(NamedTuple):
    """The hyper-parameters in A2C's loss, ``[S]`` each."""

    ent_coef: Floats
    vf_coef: Floats


@inlined
def allows(mask: Flags, m: int, a: int) -> bool:
    """Return whether ``mask [M, A]`` allows an action; ``[0, A]`` allows all."""
    return len(mask) == 0 or mask[m, a]


@compiled
def log_softmax(logits: Floats, mask: Flags, log_p: Floats, entropy: Floats) -> None:
    """Write log softmax over the allowed actions, ``[M, A]``, and its entropy, ``[M]``.

    An action that is not allowed has the lowest finite number.

    Args:
        logits: ``[M, A]``.
        mask: the allowed actions, ``[M, A]``; ``[0, A]`` where all are.
        log_p, entropy: to write into.
    """
    f, lowest = logits.dtype.type, logits.dtype.type(np.finfo(logits.dtype).min)
    for m in range(len(logits)):
        largest, total, mean = lowest, f(0), f(0)
        for a in range(logits.shape[1]):
            if allows(mask, m, a):
                largest = logits[m, a] if not logits[m, a] <= largest else largest  # NaN stays
        for a in range(logits.shape[1]):
            if allows(mask, m, a):
                total += math.exp(logits[m, a] - largest)
        log_total = largest + math.log(total)
        for a in range(logits.shape[1]):
            log_p[m, a] = logits[m, a] - log_total if allows(mask, m, a) else lowest
            mean -= math.exp(log_p[m, a]) * log_p[m, a]
        entropy[m] = mean


@compiled
def clamp(x: float, low: float, high: float) -> float:
    """Return x within bounds; NaN stays."""
    x = low if x < low else x
    return high if x > high else x


@compiled
def policy_slope(
    log_p: Floats, entropy: Floats, action: Integers, by_log_p: Floats, ent_coef: float, out: Floats
) -> None:
    """Write the derivative by the logits ``[M, A]`` of functions of log pi(a) less ``ent_coef`` times the entropy.

    Args:
        log_p: log pi, ``[M, A]`` or more.
        entropy: of pi, ``[M]``.
        action: a, ``[M]``.
        by_log_p: the functions' derivatives by log pi(a), ``[M]``.
        ent_coef: of the entropy.
        out: ``[M, A]``.
    """
    f = log_p.dtype.type
    for m in range(len(out)):
        for a in range(out.shape[1]):
            p = math.exp(log_p[m, a])
            by_logit = by_log_p[m] * ((f(1) if a == action[m] else f(0)) - p)
            out[m, a] = by_logit + ent_coef * p * (log_p[m, a] + entropy[m])


def slope(
    numbers: Any,
    k: int,
    s: int,
    batch: OnPolicyBatch,
    logits: Floats,
    value: Floats,
    log_p: Floats,
    entropy: Floats,
    parts: Floats,
) -> None:
    """Replace the outputs of the networks by the derivatives of the loss, a mean over M, by them.

    Args:
        numbers: of the loss.
        k, s: iteration and row.
        batch: the minibatch, whose advantages are replaced by the loss's derivatives by log pi(a|s).
        logits: ``[M, A]``, overwritten.
        value: V(s), ``[M, 1]``, overwritten.
        log_p, entropy: ``[M, A]`` and ``[M]``, to write log pi and its entropy into.
        parts: ``[5]``, to which the parts of the loss are added, summed over M.
    """
    raise NotImplementedError


@implementation(slope, of(PPONumbers))
def ppo_loss(numbers: Any, k: Any, s: Any, batch: Any, logits: Any, value: Any, log_p: Any, entropy: Any, parts: Any):  # type: ignore[no-untyped-def]
    """-min(r A, clip(r) A) - ent_coef H + vf_coef (V - R)^2, see ``rlkit.agents.ppo``."""
    f, size = logits.dtype.type, logits.dtype.type(len(logits))
    clip, limit = numbers.clip_range[k, s], numbers.clip_range_vf[k, s]
    log_softmax(logits, batch.mask, log_p, entropy)
    for m in range(len(logits)):
        log_ratio, advantage = log_p[m, batch.action[m]] - batch.old_log_p[m], batch.advantage[m]
        ratio = math.exp(log_ratio)
        bound = clamp(ratio, f(1) - clip, f(1) + clip) * advantage
        clipped = ratio * advantage > bound
        batch.advantage[m] = f(0) if clipped else -ratio * advantage / size
        change, error = value[m, 0] - batch.old_value[m], value[m, 0] - batch.target[m]
        by_value = f(2) * error
        if numbers.limits_value:
            error = batch.old_value[m] + clamp(change, -limit, limit) - batch.target[m]
            by_value = f(0) if abs(change) > limit else f(2) * error
        value[m, 0] = numbers.vf_coef[s] * by_value / size
        parts[POLICY] -= bound if clipped else ratio * advantage
        parts[VALUE] += error * error
        parts[ENTROPY] += entropy[m]
        parts[KL] += (ratio - f(1)) - log_ratio
        parts[CLIPPED] += abs(ratio - f(1)) > clip
    policy_slope(log_p, entropy, batch.action, batch.advantage, numbers.ent_coef[s] / size, logits)


@implementation(slope, of(A2CNumbers))
def a2c_loss(numbers: Any, k: Any, s: Any, batch: Any, logits: Any, value: Any, log_p: Any, entropy: Any, parts: Any):  # type: ignore[no-untyped-def]
    """-A log pi(a|s) - ent_coef H + vf_coef (V - R)^2, see ``rlkit.agents.a2c``."""
    f, size = logits.dtype.type, logits.dtype.type(len(logits))
    log_softmax(logits, batch.mask, log_p, entropy)
    for m in range(len(logits)):
        advantage, error = batch.advantage[m], value[m, 0] - batch.target[m]
        batch.advantage[m] = -advantage / size
        value[m, 0] = numbers.vf_coef[s] * f(2) * error / size
        parts[POLICY] -= advantage * log_p[m, batch.action[m]]
        parts[VALUE] += error * error
        parts[ENTROPY] += entropy[m]
    policy_slope(log_p, entropy, batch.action, batch.advantage, numbers.ent_coef[s] / size, logits)


@compiled
def dqn_loss(
    q: Floats, action: Integers, target: Floats, importance: Floats, squared: bool, d: Floats, error: Floats
) -> None:
    """Differentiate the mean over M of w loss(Q(s, a) - y) by Q, see ``dqn_loss`` of ``rlkit.agents.dqn``.

    Args:
        q: ``[M, A]``.
        action: ``[M]``.
        target: y, ``[M]``.
        importance: w, ``[M]``.
        squared: whether the loss is half the square, else Huber's with delta 1.
        d: to write the derivative into, ``[M, A]``.
        error: to write Q(s, a) - y into, ``[M]``.
    """
    d[:] = 0
    for m in range(len(q)):
        error[m] = e = q[m, action[m]] - target[m]
        if not squared:  # NaN stays
            e = 1 if e > 1 else -1 if e < -1 else e
        d[m, action[m]] = importance[m] * e / len(q)
