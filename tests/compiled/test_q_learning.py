"""The loops of Q-learning: the slope against autograd, choices and schedules against the torch functions."""

import numpy as np
import pytest
import torch
from finite_problems import needs_numba
from hypothesis import given
from hypothesis import strategies as st

from rlkit.agents import DQN
from rlkit.agents.core.descent import loss_of
from rlkit.agents.dqn import Regression
from rlkit.agents.dqn import dqn_loss as loss_of_dqn
from rlkit.compiled.losses import dqn_loss
from rlkit.compiled.q_learning import Exploration, forbid, greedy, targets, write_epsilons
from rlkit.compiled.replay import MinibatchArrays
from rlkit.exploration import mask_logits
from rlkit.losses import LOSSES, double_q_target, q_learning_target

pytestmark = needs_numba

M, A = 40, 3


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_slope_is_the_derivative_of_the_loss(loss, weighted):
    rng = np.random.default_rng(0)
    q = torch.from_numpy(rng.normal(0, 2, (1, M, A))).requires_grad_()
    action, target = torch.from_numpy(rng.integers(A, size=(1, M))), torch.from_numpy(rng.normal(0, 2, (1, M)))
    weight = torch.from_numpy(rng.random((1, M)))
    losses = loss_of_dqn(q, Regression(q, action, target, weight if weighted else None), LOSSES[loss])
    (expected,) = torch.autograd.grad(loss_of(losses).sum(), q)
    d, error = np.full((M, A), np.nan), np.empty(M)
    weight = weight[0].numpy() if weighted else np.ones(M)
    dqn_loss(q[0].detach().numpy(), action[0].numpy(), target[0].numpy(), weight, loss == "squared", d, error)
    np.testing.assert_allclose(d, expected[0], rtol=1e-12, atol=0.0)
    np.testing.assert_allclose(error, losses.error[0].detach(), rtol=1e-12)
    assert (np.abs(error) > 1).any()
    assert (np.abs(error) < 1).any()


@pytest.mark.parametrize("squared", [False, True])
def test_the_slope_of_an_error_that_is_not_a_number_is_none_either(squared):
    d = np.empty((2, 1))
    dqn_loss(np.array([[np.nan], [2.0]]), np.zeros(2, np.int64), np.zeros(2), np.ones(2), squared, d, np.empty(2))
    assert np.isnan(d[0, 0])
    assert d[1, 0] == (1.0 if squared else 0.5)


@pytest.mark.slow
@given(st.lists(st.sampled_from([0.0, 1.0, -1.0, np.inf, -np.inf, np.nan]), min_size=1, max_size=5))
def test_the_greedy_action_is_the_one_of_torch(values):
    assert greedy(np.array(values)) == int(torch.tensor(values, dtype=torch.float64).argmax())


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("double", [False, True])
def test_targets_are_those_of_the_torch_functions(double, masked):
    rng = np.random.default_rng(1)
    reward, discount, over = rng.normal(size=M), rng.random(M), rng.random(M) < 0.3
    next_q, online = rng.normal(size=(2, M, A))
    allowed = rng.random((M, A)) < 0.6
    allowed[:, 2] |= ~allowed.any(axis=1)
    numbers = [torch.from_numpy(array) for array in (reward, over, online, next_q, discount)]
    mask = torch.from_numpy(allowed) if masked else None
    if double:
        numbers[2] = mask_logits(numbers[2], mask)
        expected = double_q_target(*numbers)
    else:
        numbers.pop(2)
        numbers[2] = mask_logits(numbers[2], mask)
        expected = q_learning_target(*numbers)
    nothing, y = np.empty((M, 1)), np.empty(M)
    mask = allowed if masked else allowed[:0]
    batch = MinibatchArrays(nothing, nothing, np.zeros(M, np.int64), reward, discount, over, mask)
    selecting = online if double else next_q
    forbid(selecting, mask)
    targets(batch, next_q, selecting, y)
    np.testing.assert_allclose(y, expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_epsilons_are_the_agents_to_the_bit(dtype):
    per_row = {
        "exploration_fraction": [0.0, 0.3, 1.0],
        "exploration_initial_eps": [1.0, 0.7, 0.1],
        "exploration_final_eps": [0.1, 0.0, 0.9],
    }
    agent = DQN("CartPole-v1", seeds=3, num_envs=3, device="cpu", learning_starts=40, _dtype=dtype, **per_row)
    agent.training_state.end = 1000
    expected = agent.epsilons(400).numpy()
    found = np.empty_like(expected)
    numbers = (getattr(agent.per_row, name).numpy() for name in per_row)
    write_epsilons(Exploration(*numbers, 40), 0, 3, 1000, found)
    assert found.dtype == expected.dtype
    assert (found == expected).all()
