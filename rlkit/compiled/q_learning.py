"""Q-learning of one row: minibatches from its replay, targets, and gradient steps (Mnih et al. 2015, algorithm 1)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import mlp, optim, replay
from .arrays import copy, shift
from .iterations import PlayArrays, learn, workspace
from .jit import compiled, implementation, of
from .layout import Flags, Floats, Integers, MLPArrays, OptimizerArrays, PriorityArrays, ReplayArrays, TransitionArrays
from .losses import dqn_loss
from .rollout import Scaling, act, normalize, scratch

CLIP = 10.0  # of normalized rewards, as in rlkit.nn.normalization


class QArrays(NamedTuple):
    """S networks of action values; Q = V + A - mean A if they are dueling."""

    advantage: MLPArrays  # or the action values themselves
    value: MLPArrays  # of no layers if the network is not dueling


class QLearning(NamedTuple):
    """What the updates of S rows read and write."""

    online: QArrays
    target: QArrays
    optimizer: OptimizerArrays
    powers: Floats  # [S, n + 1], gamma^0, ..., gamma^n
    max_norm: Floats  # [S]
    double: bool  # whether the online network selects the action of the target
    squared: bool  # whether the loss is half the square, else Huber's
    one_hot: bool  # whether an observation is an index
    active: Flags  # [S], which rows still learn
    unsound: Flags  # [S], whose loss was not finite


class EpsilonGreedy(NamedTuple):
    """Random actions with probability epsilon, else greedy ones."""

    q: QArrays
    epsilon: Floats  # [T, S]
    single_coin: bool  # whether the first copy's coin decides for all
    num_actions: int


class Exploration(NamedTuple):
    """How epsilon falls: linearly over a fraction of training, ``[S]`` each, see ``DQN.epsilons``."""

    fraction: Floats
    initial: Floats
    final: Floats
    learning_starts: int  # steps with epsilon 1


class Schedules(NamedTuple):
    """The numbers of the updates of K iterations."""

    rate: Floats  # learning rate, [K, S]
    beta: NDArray[np.float64]  # exponent of the importance weights, [K, S]
    deviation: NDArray[np.float64]  # of returns, by which rewards are divided, [S, 1]; [S, 0] where they are not
    share: Floats  # by which the target network moves, [K, n + 1, S]: before the updates, and after each of them


class UpdateLog(NamedTuple):
    """Numbers of n updates in each of K iterations, ``[K, S, n]`` each."""

    loss: Floats  # mean over the minibatch, without importance weights
    td_error: Floats  # mean of its absolute values
    gradient_norm: Floats  # before clipping


class QLearner(NamedTuple):
    """Arguments of K iterations of Q-learning; see ``descend_rows``."""

    learning: QLearning
    scaling: Scaling
    schedules: Schedules
    ring: ReplayArrays  # to store steps in
    memory: ReplayArrays  # the same, ``as_bytes``
    priority: PriorityArrays
    added: int  # transitions that were added to each row before
    u: NDArray[np.float64]  # [K n, S, M]
    log: UpdateLog
    steps: TransitionArrays  # of the segment, with observations: the states in another dtype, or the states themselves


class UpdateMemory(NamedTuple):
    """Arrays that every update writes over: a minibatch, its values, and the derivatives of its loss."""

    batch: replay.MinibatchArrays
    h: Floats  # outputs of the layers
    work: Floats  # [2, M width]
    gradient: Floats  # [P]
    q: Floats  # [M, A]
    next_q: Floats  # [M, A]
    d: Floats  # [M, A], derivative by Q
    y: Floats  # [M], targets
    error: Floats  # [M]
    importance: Floats  # [M]
    number: Integers  # [M], of the transitions
    slot: Integers  # [M]
    chance: NDArray[np.float64]  # [M]
    weight: NDArray[np.float64]  # [M]


@compiled
def room(q: QArrays, m: int) -> Any:
    """Return how many numbers the outputs of all layers take."""
    return mlp.room(q.advantage.layers, m) + mlp.room(q.value.layers, m)


@compiled
def action_values(q: QArrays, s: int, x: Floats, h: Floats, out: Floats) -> None:
    """Compute Q of row s: ``x [M, D]`` -> ``out [M, A]``; h has ``room(q, M)`` numbers for the layers' outputs."""
    y = mlp.forward(q.advantage.flat[s], q.advantage.layers, q.advantage.tanh, x, h)
    for m in range(len(x)):
        copy(y[m], out[m])
    if len(q.value.layers) > 0:
        rest = h[mlp.room(q.advantage.layers, len(x)) :]
        value = mlp.forward(q.value.flat[s], q.value.layers, q.value.tanh, x, rest)
        for m in range(len(x)):
            shift(out[m], value[m, 0] - out[m].mean())


@compiled
def backward(q: QArrays, s: int, x: Floats, h: Floats, d: Floats, g: Floats, work: Floats) -> None:
    """Compute the derivative by the parameters, ``g [P]``, from that by Q, ``d [M, A]``, which is overwritten."""
    if len(q.value.layers) > 0:
        by_value = np.empty((len(x), 1), d.dtype)
        for m in range(len(x)):
            by_value[m, 0] = d[m].sum()
            shift(d[m], -d[m].mean())
        rest = h[mlp.room(q.advantage.layers, len(x)) :]
        mlp.backward(q.value.flat[s], q.value.layers, q.value.tanh, x, rest, by_value, g, work)
    mlp.backward(q.advantage.flat[s], q.advantage.layers, q.advantage.tanh, x, h, d, g, work)


@compiled
def normalize_rewards(deviation: NDArray[np.float64], s: int, summed: int, reward: Floats) -> None:
    """Divide sums of up to ``summed`` rewards in place by the deviation of the return, within +-10 for each reward.

    ``deviation`` is ``[S, 1]``, or ``[S, 0]`` where nothing is divided.
    """
    if deviation.shape[1] > 0:
        limit = CLIP * summed
        for m in range(len(reward)):
            z = reward[m] / deviation[s, 0]
            z = limit if z > limit else -limit if z < -limit else z
            reward[m] = np.float32(z) if summed == 1 else z  # a single reward has the dtype of rewards


@compiled
def forbid(q: Floats, allowed: Flags) -> None:
    """Set the values ``[M, A]`` of actions that ``allowed [M, A]`` forbids to -inf; ``[0, A]`` forbids none."""
    for m in range(len(allowed)):
        for a in range(q.shape[1]):
            if not allowed[m, a]:
                q[m, a] = -np.inf


@compiled
def greedy(q: Floats) -> int:
    """Return the action of the largest value ``q [A]``, the lowest of several; NaN is the largest, as in torch."""
    best = 0
    for a in range(len(q)):
        if q[a] > q[best] or (q[a] != q[a] and q[best] == q[best]):
            best = a
    return best


@compiled
def write_epsilons(exploration: Exploration, timesteps: int, copies: int, end: int, epsilon: Floats) -> None:
    """Write the probability of a random action at each of the steps from ``timesteps`` on, ``[T, S]``."""
    for t in range(len(epsilon)):
        step = timesteps + t * copies
        done = np.float32(step) / np.float32(max(end, 1))
        for s in range(epsilon.shape[1]):
            fraction, initial, final = exploration.fraction[s], exploration.initial[s], exploration.final[s]
            falling = initial + done / fraction * (final - initial)
            epsilon[t, s] = falling if done < fraction else final
            if step < exploration.learning_starts:
                epsilon[t, s] = 1.0


@implementation(scratch, of(EpsilonGreedy))
def _scratch(policy: Any, copies: int) -> tuple[Floats, Floats]:
    kind = policy.q.advantage.flat.dtype
    return np.empty((copies, policy.q.advantage.layers[0, 0]), kind), np.empty(room(policy.q, copies), kind)


@implementation(act, of(EpsilonGreedy))
def _act(policy: Any, s: int, t: int, x: Any, u: Any, h: Any, action: Any) -> None:
    """Draw ``epsilon_greedy`` of ``rlkit.exploration``; the network runs only if some copy is greedy."""
    epsilon, some_greedy = policy.epsilon[t, s], False
    for b in range(len(x)):
        coin = u[0, 0] if policy.single_coin else u[b, 0]
        action[b] = int(u[b, 1] * policy.num_actions) if coin < epsilon else -1
        some_greedy |= action[b] < 0
    if some_greedy:
        q = np.empty((len(x), policy.num_actions), x.dtype)
        action_values(policy.q, s, x, h, q)
        for b in range(len(x)):
            action[b] = greedy(q[b]) if action[b] < 0 else action[b]


@compiled
def targets(batch: replay.MinibatchArrays, next_q: Floats, selecting: Floats, y: Floats) -> None:
    """Compute y = r + discount Q(s', a'), and y = r where s' is terminal, ``[M]``.

    Args:
        batch: the minibatch.
        next_q: Q(s', .) of the target network, ``[M, A]``.
        selecting: the values whose largest selects a', ``[M, A]``: the same (Mnih et al. 2015), or those of the online
            network (van Hasselt, Guez & Silver 2016, equation 4).
        y: to write into.
    """
    for m in range(len(y)):
        y[m] = batch.reward[m]
        if not batch.terminated[m]:
            y[m] += batch.discount[m] * next_q[m, greedy(selecting[m])]


@compiled
def update_memory(learner: QLearning, memory: ReplayArrays, size: int) -> UpdateMemory:
    """Return memory for updates on minibatches of ``size`` transitions."""
    online = learner.online
    layers, kind = online.advantage.layers, online.advantage.flat.dtype
    inputs, actions = layers[0, 0], layers[-1, 1]
    width = max(mlp.widest(layers), mlp.widest(online.value.layers) if len(online.value.layers) > 0 else 0)
    batch = replay.MinibatchArrays(
        np.empty((size, inputs), kind),
        np.empty((size, inputs), kind),
        np.empty(size, np.int64),
        np.empty(size, kind),
        np.empty(size, kind),
        np.empty(size, np.bool_),
        np.empty((size if memory.next_action_mask.shape[1] > 0 else 0, actions), np.bool_),
    )
    return UpdateMemory(
        batch,
        np.empty(room(online, size), kind),
        np.empty((2, size * width), kind),
        np.zeros(online.advantage.flat.shape[1], kind),
        np.empty((size, actions), kind),
        np.empty((size, actions), kind),
        np.empty((size, actions), kind),
        np.empty(size, kind),
        np.empty(size, kind),
        np.ones(size, kind),
        np.empty(size, np.int64),
        np.empty(size, np.int64),
        np.empty(size),
        np.empty(size),
    )


@compiled
def move_target(learner: QLearning, s: int, share: float) -> None:
    """Move the target network of row s by a share of the way to the online network, as ``torch.lerp``."""
    target, online = learner.target.advantage.flat[s], learner.online.advantage.flat[s]
    if share > 0.0:
        rest = target.dtype.type(1) - share
        for i in range(len(target)):
            way = online[i] - target[i]
            target[i] = target[i] + share * way if share < 0.5 else online[i] - rest * way


@compiled
def descend_row(
    s: int,
    k: int,
    learner: QLearning,
    scaling: Scaling,
    schedules: Schedules,
    memory: ReplayArrays,
    priority: PriorityArrays,
    added: int,
    u: NDArray[np.float64],
    log: UpdateLog,
    work: UpdateMemory,
) -> None:
    """Make the n updates of row s in iteration k, each on a minibatch of its own, and move its target network.

    Arguments as of ``descend_rows``, with ``update_memory``.
    """
    updates, size = log.loss.shape[2], u.shape[2]
    online, flat, batch = learner.online, learner.online.advantage.flat, work.batch
    capacity, stored = memory.reward.shape[1], min(added, memory.reward.shape[1])
    h, q, next_q, y, error, number, weight = work.h, work.q, work.next_q, work.y, work.error, work.number, work.weight
    for n in range(updates):
        chosen = u[k * updates + n, s]
        for m in range(size):
            number[m] = replay.uniform_number(chosen[m], added, capacity)
        if len(priority.mass) > 0:
            replay.choose(priority, s, stored, chosen, work.slot, work.chance)
            replay.importance(work.chance, stored, schedules.beta[k, s], weight)
            for m in range(size):
                work.importance[m] = weight[m]
                if priority.alpha[s, 0] > 0.0:  # otherwise uniformly, by age
                    number[m] = replay.age_of(work.slot[m], added, capacity)
        replay.read(memory, s, added, number, learner.powers[s], learner.one_hot, batch)
        normalize_rewards(schedules.deviation, s, learner.powers.shape[1] - 1, batch.reward)
        normalize(batch.features, scaling, s)
        normalize(batch.next_features, scaling, s)
        action_values(learner.target, s, batch.next_features, h, next_q)
        if learner.double:
            action_values(online, s, batch.next_features, h, q)
            forbid(q, batch.next_action_mask)
            targets(batch, next_q, q, y)
        else:
            forbid(next_q, batch.next_action_mask)
            targets(batch, next_q, next_q, y)
        action_values(online, s, batch.features, h, q)
        dqn_loss(q, batch.action, y, work.importance, learner.squared, work.d, error)
        backward(online, s, batch.features, h, work.d, work.gradient, work.work)
        rate, limit = schedules.rate[k, s], learner.max_norm[s]
        log.gradient_norm[k, s, n] = optim.descend(
            learner.optimizer, s, flat[s], work.gradient, rate, limit, learner.active, True
        )
        if len(priority.mass) > 0:
            for m in range(size):
                weight[m] = abs(error[m]) + flat.dtype.type(replay.SMALLEST_PRIORITY)
            replay.prioritize(priority, s, work.slot, weight)
        record(error, learner.squared, log.loss[k, s], log.td_error[k, s], n)
        if not abs(log.loss[k, s, n]) < np.inf:  # NaN compares false
            learner.unsound[s] |= learner.active[s]
            learner.active[s] = False
        move_target(learner, s, schedules.share[k, n + 1, s])


@compiled
def descend_rows(
    first: int,
    last: int,
    learner: QLearning,
    scaling: Scaling,
    schedules: Schedules,
    memory: ReplayArrays,
    priority: PriorityArrays,
    added: int,
    u: NDArray[np.float64],
    log: UpdateLog,
) -> None:
    """Make the n updates of rows ``first .. last`` in one iteration.

    Args:
        first, last: the rows.
        learner: of all rows.
        scaling: of features.
        schedules: the numbers of these updates.
        memory: what is stored, ``as_bytes``.
        priority: its priorities, if any.
        added: transitions that were added to each row of it so far.
        u: uniform numbers, ``[K n, S, M]``.
        log: to write into.
    """
    work = update_memory(learner, memory, u.shape[2])
    iteration: Any = np.int64(0)  # for a literal 0 the row's updates would be compiled a second time
    for s in range(first, last):
        descend_row(s, iteration, learner, scaling, schedules, memory, priority, added, u, log, work)


@implementation(workspace, of(QLearner), reassociated=False)
def _workspace(learner: Any, play: Any) -> Any:
    return update_memory(learner.learning, learner.memory, learner.u.shape[2])


@implementation(learn, of(QLearner), reassociated=False)
def _learn(learner: Any, s: int, k: int, play: PlayArrays, begin: int, end: int, work: Any) -> None:
    steps, segment, copies = learner.steps, play.segment, learner.steps.reward.shape[2]
    for t in range(begin, end):
        for b in range(copies):
            copy(segment.state[s, t, b], steps.obs[s, t, b])
            copy(segment.next_state[s, t, b], steps.next_obs[s, t, b])
    before, after = learner.added + begin * copies, learner.added + end * copies
    replay.store_with_priority(learner.ring, learner.priority, s, before, steps, begin, end)
    move_target(learner.learning, s, learner.schedules.share[k, 0, s])
    stored = learner.memory, learner.priority, after, learner.u
    descend_row(s, k, learner.learning, learner.scaling, learner.schedules, *stored, learner.log, work)


@compiled
def record(error: Floats, squared: bool, losses: Floats, sizes: Floats, n: int) -> None:
    """Write the mean loss and the mean absolute value of errors ``[M]`` at place n."""
    loss, size = error[0] * 0, error[0] * 0
    for m in range(len(error)):
        e = abs(error[m])
        loss += e - 0.5 if e > 1 and not squared else 0.5 * e * e
        size += e
    losses[n], sizes[n] = loss / len(error), size / len(error)
