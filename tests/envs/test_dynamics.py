"""Dynamics that wrap others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rlkit.envs import CartPole, Dynamics, GridWorld, RewardOverride, TabularDynamics
from rlkit.envs.dynamics import DEFAULT_FPS, DynamicsWrapper
from rlkit.envs.gym_env import DynamicsEnv
from rlkit.envs.probes import PROBES

EVERY_KIND = [CartPole(max_steps=7), GridWorld(max_steps=9, observation="onehot"), PROBES["truncation"]()]


@pytest.mark.parametrize("inner", EVERY_KIND, ids=lambda inner: type(inner).__name__)
def test_a_wrapper_that_overrides_nothing_is_its_inner_dynamics(inner: Dynamics) -> None:
    wrapper = DynamicsWrapper(inner)
    assert isinstance(wrapper, Dynamics)
    names = ("observation_space", "action_space", "initial_noise", "transition_noise", "max_steps")
    assert [getattr(wrapper, name) for name in names] == [getattr(inner, name) for name in names]
    state = inner.initial(np.full((3, inner.initial_noise), 0.25))
    np.testing.assert_array_equal(wrapper.initial(np.full((3, inner.initial_noise), 0.25)), state)
    np.testing.assert_array_equal(wrapper.observe(state), inner.observe(state))
    step = state, np.zeros(3, dtype=np.int64), np.full((3, inner.transition_noise), 0.75)
    for wrapped, own in zip(wrapper.transition(*step), inner.transition(*step), strict=True):
        np.testing.assert_array_equal(wrapped, own)


def test_a_wrapper_is_drawn_as_its_inner_dynamics() -> None:
    pole = RewardOverride(CartPole(), lambda state, action, next_state, terminated: state[..., 0])
    env = DynamicsEnv(pole, render_mode="rgb_array")
    assert env.metadata["render_fps"] == CartPole.render_fps == 50
    env.reset(seed=0)
    np.testing.assert_array_equal(env.render(), CartPole().render(env.state, "rgb_array"))
    with pytest.raises(ValueError, match="render mode 'ansi' of CartPole: it offers rgb_array"):
        pole.render(np.zeros(4), "ansi")
    table = DynamicsWrapper(TabularDynamics(GridWorld().mdp))
    assert (table.render_modes, table.render_fps) == ((), DEFAULT_FPS)
    with pytest.raises(ValueError, match="render mode 'ansi' of TabularDynamics: it offers none"):
        table.render(np.zeros(1), "ansi")


def test_another_reward_changes_nothing_else() -> None:
    pole, u = CartPole(), torch.rand(2, 3, 4, dtype=torch.float64)
    paid = RewardOverride(pole, lambda state, action, next_state, terminated: action + next_state[..., 2])
    state, action = pole.initial(u), torch.ones(2, 3, dtype=torch.int64)
    (wanted, _, over), (found, reward, ended) = (one.transition(state, action, u[..., :0]) for one in (pole, paid))
    assert torch.equal(wanted, found)
    assert torch.equal(over, ended)
    assert torch.equal(reward, 1 + wanted[..., 2])
