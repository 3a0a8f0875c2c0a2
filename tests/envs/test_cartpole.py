"""CartPole against Gymnasium's, step by step from its own states, and its batched form."""

import gymnasium
import numpy as np
import pytest
import torch
from devices import CPU_AND_GPUS

from rlkit.envs import BatchedEnv, CartPole, make

POLICIES = {
    "good": lambda obs, rng: int(0.1 * obs[0] + 0.3 * obs[1] + 3 * obs[2] + 0.5 * obs[3] > 0),
    "bad": lambda obs, rng: int(obs[2] < 0),
    "random": lambda obs, rng: int(rng.integers(2)),
}


def gymnasium_steps(policy, episodes, seed, **kwargs):
    """States, actions, next states, rewards, terminated and truncated of Gymnasium's episodes."""
    env = gymnasium.make("CartPole-v1", **kwargs)
    rng = np.random.default_rng(seed)
    steps = []
    for episode in range(episodes):
        obs, _ = env.reset(seed=seed + episode)
        done = False
        while not done:
            state = env.unwrapped.state
            action = policy(obs, rng)
            obs, reward, terminated, truncated, _ = env.step(action)
            steps.append((state, action, env.unwrapped.state, reward, terminated, truncated, obs))
            done = terminated or truncated
    return [np.array(column) for column in zip(*steps, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("sutton_barto_reward", [False, True])
def test_a_step_from_every_state_of_1000_episodes_is_gymnasiums(sutton_barto_reward):
    pole = CartPole(sutton_barto_reward=sutton_barto_reward)
    episodes = {"good": 60, "bad": 470, "random": 470}
    ends = []
    for seed, (name, policy) in enumerate(POLICIES.items()):
        columns = gymnasium_steps(policy, episodes[name], 1000 * seed, sutton_barto_reward=sutton_barto_reward)
        state, action, next_state, reward, terminated, truncated, obs = columns
        ends.append((terminated.sum(), truncated.sum()))
        ours, our_reward, our_end = pole.transition(state, action, None)
        np.testing.assert_allclose(ours, next_state, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(our_end, terminated)
        np.testing.assert_array_equal(our_reward, reward)
        np.testing.assert_array_equal(pole.observe(next_state), obs)

        for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
            tensor = torch.from_numpy(state).to(dtype)
            ours_t, reward_t, end_t = pole.transition(tensor, torch.from_numpy(action), torch.empty(0))
            assert ours_t.dtype == dtype
            np.testing.assert_allclose(ours_t.numpy(), next_state, rtol=0, atol=tolerance)
            np.testing.assert_array_equal(end_t.numpy(), terminated)
            np.testing.assert_array_equal(reward_t.numpy(), reward)
    assert sum(t for t, _ in ends) > 900  # fallen
    assert sum(t for _, t in ends) > 50  # cut at 500 steps


@pytest.mark.parametrize("parameters", [{"pole_mass": 0.3}, {"half_length": 1.0}, {"force": 5.0}, {"cart_mass": 2.0}])
def test_masses_lengths_and_forces_are_gymnasiums(parameters):
    names = {"pole_mass": "masspole", "half_length": "length", "force": "force_mag", "cart_mass": "masscart"}
    reference = gymnasium.make("CartPole-v1").unwrapped
    for name, value in parameters.items():
        setattr(reference, names[name], value)
    reference.total_mass = reference.masspole + reference.masscart
    reference.polemass_length = reference.masspole * reference.length
    reference.reset(seed=0)
    pole = CartPole(**parameters)
    for step in range(30):
        state = np.array(reference.state)
        reference.step(step % 2)
        np.testing.assert_allclose(pole.transition(state, np.array(step % 2), None)[0], reference.state, atol=1e-12)


@pytest.mark.parametrize(
    "parameters", [{}, {"gravity": 0.0}, {"gravity": -3.0}, {"pole_mass": 2.0, "half_length": 0.1}]
)
@pytest.mark.parametrize("device", CPU_AND_GPUS)
def test_torch_solves_the_equations_of_motion_as_numpy_does(device, parameters):
    pole, generator = CartPole(**parameters), np.random.default_rng(0)
    state, action = generator.uniform(-2.0, 2.0, (5, 7, 4)), generator.integers(0, 2, (5, 7))
    expected = pole.transition(state, action, None)
    found = pole.transition(torch.from_numpy(state).to(device), torch.from_numpy(action).to(device), None)
    for on_device, in_numpy in zip(found, expected, strict=True):
        np.testing.assert_allclose(on_device.cpu().numpy(), in_numpy, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_component_fails_beyond_its_limit_and_not_at_it(dtype):
    pole = CartPole(time_step=1e-30)  # which moves nothing
    limits = torch.tensor([pole.x_limit, pole.theta_limit], dtype=dtype)
    beyond = torch.nextafter(limits, 2.0 * limits)
    places = [(place, 2 * i) for i, pair in enumerate(zip(limits, beyond, strict=True)) for place in pair]
    state = torch.zeros(2, 4, 4, dtype=dtype)
    for j, (place, column) in enumerate(places):
        state[0, j, column], state[1, j, column] = place, -place
    state[..., 1] = 1e3  # speeds have no limit
    failed = pole.transition(state, torch.ones(2, 4, dtype=torch.int64), torch.empty(0))[2]
    assert failed.tolist() == [[False, True, False, True]] * 2


@pytest.mark.parametrize(
    "parameters", [{"cart_mass": 0.0}, {"force": -1.0}, {"time_step": float("nan")}, {"max_steps": 0}]
)
def test_bad_parameters_are_refused(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        CartPole(**parameters)


def act(env, generator):
    return torch.randint(0, 2, env.obs.shape[:2], generator=generator)


@pytest.mark.slow
@pytest.mark.parametrize(("in_torch", "compiled"), [(False, True), (False, False), (True, False)])
def test_the_batch_restarts_in_the_same_step_and_never_loses_a_successor(in_torch, compiled):
    env = BatchedEnv(CartPole(max_steps=15), [3, 4], 5, in_torch=in_torch, compiled=compiled)
    generator = torch.Generator().manual_seed(0)
    elapsed = torch.zeros(2, 5, dtype=torch.int64)
    seen = {"terminated": 0, "truncated": 0}
    for _ in range(300):
        before = env.obs.clone()
        step = env.step(act(env, generator))
        elapsed += 1
        assert torch.equal(step.obs, before)
        states, _, terminated = CartPole().transition(before, step.action, None)
        torch.testing.assert_close(step.next_obs, states)
        assert torch.equal(step.terminated, terminated)
        assert torch.equal(step.truncated, elapsed >= 15)
        fresh = env.obs.abs().amax(dim=2) <= 0.05
        assert fresh[step.done].all()
        assert torch.equal(env.obs[~step.done], step.next_obs[~step.done])
        elapsed[step.done] = 0
        seen["terminated"] += int(step.terminated.sum())
        seen["truncated"] += int(step.truncated.sum())
    assert min(seen.values()) > 20


@pytest.mark.slow
def test_numpy_and_torch_step_the_same_episodes():
    envs = [BatchedEnv(CartPole(), range(3), 5, in_torch=in_torch, double=True) for in_torch in (False, True)]
    generator = torch.Generator().manual_seed(0)
    for _ in range(1000):
        action = act(envs[0], generator)
        ours, theirs = (env.step(action) for env in envs)
        assert torch.equal(ours.done, theirs.done)
        torch.testing.assert_close(ours.next_obs, theirs.next_obs)
        torch.testing.assert_close(envs[0].obs, envs[1].obs)


def test_a_row_and_a_copy_are_bitwise_those_of_a_smaller_batch():
    many, one = BatchedEnv(CartPole(), range(8), 3), BatchedEnv(CartPole(), [5], 1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(1000):
        action = act(many, generator)
        ours, theirs = many.step(action), one.step(action[5:6, :1])
        for a, b in zip(ours[:6], theirs[:6], strict=True):
            assert torch.equal(a[5:6, :1], b)
        assert ours.action_mask is ours.next_action_mask is None


def test_first_states_do_not_depend_on_the_policy():
    starts = []
    for action in (0, 1):
        env = BatchedEnv(CartPole(), [0], 1)
        mine = [env.obs]
        while len(mine) < 5:
            if env.step(torch.tensor([[action]])).done:
                mine.append(env.obs)
        starts.append(torch.cat(mine))
    assert torch.equal(*starts)


def test_an_evaluation_copy_plays_gymnasiums_episode_of_its_seed():
    env = BatchedEnv(CartPole(), [42, 42, 7], 4, restart=False, noise="gymnasium", double=True)
    good = torch.tensor([0.1, 0.3, 3.0, 0.5])
    total = torch.zeros(3, 4)
    first = env.obs.clone()
    for _ in range(520):
        total += env.step((env.obs @ good > 0).long()).reward
    reference = gymnasium.make("CartPole-v1")
    for row, seed in enumerate([42, 42, 7]):
        for copy in range(4):
            obs, _ = reference.reset(seed=seed + copy)
            np.testing.assert_array_equal(first[row, copy].numpy(), obs)
    assert (total == 500).all()  # nothing is paid after the end


def test_held_copies_stay_as_they_ended():
    env = BatchedEnv(CartPole(), [0], 2, restart=False)
    for _ in range(60):
        last = env.step(torch.zeros(1, 2, dtype=torch.int64))
    assert last.terminated.all()
    assert not last.truncated.any()
    assert not last.reward.any()
    assert torch.equal(last.next_obs, env.obs)
    assert torch.isfinite(env.obs).all()


def test_episodes_continue_from_a_saved_state():
    env, twin = BatchedEnv(CartPole(), [1, 2], 3), BatchedEnv(CartPole(), [1, 2], 3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        env.step(act(env, generator))
    twin.load_state({name: value.clone() for name, value in env.state_dict().items()})
    for _ in range(100):
        action = act(env, generator)
        for a, b in zip(env.step(action)[:6], twin.step(action)[:6], strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": []}, "at least one"),
        ({"seeds": [0], "num_envs": 0}, "num_envs"),
        ({"seeds": [0], "noise": "gymnasium"}, "restart=False"),
    ],
)
def test_bad_batches_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        BatchedEnv(CartPole(), **arguments)


def test_an_unknown_argument_of_an_environment_is_named():
    with pytest.raises(ValueError, match=r"CartPole-v1 cannot be made with .*'pole'.* it takes cart_mass"):
        make("CartPole-v1", env_kwargs={"pole": 1})
