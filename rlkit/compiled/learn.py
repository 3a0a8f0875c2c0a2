"""Learning of PPO and A2C from the segment of an iteration, one row after another.

One call does a bounded amount of work: Python loops over blocks of rows, so signals are handled in between. Letters:
K iterations, S rows, N transitions of a segment, n minibatches of M of them, D features, A actions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .arrays import copy
from .iterations import PlayArrays, learn, workspace
from .jit import compiled, implementation, of, reassociated
from .layout import Flags, Floats, Integers, MLPArrays, OptimizerArrays
from .losses import ENTROPY, KL, POLICY, VALUE, OnPolicyBatch, log_softmax, slope
from .mlp import backward, forward, room, widest
from .optim import descend
from .rollout import read

CHUNK = 128  # observations evaluated at once
WORK = 2**27  # multiply-adds of one call, unless a single row has more: about 10 ms


class Rewards(NamedTuple):
    """Rewards and ends of a segment, ``[S, T, B]``, or ``[T, B]`` of one row."""

    reward: Floats
    terminated: Flags
    truncated: Flags


class ActorCriticArrays(NamedTuple):
    """Networks, optimizers and hyper-parameters of S rows."""

    policy: MLPArrays
    value: MLPArrays  # shares ``flat`` with the policy
    optimizer: OptimizerArrays  # of ``flat``
    gamma: Floats  # [S]
    gae_lambda: Floats  # [S]
    max_grad_norm: Floats  # [S]
    target_kl: Floats  # [S], infinite for no limit
    normalize_advantage: bool
    active: Flags  # [S], which rows still learn; one whose gradient is not finite stops


class OnPolicyPlan(NamedTuple):
    """The numbers of the updates of K iterations."""

    numbers: Any  # of the loss, whose type chooses it; see ``slope``
    learning_rate: Floats  # [K, S]
    order: Integers  # [K E, S, N], partitions for E passes over each batch; [0, S, N] for the order of time
    passes: int  # E
    size: int  # M, of a minibatch
    measures_kl: Flags  # [K], whether to measure KL(pi before, pi after)


class OnPolicyLog(NamedTuple):
    """Numbers of K iterations, to write into."""

    losses: Floats  # [K, S, n, 7]: the loss, its parts, and the norm of the gradient
    explained: Floats  # [K, S], variance of R explained by V
    kl: Floats  # [K, S], of the iterations that measure it


class OnPolicyLearner(NamedTuple):
    """Arguments of the iterations of PPO and A2C: networks, numbers of the updates, and the log to write into."""

    networks: ActorCriticArrays
    plan: OnPolicyPlan
    log: OnPolicyLog


class OnPolicySegments(NamedTuple):
    """Segments of S rows that were played before, with their features."""

    features: Floats  # [S, N, D]
    next_features: Floats  # [S, N, D]
    action: Integers  # [S, N]
    mask: Flags  # [S, N, A], the allowed actions; [S, 0, A] where all are
    rewards: Rewards


class OnPolicyMemory(NamedTuple):
    """Arrays that every iteration writes over."""

    batch: OnPolicyBatch  # [N, ...]
    next_features: Floats  # [N, D]
    next_value: Floats  # [N]
    elsewhere: Integers  # [N], transitions whose successor is not the next observation
    there: Floats  # [N, D], features of these successors
    minibatch: OnPolicyBatch  # [M, ...]
    chosen: Integers  # [M]
    h: Floats  # outputs of the policy's layers
    h_value: Floats
    work: Floats  # [2, M width]
    gradient: Floats  # [P]
    before: Floats  # [N, A], log pi
    after: Floats  # [N, A], or of a minibatch
    entropy: Floats  # [N]
    parts: Floats  # [5], of the loss


def blocks(rows: int, work: int) -> Iterator[tuple[int, int]]:
    """Cut rows into blocks of at most ``WORK`` multiply-adds, of which one row has ``work``."""
    at_once = max(WORK // max(work, 1), 1)
    for first in range(0, rows, at_once):
        yield first, min(first + at_once, rows)


@compiled
def empty_batch(count: int, inputs: int, actions: int, masks: int, like: Floats) -> OnPolicyBatch:
    """Return arrays for ``count`` transitions, ``masks`` of which have allowed actions."""
    kind = like.dtype
    return OnPolicyBatch(
        np.empty((count, inputs), kind),
        np.empty(count, np.int64),
        np.empty((masks, actions), np.bool_),
        np.empty(count, kind),
        np.empty(count, kind),
        np.empty(count, kind),
        np.empty(count, kind),
    )


@compiled
def memory_of(networks: ActorCriticArrays, size: int, count: int, masked: bool) -> OnPolicyMemory:
    """Return memory for iterations on ``count`` transitions in minibatches of ``size``."""
    policy, value = networks.policy.layers, networks.value.layers
    flat, kind = networks.policy.flat, networks.policy.flat.dtype
    inputs, actions, most = policy[0, 0], policy[-1, 1], max(size, CHUNK)
    return OnPolicyMemory(
        empty_batch(count, inputs, actions, count if masked else 0, flat),
        np.empty((count, inputs), kind),
        np.empty(count, kind),
        np.empty(count, np.int64),
        np.empty((count, inputs), kind),
        empty_batch(size, inputs, actions, size if masked else 0, flat),
        np.empty(size, np.int64),
        np.empty(room(policy, most), kind),
        np.empty(room(value, most), kind),
        np.empty((2, size * max(widest(policy), widest(value))), kind),
        np.zeros(flat.shape[1], kind),
        np.empty((count, actions), kind),
        np.empty((count, actions), kind),
        np.empty(count, kind),
        np.empty(5, kind),
    )


@compiled
def evaluate(p: Floats, network: MLPArrays, x: Floats, h: Floats, value: Floats) -> None:
    """Write the values ``[N]`` of observations ``[N, D]``; ``h`` has room for ``CHUNK`` of them."""
    for start in range(0, len(x), CHUNK):
        y = forward(p, network.layers, network.tanh, x[start : start + CHUNK], h)
        for m in range(len(y)):
            value[start + m] = y[m, 0]


@compiled
def log_policy(p: Floats, network: MLPArrays, batch: OnPolicyBatch, h: Floats, log_p: Floats, entropy: Floats) -> None:
    """Write log pi of a batch, ``[N, A]``, and its entropy, ``[N]``; ``h`` has room for ``CHUNK`` observations."""
    for start in range(0, len(log_p), CHUNK):
        stop = start + CHUNK
        logits = forward(p, network.layers, network.tanh, batch.features[start:stop], h)
        log_softmax(logits, batch.mask[start:stop], log_p[start:stop], entropy[start:stop])


@compiled
def same(one: Floats, m: int, other: Floats, n: int) -> bool:
    """Return whether rows m and n of two arrays ``[N, D]`` are equal; NaN equals nothing."""
    for j in range(one.shape[1]):  # noqa: SIM110 - not for numba
        if one[m, j] != other[n, j]:
            return False
    return True


@compiled
def evaluate_successors(p: Floats, network: MLPArrays, copies: int, work: OnPolicyMemory) -> None:
    """Write V of every successor into ``next_value``.

    The value of a successor that is the next observation of its copy is known already. The others, at the ends of
    episodes and of the segment, are evaluated.
    """
    x, next_x, count = work.batch.features, work.next_features, 0
    for i in range(len(x)):
        if i + copies < len(x) and same(next_x, i, x, i + copies):
            work.next_value[i] = work.batch.old_value[i + copies]
        else:
            for j in range(x.shape[1]):
                work.there[count, j] = next_x[i, j]
            work.elsewhere[count] = i
            count += 1
    values = work.entropy[:count]
    evaluate(p, network, work.there[:count], work.h_value, values)
    for c in range(count):
        work.next_value[work.elsewhere[c]] = values[c]


@compiled
def gae(
    rewards: Rewards, value: Floats, next_value: Floats, gamma: float, gae_lambda: float, advantage: Floats
) -> None:
    """Write generalized advantage estimates of a row, ``[T B]`` each (Schulman et al. 2016, equation 16)."""
    steps, copies = rewards.reward.shape
    zero = value.dtype.type(0)
    for b in range(copies):
        following = zero
        for t in range(steps - 1, -1, -1):
            i = t * copies + b
            ahead = zero if rewards.terminated[t, b] else gamma * next_value[i]
            delta = rewards.reward[t, b] + ahead - value[i]
            ended = rewards.terminated[t, b] or rewards.truncated[t, b]
            following = delta + (zero if ended else gamma * gae_lambda * following)
            advantage[i] = following


@reassociated
def explained_variance(value: Floats, target: Floats) -> float:
    """Return 1 - Var[R - V] / Var[R] of values and returns, ``[N]`` both."""
    count, mean, mean_error, squares, errors = len(value), 0.0, 0.0, 0.0, 0.0
    for i in range(count):
        mean += target[i]
        mean_error += target[i] - value[i]
    mean, mean_error = mean / count, mean_error / count
    for i in range(count):
        squares += (target[i] - mean) ** 2
        errors += (target[i] - value[i] - mean_error) ** 2
    return 1.0 - errors / squares


@compiled
def prepare(s: int, networks: ActorCriticArrays, rewards: Rewards, work: OnPolicyMemory) -> float:
    """Write V, A, R = A + V and log pi of row s into the batch; return the variance of R that V explains.

    Args:
        s: the row.
        networks: of all rows.
        rewards: of the row, ``[T, B]``.
        work: with features, actions and masks of the batch.
    """
    p, batch = networks.policy.flat[s], work.batch
    evaluate(p, networks.value, batch.features, work.h_value, batch.old_value)
    evaluate_successors(p, networks.value, rewards.reward.shape[1], work)
    gae(rewards, batch.old_value, work.next_value, networks.gamma[s], networks.gae_lambda[s], batch.advantage)
    log_policy(p, networks.policy, batch, work.h, work.before, work.entropy)
    for i in range(len(batch.target)):
        batch.target[i] = batch.advantage[i] + batch.old_value[i]
        batch.old_log_p[i] = work.before[i, batch.action[i]]
    return explained_variance(batch.old_value, batch.target)


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
def choose(plan: OnPolicyPlan, k: int, s: int, n: int, count: int, chosen: Integers) -> None:
    """Write the transitions of minibatch n, out of ``count``, in iteration k of row s."""
    start = n * plan.size % count
    for m in range(plan.size):
        chosen[m] = plan.order[k * plan.passes + n * plan.size // count, s, start + m] if len(plan.order) else start + m


@compiled
def gather(batch: OnPolicyBatch, chosen: Integers, out: OnPolicyBatch) -> None:
    """Write the transitions ``chosen [M]`` of a batch into a minibatch."""
    for m in range(len(chosen)):
        i = chosen[m]
        for j in range(batch.features.shape[1]):
            out.features[m, j] = batch.features[i, j]
        out.action[m], out.old_log_p[m], out.old_value[m] = batch.action[i], batch.old_log_p[i], batch.old_value[i]
        out.advantage[m], out.target[m] = batch.advantage[i], batch.target[i]
    for m in range(len(out.mask)):
        for a in range(out.mask.shape[1]):
            out.mask[m, a] = batch.mask[chosen[m], a]


@compiled
def descend_minibatch(
    s: int, k: int, n: int, networks: ActorCriticArrays, plan: OnPolicyPlan, log: OnPolicyLog, work: OnPolicyMemory,
    going_on: bool,
) -> bool:  # fmt: skip
    """Take a step of row s down the loss of its minibatch n in iteration k, unless its policy has moved too far.

    Arguments as of ``learn_row``.

    Returns:
        whether its policy is still near that of the batch.
    """
    policy, value, batch, numbers, parts = networks.policy, networks.value, work.minibatch, plan.numbers, work.parts
    p, size = policy.flat[s], policy.flat.dtype.type(plan.size)
    if networks.normalize_advantage:
        standardize(batch.advantage)
    logits = forward(p, policy.layers, policy.tanh, batch.features, work.h)
    values = forward(p, value.layers, value.tanh, batch.features, work.h_value)
    parts[:] = 0
    slope(numbers, k, s, batch, logits, values, work.after, work.entropy, parts)
    backward(p, policy.layers, policy.tanh, batch.features, work.h, logits, work.gradient, work.work)
    backward(p, value.layers, value.tanh, batch.features, work.h_value, values, work.gradient, work.work)
    for part in range(5):
        parts[part] /= size
        log.losses[k, s, n, 1 + part] = parts[part]
    bonus, error = numbers.ent_coef[s] * parts[ENTROPY], numbers.vf_coef[s] * parts[VALUE]
    log.losses[k, s, n, 0] = parts[POLICY] - bonus + error
    going_on = going_on and not parts[KL] > policy.flat.dtype.type(1.5) * networks.target_kl[s]
    rate, limit = plan.learning_rate[k, s], networks.max_grad_norm[s]
    optimizer, active = networks.optimizer, networks.active
    log.losses[k, s, n, 6] = descend(optimizer, s, p, work.gradient, rate, limit, active, going_on)
    return going_on


@compiled
def learn_row(s: int, k: int, learner: OnPolicyLearner, rewards: Rewards, work: OnPolicyMemory) -> None:
    """Learn from the batch of row s in iteration k: descend the loss of one minibatch after another.

    Args:
        s, k: row and iteration.
        learner: of all rows.
        rewards: of the row, ``[T, B]``.
        work: with features, actions and masks of the batch.
    """
    networks, plan, log = learner.networks, learner.plan, learner.log
    log.explained[k, s] = prepare(s, networks, rewards, work)
    count, going_on = len(work.batch.action), True
    for n in range(log.losses.shape[2]):
        choose(plan, k, s, n, count, work.chosen)
        gather(work.batch, work.chosen, work.minibatch)
        going_on = descend_minibatch(s, k, n, networks, plan, log, work, going_on)
    if plan.measures_kl[k]:
        log_policy(networks.policy.flat[s], networks.policy, work.batch, work.h, work.after, work.entropy)
        log.kl[k, s] = kl_divergence(work.before, work.after)


@compiled
def kl_divergence(log_p: Floats, log_q: Floats) -> Any:
    """Return the mean of KL(p, q) over distributions, ``[N, A]`` both."""
    total = log_p.dtype.type(0)
    for i in range(len(log_p)):
        for a in range(log_p.shape[1]):
            total += math.exp(log_p[i, a]) * (log_p[i, a] - log_q[i, a])
    return total / log_p.dtype.type(len(log_p))


@implementation(workspace, of(OnPolicyLearner), reassociated=False)
def _workspace(learner: Any, play: Any) -> Any:
    count = play.running.state.shape[1] * (len(play.u) // len(learner.plan.measures_kl))
    return memory_of(learner.networks, learner.plan.size, count, False)


@implementation(learn, of(OnPolicyLearner), reassociated=False)
def _learn(learner: Any, s: int, k: int, play: PlayArrays, begin: int, end: int, work: Any) -> None:
    segment, i = play.segment, 0
    for t in range(begin, end):
        for b in range(segment.action.shape[2]):
            read(play.numbers, segment.state[s, t, b], work.batch.features[i])
            read(play.numbers, segment.next_state[s, t, b], work.next_features[i])
            work.batch.action[i] = segment.action[s, t, b]
            i += 1
    ends = segment.terminated[s, begin:end], segment.truncated[s, begin:end]
    learn_row(s, k, learner, Rewards(segment.reward[s, begin:end], ends[0], ends[1]), work)


@compiled
def learn_rows(first: int, last: int, learner: OnPolicyLearner, segments: OnPolicySegments) -> None:
    """Learn from segments of rows ``first .. last`` that were played before, in one iteration."""
    rewards, masked = segments.rewards, segments.mask.shape[1] > 0
    iteration: Any = np.int64(0)  # for a literal 0 the row's updates would be compiled a second time
    work = memory_of(learner.networks, learner.plan.size, segments.action.shape[1], masked)
    for s in range(first, last):
        for i in range(segments.action.shape[1]):
            copy(segments.features[s, i], work.batch.features[i])
            copy(segments.next_features[s, i], work.next_features[i])
            work.batch.action[i] = segments.action[s, i]
        for i in range(segments.mask.shape[1]):
            copy(segments.mask[s, i], work.batch.mask[i])
        row = Rewards(rewards.reward[s], rewards.terminated[s], rewards.truncated[s])
        learn_row(s, iteration, learner, row, work)
