"""The benchmark's sides in JAX: CartPole as gymnax writes it (Lange 2022), PPO and DQN as PureJaxRL does (Lu 2022).

Environments, networks and updates are one compiled loop; seeds and copies are added by ``vmap``. Networks, settings and
order of operations are those of gymnax and PureJaxRL, the code is new. The number of iterations is an argument of the
compiled loop, so that a loop is compiled once for any length.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

from .cases import Work

# read when the first array is made; with several threads XLA may wait for itself for good in loops under ``vmap``
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

try:
    import jax  # type: ignore[import-not-found,unused-ignore]
    import jax.numpy as jnp  # type: ignore[import-not-found,unused-ignore]
except ModuleNotFoundError:  # it is in the extra "benchmark"; ``cases`` leaves these sides out
    pass

Tree = Any  # of arrays

GAMMA, LEARNING_RATE = 0.99, 2.5e-4


def finished(tree: Tree) -> Tree:
    """The arrays, once they are computed."""
    return jax.block_until_ready(tree)  # type: ignore[no-untyped-call,unused-ignore]


# Networks and Adam


def orthogonal_layers(key: Any, widths: tuple[int, ...], last_gain: float) -> Tree:
    """Weights and biases of a multilayer perceptron."""
    gains = [2**0.5] * (len(widths) - 2) + [last_gain]
    keys = jax.random.split(key, len(gains))
    shapes = zip(keys, gains, widths, widths[1:], strict=False)
    return [(jax.nn.initializers.orthogonal(gain)(k, (n, m)), jnp.zeros(m)) for k, gain, n, m in shapes]


def mlp(layers: Tree, x: Any, activation: Callable[[Any], Any]) -> Any:
    """The output of a multilayer perceptron."""
    for weight, bias in layers[:-1]:
        x = activation(x @ weight + bias)
    weight, bias = layers[-1]
    return x @ weight + bias


def adam_start(parameters: Tree) -> Tree:
    """Moments and the number of steps."""
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    return zeros, zeros, jnp.zeros((), jnp.int32)


def adam(parameters: Tree, state: Tree, gradient: Tree, rate: Any, eps: float) -> tuple[Tree, Tree]:
    """One step of Adam (Kingma & Ba 2015)."""
    first, second, steps = state
    steps = steps + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)
    scale, root = rate / (1 - 0.9**steps), 1 / jnp.sqrt(1 - 0.999**steps)
    parameters = jax.tree.map(lambda p, m, v: p - scale * m / (jnp.sqrt(v) * root + eps), parameters, first, second)
    return parameters, (first, second, steps)


def clipped(gradient: Tree, limit: float) -> Tree:
    """The gradient with its norm limited."""
    norm = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(gradient)))
    return jax.tree.map(lambda g: g * jnp.minimum(1.0, limit / (norm + 1e-6)), gradient)


# CartPole


class CartPoleState(NamedTuple):
    """One copy."""

    physics: Any  # [4]
    time: Any


def reset(key: Any) -> tuple[Any, CartPoleState]:
    """The observation and the state of a new episode."""
    physics = jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)
    return physics, CartPoleState(physics, jnp.zeros((), jnp.int32))


def step(key: Any, state: CartPoleState, action: Any) -> tuple[Any, CartPoleState, Any, Any]:
    """Observation, state, reward and end; an episode that ended begins anew, and both are computed at every step."""
    x, x_dot, theta, theta_dot = state.physics
    force, cos, sin = 20.0 * action - 10.0, jnp.cos(theta), jnp.sin(theta)
    drive = (force + 0.05 * theta_dot**2 * sin) / 1.1
    theta_acc = (9.8 * sin - cos * drive) / (0.5 * (4.0 / 3.0 - 0.1 * cos**2 / 1.1))
    x_acc = drive - 0.05 * theta_acc * cos / 1.1
    moved = jnp.stack([x + 0.02 * x_dot, x_dot + 0.02 * x_acc, theta + 0.02 * theta_dot, theta_dot + 0.02 * theta_acc])
    stepped = CartPoleState(moved, state.time + 1)
    done = (jnp.abs(moved[0]) > 2.4) | (jnp.abs(moved[2]) > 12 * jnp.pi / 180) | (stepped.time >= 500)
    obs, fresh = reset(key)
    state = jax.tree.map(lambda new, old: jnp.where(done, new, old), fresh, stepped)
    return jnp.where(done, obs, moved), state, jnp.ones(()), done


def reset_copies(key: Any, copies: int) -> tuple[Any, CartPoleState]:
    """Observations and states of new episodes."""
    obs, state = jax.vmap(reset)(jax.random.split(key, copies))
    return obs, state


def step_copies(key: Any, state: CartPoleState, action: Any) -> tuple[Any, CartPoleState, Any, Any]:
    """``step`` of every copy."""
    obs, state, reward, done = jax.vmap(step)(jax.random.split(key, len(action)), state, action)
    return obs, state, reward, done


@cache
def _stepping(copies: int) -> Callable[..., Any]:
    def once(_: Any, carry: Any) -> Any:
        key, state, _, reward, _ = carry
        key, for_actions, for_steps = jax.random.split(key, 3)
        action = jax.random.randint(for_actions, (copies,), 0, 2)
        obs, state, earned, done = step_copies(for_steps, state, action)
        return key, state, obs, reward + earned, done

    def run(steps: Any, carry: Any) -> Any:
        return jax.lax.fori_loop(0, steps, once, carry)

    compiled: Callable[..., Any] = jax.jit(run)
    return compiled


def stepping(copies: int, steps: int) -> Work:
    """Random actions in CartPole, one compiled loop."""
    key = jax.random.key(0)
    obs, state = reset_copies(key, copies)
    nothing = jnp.zeros(copies), jnp.zeros(copies, bool)

    def work() -> int:
        finished(_stepping(copies)(steps, (key, state, obs, *nothing)))
        return steps * copies

    return work


# PPO: 64-64 tanh, 4 copies x 128 steps, 4 epochs of 4 minibatches

PPO_COPIES, PPO_STEPS, EPOCHS, MINIBATCHES, CLIP = 4, 128, 4, 4, 0.2


def ppo_start(key: Any) -> Tree:
    """Parameters, moments, environments and random key of one seed."""
    key, policy, value, env = jax.random.split(key, 4)
    layers = orthogonal_layers(policy, (4, 64, 64, 2), 0.01), orthogonal_layers(value, (4, 64, 64, 1), 1.0)
    return layers, adam_start(layers), *reset_copies(env, PPO_COPIES), key


def ppo_loss(layers: Tree, batch: Tree) -> Any:
    """The clipped surrogate, the clipped squared error of V and the entropy bonus."""
    obs, action, old_log_p, old_value, advantage, target = batch
    log_p = jax.nn.log_softmax(mlp(layers[0], obs, jnp.tanh))
    value = mlp(layers[1], obs, jnp.tanh)[:, 0]
    limited = old_value + jnp.clip(value - old_value, -CLIP, CLIP)
    value_loss = 0.5 * jnp.maximum((value - target) ** 2, (limited - target) ** 2).mean()
    ratio = jnp.exp(jnp.take_along_axis(log_p, action[:, None], axis=1)[:, 0] - old_log_p)
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    surrogate = -jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - CLIP, 1 + CLIP) * advantage).mean()
    entropy = -(jnp.exp(log_p) * log_p).sum(axis=1).mean()
    return surrogate + 0.5 * value_loss - 0.01 * entropy


def ppo_iteration(iteration: Any, iterations: Any, carry: Tree) -> Tree:
    """Play a segment and make 16 updates."""
    layers, moments, obs, state, key = carry

    def play(carry: Any, _: Any) -> Any:
        obs, state, key = carry
        key, for_action, for_step = jax.random.split(key, 3)
        logits, value = mlp(layers[0], obs, jnp.tanh), mlp(layers[1], obs, jnp.tanh)[:, 0]
        action = jax.random.categorical(for_action, logits)
        log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), action[:, None], axis=1)[:, 0]
        next_obs, state, reward, done = step_copies(for_step, state, action)
        return (next_obs, state, key), (obs, action, log_p, value, reward, done)

    (obs, state, key), played = jax.lax.scan(play, (obs, state, key), None, PPO_STEPS)
    value, reward, done = played[3:]

    def gae(carry: Any, step: Any) -> Any:
        advantage, next_value = carry
        value, reward, done = step
        advantage = reward + GAMMA * next_value * (1 - done) - value + GAMMA * 0.95 * (1 - done) * advantage
        return (advantage, value), advantage

    last_value = mlp(layers[1], obs, jnp.tanh)[:, 0]
    _, advantage = jax.lax.scan(gae, (jnp.zeros(PPO_COPIES), last_value), (value, reward, done), reverse=True)
    size = PPO_COPIES * PPO_STEPS
    batch = jax.tree.map(lambda x: x.reshape(size, *x.shape[2:]), (*played[:4], advantage, advantage + value))
    rate = LEARNING_RATE * (1 - iteration / iterations)

    def update(carry: Any, minibatch: Any) -> Any:
        layers, moments = carry
        gradient = jax.grad(ppo_loss)(layers, minibatch)
        return adam(layers, moments, clipped(gradient, 0.5), rate, 1e-5), None

    def epoch(carry: Any, _: Any) -> Any:
        (layers, moments), key = carry
        key, for_order = jax.random.split(key)
        order = jax.random.permutation(for_order, size)
        shuffled = jax.tree.map(lambda x: x[order].reshape(MINIBATCHES, -1, *x.shape[1:]), batch)
        return (jax.lax.scan(update, (layers, moments), shuffled)[0], key), None

    ((layers, moments), key), _ = jax.lax.scan(epoch, ((layers, moments), key), None, EPOCHS)
    return layers, moments, obs, state, key


# DQN: 120-84 relu, 10 copies, an update of 128 transitions after each of their steps

DQN_COPIES, MEMORY, BATCH, TARGET_EVERY, DQN_STARTS = 10, 10_000, 128, 500, 256


def dqn_start(key: Any) -> Tree:
    """Parameters, target, moments, memory, environments and random key of one seed."""
    key, network, env = jax.random.split(key, 3)
    layers = orthogonal_layers(network, (4, 120, 84, 2), 1.0)
    memory = (jnp.zeros((MEMORY, 4)), jnp.zeros(MEMORY, jnp.int32), jnp.zeros(MEMORY), jnp.zeros((MEMORY, 4)))
    ring = (*memory, jnp.zeros(MEMORY))
    return layers, layers, adam_start(layers), ring, *reset_copies(env, DQN_COPIES), key


def dqn_loss(layers: Tree, target: Tree, batch: Tree) -> Any:
    """The squared error of one-step targets."""
    obs, action, reward, next_obs, done = batch
    y = reward + GAMMA * (1 - done) * mlp(target, next_obs, jax.nn.relu).max(axis=1)
    q = jnp.take_along_axis(mlp(layers, obs, jax.nn.relu), action[:, None], axis=1)[:, 0]
    return ((q - y) ** 2).mean()


def dqn_iteration(iteration: Any, iterations: Any, carry: Tree) -> Tree:
    """Step every copy once, store, and make one update once learning has started."""
    layers, target, moments, ring, obs, state, key = carry
    steps = (iteration + 1) * DQN_COPIES
    key, coin, draw, for_step, sample = jax.random.split(key, 5)
    epsilon = jnp.maximum(1.0 - 0.95 * iteration / (0.5 * iterations), 0.05)
    greedy = mlp(layers, obs, jax.nn.relu).argmax(axis=1)
    explores = jax.random.uniform(coin, (DQN_COPIES,)) < epsilon
    action = jnp.where(explores, jax.random.randint(draw, (DQN_COPIES,), 0, 2), greedy)
    next_obs, state, reward, done = step_copies(for_step, state, action)
    at = (iteration * DQN_COPIES + jnp.arange(DQN_COPIES)) % MEMORY
    stored = zip(ring, (obs, action, reward, next_obs, done), strict=True)
    ring = tuple(field.at[at].set(values) for field, values in stored)

    def learn(layers: Tree, moments: Tree) -> tuple[Tree, Tree]:
        index = jax.random.randint(sample, (BATCH,), 0, jnp.minimum(steps, MEMORY))
        gradient = jax.grad(dqn_loss)(layers, target, tuple(field[index] for field in ring))
        return adam(layers, moments, gradient, LEARNING_RATE * (1 - iteration / iterations), 1e-8)

    layers, moments = jax.lax.cond(steps > DQN_STARTS, learn, lambda *same: same, layers, moments)
    copies = steps % TARGET_EVERY == 0
    target = jax.tree.map(lambda new, old: jnp.where(copies, new, old), layers, target)
    return layers, target, moments, ring, next_obs, state, key


# Training

ALGORITHMS: dict[str, tuple[Callable[..., Any], Callable[..., Any], int]] = {
    "ppo": (ppo_start, ppo_iteration, PPO_COPIES * PPO_STEPS),
    "dqn": (dqn_start, dqn_iteration, DQN_COPIES),
}


@cache
def _loops(algo: str, seeds: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The compiled start and the compiled training of ``seeds`` seeds; one seed has no ``vmap``."""
    start, iteration, _ = ALGORITHMS[algo]

    def train(iterations: Any, carry: Tree) -> Tree:
        def one(i: Any, carry: Tree) -> Tree:
            each = partial(iteration, i, iterations)
            return each(carry) if seeds == 1 else jax.vmap(each)(carry)

        return jax.lax.fori_loop(0, iterations, one, carry)

    return jax.jit(start if seeds == 1 else jax.vmap(start)), jax.jit(train, donate_argnums=1)


def training(algo: str, seeds: int, steps: int) -> Work:
    """Fresh agents, all seeds as one computation."""
    start, train = _loops(algo, seeds)
    key, per_iteration = jax.random.key(0), ALGORITHMS[algo][2]
    iterations = -(-steps // per_iteration)
    carry = finished(start(key if seeds == 1 else jax.random.split(key, seeds)))

    def work() -> int:
        finished(train(iterations, carry))
        return seeds * iterations * per_iteration

    return work
