"""Epsilon-greedy actions and the schedule of epsilon against literal numbers."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlkit.exploration import all_per_step, any_per_step, epsilon_greedy, linear_schedule


def test_epsilon_greedy_by_hand():
    q = torch.tensor([[0.0, 2.0, 1.0], [5.0, 5.0, 0.0]])
    u = torch.tensor([[0.1, 0.99], [0.9, 0.0]])
    assert epsilon_greedy(q, 0.5, u).tolist() == [2, 0]
    assert epsilon_greedy(q, 0.0, u).tolist() == [1, 0]
    assert epsilon_greedy(q, 1.0, u).tolist() == [2, 0]


@pytest.mark.slow
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 7))
def test_a_random_action_is_the_interval_that_u_falls_in(u, actions):
    action = epsilon_greedy(torch.zeros(actions), 1.0, torch.tensor([0.0, u], dtype=torch.float64))
    assert int(action) == min(math.floor(u * actions), actions - 1)


def test_linear_schedule_at_every_step():
    start, end, total = torch.tensor([1.0, 0.5]), torch.tensor([0.0, 0.5]), torch.tensor([4.0, 0.0])
    values = [linear_schedule(step, total, start, end).tolist() for step in range(6)]
    assert [v[0] for v in values] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert [v[1] for v in values] == [0.5] * 6


def test_steps_at_which_any_and_all_copies_are_chosen():
    chosen = torch.tensor([[[True, True]], [[True, False]], [[False, False]]])  # [T, S, B]
    assert any_per_step(chosen) == [True, True, False]
    assert all_per_step(chosen) == [True, False, False]
