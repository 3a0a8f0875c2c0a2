"""Returns and advantages against brute force written episode by episode."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlkit.returns import (
    discounted_returns,
    ends_by_terminating,
    episode_returns,
    gae,
    steps_since_start,
)


@st.composite
def segments(draw):
    """Rewards, values, values of successors and flags of 2 seeds x T steps x 2 copies.

    Where an episode goes on, a step's successor is the next step's state, so their values agree.
    """
    steps = draw(st.integers(1, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    reward, value, next_value = (torch.from_numpy(rng.normal(size=(2, steps, 2))) for _ in range(3))
    flags = torch.from_numpy(rng.random((2, 2, steps, 2)) < 0.25)
    goes_on = ~(flags[0] | flags[1])[:, :-1]
    next_value[:, :-1] = torch.where(goes_on, value[:, 1:], next_value[:, :-1])
    return reward, value, next_value, flags[0], flags[1]


GAMMA = torch.tensor([[0.9], [0.5]], dtype=torch.float64)


def brute_n_step(reward, next_value, terminated, truncated, gamma, n, s, t, b):
    total, weight = 0.0, 1.0
    for k in range(t, reward.shape[1]):
        total += weight * float(reward[s, k, b])
        weight *= gamma
        if terminated[s, k, b]:
            return total
        if truncated[s, k, b] or k - t + 1 == n or k == reward.shape[1] - 1:
            return total + weight * float(next_value[s, k, b])
    raise AssertionError


@pytest.mark.slow
@given(segments())
def test_returns_are_the_sums_that_define_them(segment):
    reward, _, next_value, terminated, truncated = segment
    whole = discounted_returns(reward, next_value, terminated, truncated, GAMMA)
    for s, t, b in np.ndindex(*reward.shape):
        expected = brute_n_step(reward, next_value, terminated, truncated, float(GAMMA[s]), 10**9, s, t, b)
        assert float(whole[s, t, b]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow
@given(segments(), st.floats(0, 1))
def test_gae_is_the_weighted_mean_of_n_step_advantages(segment, lam):
    """Schulman et al. 2016: (1 - lambda) sum lambda^(n-1) A^(n), what remains of the weight on the longest."""
    reward, value, next_value, terminated, truncated = segment
    ours = gae(reward, value, next_value, terminated, truncated, GAMMA, lam)
    steps = reward.shape[1]
    done = terminated | truncated
    for s, t, b in np.ndindex(*reward.shape):
        last = next((k for k in range(t, steps) if done[s, k, b]), steps - 1)
        longest = last - t + 1
        expected = 0.0
        for n in range(1, longest + 1):
            weight = (1 - lam) * lam ** (n - 1) if n < longest else lam ** (longest - 1)
            g = brute_n_step(reward, next_value, terminated, truncated, float(GAMMA[s]), n, s, t, b)
            expected += weight * (g - float(value[s, t, b]))
        assert float(ours[s, t, b]) == pytest.approx(expected, abs=1e-10)


@pytest.mark.slow
@given(segments())
def test_the_ends_of_gae(segment):
    reward, value, next_value, terminated, truncated = segment
    args = (next_value, terminated, truncated, GAMMA)
    torch.testing.assert_close(gae(reward, value, *args, 1.0) + value, discounted_returns(reward, *args))
    one_step = reward + GAMMA[:, None] * torch.where(terminated, 0.0, next_value)
    torch.testing.assert_close(gae(reward, value, *args, 0.0) + value, one_step)


@pytest.mark.slow
@given(segments())
def test_gae_is_stable_baselines3s_buffer_when_the_timeout_is_in_the_reward(segment):
    from gymnasium import spaces
    from stable_baselines3.common.buffers import RolloutBuffer

    reward, value, next_value, terminated, truncated = (tensor[0].clone() for tensor in segment)  # [T, B]
    steps, done = len(reward), terminated | truncated
    space = spaces.Box(-1, 1, (1,))
    buffer = RolloutBuffer(steps, space, spaces.Discrete(2), "cpu", gae_lambda=0.8, gamma=0.9, n_envs=2)
    paid = reward + 0.9 * torch.where(truncated & ~terminated, next_value, 0.0)
    start = np.ones(2)
    for t in range(steps):
        nothing = np.zeros((2, 1))
        buffer.add(nothing, nothing, paid[t].numpy(), start, value[t], torch.zeros(2))
        start = done[t].numpy()
    buffer.compute_returns_and_advantage(next_value[-1], start)
    ours = gae(*(x[None] for x in (reward, value, next_value, terminated, truncated)), 0.9, 0.8)[0]
    np.testing.assert_allclose(ours.numpy(), buffer.advantages, atol=1e-5)


def test_what_follows_an_end_never_leaks():
    reward = torch.tensor([[1.0, 2.0, 4.0]])[..., None]
    next_value = torch.tensor([[torch.nan, 8.0, 16.0]])[..., None]
    terminated = torch.tensor([[True, False, False]])[..., None]
    truncated = torch.tensor([[False, True, False]])[..., None]
    returns = discounted_returns(reward, next_value, terminated, truncated, 0.5)
    assert returns[0, :, 0].tolist() == [1.0, 6.0, 12.0]
    assert gae(reward, torch.zeros(1, 3, 1), next_value, terminated, truncated, 0.5, 0.9)[0, :, 0].tolist() == [
        1,
        6,
        12,
    ]


def test_whole_episodes_by_hand():
    done = torch.tensor([[False, True, False, False, True, False]])[..., None]
    returns = torch.tensor([[5.0, 1.0, 7.0, 3.0, 2.0, 9.0]])[..., None]
    assert episode_returns(returns, done)[0, :, 0].tolist() == [5, 5, 7, 7, 7, 9]
    assert steps_since_start(done, torch.tensor([[3]]))[0, :, 0].tolist() == [3, 4, 0, 1, 2, 0]
    terminated = torch.tensor([[False, True, False, False, False, False]])[..., None]
    ends = ends_by_terminating(terminated, done & ~terminated)
    assert ends[0, :, 0].tolist() == [True, True, False, False, False, False]
