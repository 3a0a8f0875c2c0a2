"""The probes' values in closed form against Bellman's equation on their tables and against played episodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from rlkit.envs.gym_env import DynamicsEnv
from rlkit.envs.probes import PROBES, Probe, delayed_reward, termination, truncation

ENDING = [name for name in PROBES if name != "truncation"]


def bellman(probe: Probe, q: np.ndarray, gamma: float) -> np.ndarray:
    """One backup of action values, ``[N, A]``."""
    mdp = probe.mdp
    future = np.where(mdp.terminated, 0.0, gamma * q.max(axis=1)[mdp.successor])
    backup: np.ndarray = np.sum(mdp.probability * (mdp.reward + future), axis=2)
    return backup


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBES)
@given(gamma=st.floats(0, 0.99))
def test_values_solve_the_optimality_equation(name: str, gamma: float) -> None:
    probe = PROBES[name]()
    q = probe.q_values(gamma)
    assert q.shape == (probe.mdp.num_states, probe.mdp.num_actions)
    np.testing.assert_allclose(bellman(probe, q, gamma), q, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant-reward", [[1]]),
        ("observation-reward", [[-1], [1]]),
        ("delayed-reward", [[0.9], [1]]),
        ("action-reward", [[-1, 1]]),
        ("action-observation-reward", [[1, -1], [-1, 1]]),
        ("truncation", [[10]]),
        ("termination", [[4.0951], [3.439], [2.71], [1.9], [1]]),
    ],
)
def test_values_at_gamma_nine_tenths(name: str, expected: Any) -> None:
    np.testing.assert_allclose(PROBES[name]().q_values(0.9), expected, rtol=1e-12)


@pytest.mark.parametrize("name", ENDING)
def test_greedy_episodes_earn_the_value_of_their_start(name: str) -> None:
    probe, gamma = PROBES[name](), 0.8
    env = DynamicsEnv(probe)
    q = probe.q_values(gamma)
    starts = set()
    for seed in range(8):
        env.reset(seed=seed)
        earned, discount, over = 0.0, 1.0, False
        assert env.state is not None
        start = int(env.state[0])
        starts.add(start)
        while not over:
            _, reward, over, truncated, _ = env.step(int(q[int(env.state[0])].argmax()))
            assert not truncated
            earned += discount * reward
            discount *= gamma
        assert earned == pytest.approx(q[start].max(), rel=1e-12)
    assert starts == set(np.flatnonzero(probe.mdp.start))


def test_the_time_limit_cuts_and_does_not_end() -> None:
    env = DynamicsEnv(truncation(steps=3))
    first, _ = env.reset(seed=0)
    steps = [env.step(0) for _ in range(3)]
    assert [step[2] for step in steps] == [False, False, False]
    assert [step[3] for step in steps] == [False, False, True]
    assert all((step[0] == first).all() for step in steps)  # the time is not to be seen


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_what_taking_the_cut_for_an_ending_gives(steps: int) -> None:
    gamma, value = 0.9, 0.0
    for _ in range(400):  # the mean target over an episode's steps, the last of them without a future
        value = ((steps - 1) * (1 + gamma * value) + 1) / steps
    assert value == pytest.approx(1 / (1 - gamma * (steps - 1) / steps), rel=1e-12)
    assert value < truncation(steps).q_values(gamma).item() - 0.5


def test_the_twin_ends_after_as_many_steps_and_shows_the_time() -> None:
    env = DynamicsEnv(termination(steps=3))
    shown = [env.reset(seed=0)[0]]
    for step in range(3):
        observation, reward, terminated, truncated, _ = env.step(0)
        shown.append(observation)
        assert reward == 1
        assert terminated == (step == 2)
        assert not truncated
    np.testing.assert_array_equal(shown[:3], np.eye(3))
    assert termination(steps=3).q_values(0.5)[-1].item() == 1


@pytest.mark.parametrize("name", PROBES)
def test_probes_are_sound_environments(name: str) -> None:
    probe = PROBES[name]()
    assert probe.name == probe.mdp.name == name
    assert all(row in probe.observation_space for row in probe.observations())
    assert len(np.unique(probe.observations(), axis=0)) == probe.mdp.num_states  # each state looks different
    check_env(DynamicsEnv(probe), skip_render_check=True)


@pytest.mark.parametrize("name", PROBES)
def test_tensors_and_arrays_agree(name: str) -> None:
    probe = PROBES[name]()
    states, actions = np.divmod(np.arange(probe.mdp.num_states * probe.mdp.num_actions), probe.mdp.num_actions)
    noise = np.zeros((len(states), probe.transition_noise))
    state, reward, terminated = probe.transition(states[:, None], actions, noise)
    arrays = (state, reward.astype(np.float32), terminated)  # as rewards are in torch
    tensors = probe.transition(*(torch.from_numpy(x) for x in (states[:, None], actions, noise)))
    for array, tensor in zip(arrays, tensors, strict=True):
        np.testing.assert_array_equal(array, tensor.numpy(), strict=True)
    np.testing.assert_array_equal(probe.observe(torch.from_numpy(states[:, None])), probe.observations()[states])


@pytest.mark.parametrize("gamma", [-0.1, 1.0, float("nan")])
def test_gamma_outside_its_range_is_refused(gamma: float) -> None:
    with pytest.raises(ValueError, match=r"gamma must be in \[0, 1\), got"):
        delayed_reward().q_values(gamma)


@pytest.mark.parametrize("steps", [0, -2])
def test_episodes_of_no_steps_are_refused(steps: int) -> None:
    for make in (truncation, termination):
        with pytest.raises(ValueError, match=f"steps must be at least 1, got {steps}"):
            make(steps)
