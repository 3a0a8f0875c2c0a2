"""Compiled episodes held to the dynamics' own functions, which stay the definition."""

import numpy as np
import pytest
import torch
from finite_problems import needs_numba

from rlkit.compiled.jit import compiled
from rlkit.compiled.layout import MLPArrays
from rlkit.compiled.rollout import Scaling, begin, categorical, read, step
from rlkit.envs import CartPole, GridWorld, RewardOverride
from rlkit.envs.batched import BatchedEnv
from rlkit.envs.dynamics_numbers import numbers_of
from rlkit.envs.probes import PROBES
from rlkit.exploration import categorical as reference_categorical
from rlkit.nn import MLP

pytestmark = [needs_numba, pytest.mark.slow]

LAKE = GridWorld(map="frozenlake-4x4")


@compiled
def stepped(numbers, state, action, u, reward, terminated):
    """Step every state of a list in place."""
    for i in range(len(state)):
        reward[i], terminated[i] = step(numbers, state[i], action[i], u[i])


@compiled
def begun(numbers, u, state):
    """Begin an episode in every state of a list."""
    for i in range(len(state)):
        begin(numbers, u[i], state[i])


def uniforms(*shape):
    return np.random.default_rng(3).random(shape)


@pytest.mark.parametrize("sutton_barto_reward", [False, True])
@pytest.mark.parametrize(("dtype", "bound"), [(np.float64, 1e-12), (np.float32, 2e-6)])
def test_a_cart_pole_steps_as_its_dynamics(dtype, bound, sutton_barto_reward):
    pole = CartPole(pole_mass=0.3, force=7.0, sutton_barto_reward=sutton_barto_reward)
    numbers = numbers_of(pole, dtype, torch.float32)
    state = ((uniforms(5000, 4) - 0.5) * np.array([6.0, 6.0, 0.6, 6.0])).astype(dtype)
    action, nothing = (uniforms(5000) < 0.5).astype(np.int64), np.zeros((5000, 0))
    expected, paid, ended = pole.transition(state, action, nothing)
    reward, terminated = np.empty(5000), np.empty(5000, np.bool_)
    stepped(numbers, state, action, nothing, reward, terminated)
    np.testing.assert_allclose(state, expected, rtol=bound, atol=bound)
    near = np.abs(np.abs(expected[:, [0, 2]]) - [pole.x_limit, pole.theta_limit]).min(axis=1) < bound
    np.testing.assert_array_equal(terminated[~near], ended[~near])
    np.testing.assert_array_equal(reward[~near], paid[~near])
    assert 0.2 < ended.mean() < 0.9


@pytest.mark.parametrize("dynamics", [LAKE, *(probe() for probe in PROBES.values())], ids=["lake", *PROBES])
def test_a_table_steps_as_its_dynamics(dynamics):
    mdp, u = dynamics.mdp, uniforms(4000, 1)
    numbers = numbers_of(dynamics, np.float32, torch.float64)
    state = (uniforms(4000, 1) * mdp.num_states).astype(np.int64)
    action = (uniforms(2, 4000)[1] * mdp.num_actions).astype(np.int64)
    expected, paid, ended = dynamics.transition(state, action, u)
    reward, terminated = np.empty(4000), np.empty(4000, np.bool_)
    stepped(numbers, state, action, u, reward, terminated)
    np.testing.assert_array_equal(state, expected)
    np.testing.assert_array_equal(reward, paid)
    np.testing.assert_array_equal(terminated, ended)


@pytest.mark.parametrize("dynamics", [CartPole(), GridWorld(map=["S..", "..S", "S.G"])], ids=["pole", "grid"])
def test_episodes_begin_as_those_of_the_dynamics(dynamics):
    numbers, u = numbers_of(dynamics, np.float64, torch.float64), uniforms(2000, dynamics.initial_noise)
    expected = dynamics.initial(u)
    state = np.empty_like(expected)
    begun(numbers, u, state)
    np.testing.assert_array_equal(state, expected) if state.dtype.kind == "i" else np.testing.assert_allclose(
        state, expected, rtol=0.0, atol=1e-17
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_actions_are_sampled_as_by_the_reference(dtype):
    logits, u = torch.from_numpy(6.0 * (uniforms(3000, 5) - 0.5)).to(dtype), torch.from_numpy(uniforms(2, 3000)[1])
    expected = reference_categorical(logits, u)
    chosen = np.array([categorical(row, number) for row, number in zip(logits.clone().numpy(), u.numpy(), strict=True)])
    assert (chosen == expected.numpy()).mean() > (0.9999 if dtype == torch.float64 else 0.999)
    assert len(np.unique(chosen)) == 5


def played(dynamics, network, steps, scaling=None):
    """The same segment twice: by steps, and compiled; and the environments after it."""
    envs = [BatchedEnv(dynamics, range(2), 3, double=True) for _ in range(2)]
    u = torch.from_numpy(uniforms(steps, 2, 3))
    numbers = envs[1].numbers(torch.float64)
    nothing = np.empty((2, 0))
    compiled_segment = envs[1].play(numbers, MLPArrays.of(network), scaling or Scaling(nothing, nothing, 0.0), u)
    taken = []
    for numbers_t in u:
        obs = envs[0].obs
        x = torch.nn.functional.one_hot(obs, 16).double() if obs.dim() == 2 else obs.double()
        if scaling is not None:
            mean, inverse = (torch.from_numpy(each)[:, None] for each in scaling[:2])
            x = ((x - mean) * inverse).clamp(-scaling.clip, scaling.clip)
        taken.append(envs[0].step(reference_categorical(network(x).detach(), numbers_t)))
    return taken, compiled_segment, envs


@pytest.mark.parametrize(
    ("dynamics", "inputs"), [(CartPole(max_steps=30), 4), (LAKE, 16)], ids=["pole, with a time limit", "slippery lake"]
)
def test_a_segment_is_what_steps_give_restarts_and_streams_too(dynamics, inputs):
    network = MLP((inputs, 32, 32, int(dynamics.action_space.n)), range(2), "tanh", dtype=torch.float64)
    taken, segment, (stepwise, whole) = played(dynamics, network, 120)
    for t, transition in enumerate(taken):
        for name in ("obs", "action", "reward", "next_obs", "terminated", "truncated"):
            one, other = getattr(segment, name)[:, t], getattr(transition, name)
            assert one.dtype == other.dtype, name
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6, msg=name)
    assert segment.terminated.any()
    assert segment.truncated.any() or inputs == 16
    for (name, one), (_, other) in zip(whole.state_dict().items(), stepwise.state_dict().items(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9, msg=name)
    action = torch.zeros(2, 3, dtype=torch.int64)  # steps go on from there, with the numbers of the next episodes
    for _ in range(60):
        one, other = whole.step(action), stepwise.step(action)
        torch.testing.assert_close(one.next_obs, other.next_obs, rtol=1e-5, atol=1e-5)


def test_normalized_features_choose_the_actions():
    network = MLP((4, 32, 2), range(2), "tanh", dtype=torch.float64)
    scaling = Scaling(uniforms(2, 4) - 0.5, 30.0 * uniforms(2, 4), 1.5)
    taken, segment, _ = played(CartPole(), network, 50, scaling)
    torch.testing.assert_close(segment.action, torch.stack([step.action for step in taken], dim=1))


def test_observations_that_were_returned_keep_their_numbers():
    env = BatchedEnv(CartPole(), range(2), 3)
    seen, kept = env.obs, env.obs.clone()
    network, nothing = MLP((4, 16, 2), range(2), "tanh"), np.empty((2, 0))
    scaling = Scaling(nothing, nothing, 0.0)
    numbers, arrays = env.numbers(torch.float32), MLPArrays.of(network)
    first = env.play(numbers, arrays, scaling, torch.from_numpy(uniforms(5, 2, 3)))
    last = first.next_obs.clone()
    env.play(numbers, arrays, scaling, torch.from_numpy(uniforms(5, 2, 3)))
    assert torch.equal(seen, kept)
    assert torch.equal(first.next_obs, last)


class Heavier(CartPole):
    """A cart-pole of its own dynamics."""

    def transition(self, state, action, u):
        return super().transition(state, 1 - action, u)


def test_dynamics_without_numbers_have_none():
    assert numbers_of(CartPole(), np.float32, torch.float32) is not None
    assert numbers_of(Heavier(), np.float32, torch.float32) is None
    assert numbers_of(RewardOverride(CartPole(), lambda *_: 0.0), np.float32, torch.float32) is None
    assert BatchedEnv(CartPole(), [0], restart=False).numbers(torch.float32) is None
    assert BatchedEnv(CartPole(), [0], in_torch=True).numbers(torch.float32) is None


@compiled
def features(numbers, state, x):
    """Read the features of every state of a list."""
    for i in range(len(state)):
        read(numbers, state[i], x[i])


def test_features_of_a_table_are_what_networks_read():
    grid = GridWorld(map="frozenlake-4x4", observation="planes")
    numbers = numbers_of(grid, np.float32, torch.float32)
    state = np.arange(grid.mdp.num_states)[:, None]
    x = np.empty((len(state), numbers.features.shape[1]), np.float32)
    features(numbers, state, x)
    np.testing.assert_array_equal(x, (grid.observe(state).reshape(len(state), -1) / 255.0).astype(np.float32))
