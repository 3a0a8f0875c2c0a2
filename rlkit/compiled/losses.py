"""Derivatives of the losses of ``rlkit.agents`` by the outputs of the networks, one transition at a time.

The losses are stated in the algorithms' own files. A slope has the name of its loss, is chosen by the type of its
numbers, and equals what autograd makes of the loss. Letters: S seeds, N transitions, A actions.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .jit import compiled, implementation, of
from .layout import Flags, Floats, Integers

POLICY, VALUE, ENTROPY, KL, CLIPPED = range(5)  # parts of a loss, summed over a minibatch


class OnPolicyBatch(NamedTuple):
    """What a segment teaches, ``[S, N, ...]``."""

    features: Floats  # [S, N, D]
    action: Integers
    mask: Flags  # [S, N, A], the allowed actions; [S, 0, A] where all are
    old_log_p: Floats  # log pi_old(a|s)
    old_value: Floats
    advantage: Floats
    target: Floats  # R


class PPONumbers(NamedTuple):
    """The hyper-parameters in PPO's loss, ``[S]`` each."""

    clip_range: Floats
    clip_range_vf: Floats
    limits_value: bool  # whether clip_range_vf is used
    ent_coef: Floats
    vf_coef: Floats


class A2CNumbers(NamedTuple):
    """The hyper-parameters in A2C's loss, ``[S]`` each."""

    ent_coef: Floats
    vf_coef: Floats


@compiled
def log_softmax(logits: Floats, allowed: Flags, log_p: Floats) -> Any:
    """Write log softmax over the allowed actions, ``[A]`` each; return the entropy.

    ``allowed`` may be empty: then all are. An action that is not allowed has the lowest finite number.
    """
    f = logits.dtype.type
    masked, lowest = len(allowed) > 0, f(np.finfo(logits.dtype).min)
    largest, total, entropy = lowest, f(0), f(0)
    for a in range(len(logits)):
        if not masked or allowed[a]:
            largest = logits[a] if not logits[a] <= largest else largest  # NaN stays
    for a in range(len(logits)):
        if not masked or allowed[a]:
            total += math.exp(logits[a] - largest)
    log_total = largest + math.log(total)
    for a in range(len(logits)):
        log_p[a] = lowest if masked and not allowed[a] else logits[a] - log_total
        entropy -= math.exp(log_p[a]) * log_p[a]
    return entropy


@compiled
def clamp(x: float, low: float, high: float) -> float:
    """Return x within bounds; NaN stays."""
    x = low if x < low else x
    return high if x > high else x


@compiled
def policy_slope(log_p: Floats, entropy: float, action: int, by_log_p: float, ent_coef: float, out: Floats) -> None:
    """Write the derivative by the logits ``[A]`` of a function of log pi(a) less ``ent_coef`` times the entropy.

    Args:
        log_p: log pi, ``[A]``.
        entropy: of pi.
        action: a.
        by_log_p: the function's derivative by log pi(a).
        ent_coef: of the entropy.
        out: ``[A]``.
    """
    f = log_p.dtype.type
    for k in range(len(log_p)):
        p = math.exp(log_p[k])
        out[k] = by_log_p * ((f(1) if k == action else f(0)) - p) + ent_coef * p * (log_p[k] + entropy)


def slope(
    numbers: Any,
    s: int,
    batch: OnPolicyBatch,
    i: int,
    advantage: float,
    logits: Floats,
    value: float,
    log_p: Floats,
    parts: Any,
) -> float:
    """Replace the logits of a transition by the loss's derivatives by them; return that by the value.

    Args:
        numbers: of the loss.
        s, i: row and number of the transition.
        batch: its transitions.
        advantage: A, normalized if it is to be.
        logits: ``[A]``, overwritten.
        value: V(s).
        log_p: ``[A]``, to write log pi into.
        parts: ``[5]``, to which the parts of the loss are added.
    """
    raise NotImplementedError


@implementation(slope, of(PPONumbers))
def ppo_loss(numbers: Any, s: Any, batch: Any, i: Any, advantage: Any, logits: Any, value: Any, log_p: Any, parts: Any):  # type: ignore[no-untyped-def]
    """-min(r A, clip(r) A) - ent_coef H + vf_coef (V - R)^2, see ``rlkit.agents.ppo``."""
    f = logits.dtype.type
    clip, action = numbers.clip_range[s], batch.action[s, i]
    entropy = log_softmax(logits, batch.mask[s, i] if batch.mask.shape[1] else batch.mask[s].reshape(-1), log_p)
    log_ratio = log_p[action] - batch.old_log_p[s, i]
    ratio = math.exp(log_ratio)
    bound = clamp(ratio, f(1) - clip, f(1) + clip) * advantage
    clipped = ratio * advantage > bound
    by_log_p = f(0) if clipped else -ratio * advantage
    change, error = value - batch.old_value[s, i], value - batch.target[s, i]
    by_value = f(2) * error
    if numbers.limits_value:
        limit = numbers.clip_range_vf[s]
        error = batch.old_value[s, i] + clamp(change, -limit, limit) - batch.target[s, i]
        by_value = f(0) if abs(change) > limit else f(2) * error
    policy_slope(log_p, entropy, action, by_log_p, numbers.ent_coef[s], logits)
    parts[POLICY] -= bound if clipped else ratio * advantage
    parts[VALUE] += error * error
    parts[ENTROPY] += entropy
    parts[KL] += (ratio - f(1)) - log_ratio
    parts[CLIPPED] += abs(ratio - f(1)) > clip
    return numbers.vf_coef[s] * by_value


@implementation(slope, of(A2CNumbers))
def a2c_loss(numbers: Any, s: Any, batch: Any, i: Any, advantage: Any, logits: Any, value: Any, log_p: Any, parts: Any):  # type: ignore[no-untyped-def]
    """-A log pi(a|s) - ent_coef H + vf_coef (V - R)^2, see ``rlkit.agents.a2c``."""
    f = logits.dtype.type
    action, error = batch.action[s, i], value - batch.target[s, i]
    entropy = log_softmax(logits, batch.mask[s, i] if batch.mask.shape[1] else batch.mask[s].reshape(-1), log_p)
    policy_slope(log_p, entropy, action, -advantage, numbers.ent_coef[s], logits)
    parts[POLICY] -= advantage * log_p[action]
    parts[VALUE] += error * error
    parts[ENTROPY] += entropy
    return numbers.vf_coef[s] * f(2) * error


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
