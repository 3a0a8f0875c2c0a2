"""Compiled steps of ``BatchedEnv`` held to those of numpy arrays, which stay the definition."""

import copy

import numpy as np
import pytest
import torch
from finite_problems import needs_numba

from rlkit.compiled.jit import compiled
from rlkit.compiled.stepping import exact_step
from rlkit.compiled.trigonometry import cosine_and_sine
from rlkit.envs import CartPole, GridWorld
from rlkit.envs.batched import BatchedEnv
from rlkit.envs.dynamics_numbers import numbers_of

pytestmark = [needs_numba, pytest.mark.slow]

POLE = CartPole(max_steps=30)
LAKE = GridWorld(map="frozenlake-4x4")


@compiled
def sines_and_cosines(x, sine, cosine):
    """sin and cos of every number of an array."""
    for i in range(len(x)):
        cosine[i], sine[i] = cosine_and_sine(x[i])


@compiled
def stepped(numbers, state, action, u, reward, terminated):
    """Step every state of a list in place."""
    for i in range(len(state)):
        reward[i], terminated[i] = exact_step(numbers, state[i], action[i], u[i])


def actions(dynamics, copies, seeds=2):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(int(dynamics.action_space.n), (seeds, copies), generator=generator)


@pytest.mark.parametrize("largest", [0.25, 10.0, 60_000.0])
def test_cosine_and_sine_of_float32_are_within_one_and_a_half_units_of_the_last_place(largest):
    x = np.linspace(-largest, largest, 400_001).astype(np.float32)
    sine, cosine = np.empty_like(x), np.empty_like(x)
    sines_and_cosines(x, sine, cosine)
    for found, exact in ((sine, np.sin(x.astype(np.float64))), (cosine, np.cos(x.astype(np.float64)))):
        assert (np.abs(found - exact) <= 1.5 * np.spacing(np.abs(exact).astype(np.float32))).all()


def test_cosine_and_sine_of_no_number_are_none():
    x, (sine, cosine) = np.array([np.nan, np.inf], np.float32), np.empty((2, 2), np.float32)
    sines_and_cosines(x, sine, cosine)
    assert np.isnan([sine, cosine]).all()


@pytest.mark.parametrize("sutton_barto_reward", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_cart_pole_steps_as_its_dynamics(dtype, sutton_barto_reward):
    """Equal to the bit where numpy has the same sine and cosine, which some CPUs compute otherwise."""
    pole = CartPole(pole_mass=0.3, force=7.0, sutton_barto_reward=sutton_barto_reward)
    uniform = np.random.default_rng(3).random((20_000, 4))
    state = ((uniform - 0.5) * np.array([6.0, 6.0, 0.6, 6.0])).astype(dtype)
    action, nothing = (uniform[:, 3] < 0.5).astype(np.int64), np.zeros((20_000, 0))
    sine, cosine = np.empty((2, 20_000), dtype)
    sines_and_cosines(state[:, 2].copy(), sine, cosine)
    same = (sine == np.sin(state[:, 2])) & (cosine == np.cos(state[:, 2]))
    expected, paid, ended = pole.transition(state, action, nothing)
    reward, terminated = np.empty(20_000), np.empty(20_000, np.bool_)
    stepped(numbers_of(pole, dtype, torch.float32), state, action, nothing, reward, terminated)
    assert same.mean() > 0.8
    for found, known in ((state, expected), (reward, paid), (terminated, ended)):
        np.testing.assert_array_equal(found[same], known[same])
    np.testing.assert_allclose(state, expected, rtol=0.0, atol=1e-6 if dtype == np.float32 else 1e-12)
    assert 0.2 < ended.mean() < 0.9


@pytest.mark.parametrize(
    "dynamics",
    [POLE, CartPole(sutton_barto_reward=True), LAKE, GridWorld(map="frozenlake-4x4", observation="planes")],
    ids=["pole", "other rewards", "lake", "planes"],
)
def test_steps_restarts_and_counters_are_those_of_numpy(dynamics):
    ours, numpys = (BatchedEnv(dynamics, [3, 9], 8, double=True, compiled=loops) for loops in (True, False))
    ended = 0
    for step in range(150):
        action = actions(dynamics, 8).roll(step, dims=1)
        kept = ours.obs, ours.obs.clone()
        one, other = ours.step(action), numpys.step(action)
        for name in ("obs", "action", "reward", "next_obs", "terminated", "truncated"):
            found, known = getattr(one, name), getattr(other, name)
            assert (found.dtype, found.shape, found.stride()) == (known.dtype, known.shape, known.stride()), name
            torch.testing.assert_close(found, known, rtol=1e-6, atol=1e-6, msg=name)
        torch.testing.assert_close(ours.obs, numpys.obs, rtol=1e-6, atol=1e-6)
        assert torch.equal(*kept)  # what was returned before keeps its numbers
        ended += int(one.done.sum())
    assert ended > 20
    for (name, found), known in zip(ours.state_dict().items(), numpys.state_dict().values(), strict=True):
        torch.testing.assert_close(found, known, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("dynamics", [POLE, LAKE], ids=["pole", "lake"])
def test_a_row_and_its_first_copies_are_bitwise_those_of_a_smaller_batch(dynamics):
    many, few = BatchedEnv(dynamics, range(8), 70), BatchedEnv(dynamics, [5], 3)
    for step in range(150):
        action = actions(dynamics, 70, 8).roll(step, dims=1)
        for found, known in zip(many.step(action)[:6], few.step(action[5:6, :3])[:6], strict=True):
            assert torch.equal(found[5:6, :3], known)


@pytest.mark.parametrize("dynamics", [POLE, LAKE], ids=["pole", "lake"])
def test_copies_and_saved_episodes_go_on_as_the_environment_does(dynamics):
    env, loaded = (BatchedEnv(dynamics, [1, 2], 8) for _ in range(2))
    for step in range(60):
        env.step(actions(dynamics, 8).roll(step, dims=1))
    loaded.step(actions(dynamics, 8))
    loaded.load_state(env.state_dict())
    twin = copy.deepcopy(env)
    for step in range(60):
        action = actions(dynamics, 8).roll(step, dims=1)
        for found, *others in zip(*(each.step(action)[:6] for each in (env, loaded, twin)), strict=True):
            assert all(torch.equal(found, other) for other in others)
    for found, other in zip(env.state_dict().values(), twin.state_dict().values(), strict=True):
        assert torch.equal(found, other)


@pytest.mark.parametrize("action", [-1, 4])
def test_an_action_that_there_is_not_is_refused(action):
    env = BatchedEnv(LAKE, [0], 2)
    obs, before = env.obs.clone(), {name: tensor.clone() for name, tensor in env.state_dict().items()}
    with pytest.raises(ValueError, match=f"0 to 3, got .*{action}"):
        env.step(torch.tensor([[0, action]]))
    assert torch.equal(env.obs, obs)
    for name in ("state", "elapsed", "episode"):
        assert torch.equal(env.state_dict()[name], before[name]), name
