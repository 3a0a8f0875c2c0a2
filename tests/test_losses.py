"""Losses and targets against literal numbers and torch."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rlkit.losses import huber, log_softmax, q_learning_target, squared


def test_q_learning_target_by_hand_and_a_terminals_successor_never_leaks():
    reward, terminated = torch.tensor([1.0, 2.0]), torch.tensor([False, True])
    next_q = torch.tensor([[3.0, 4.0], [math.nan, math.inf]])
    assert q_learning_target(reward, terminated, next_q, 0.5).tolist() == [3.0, 2.0]


@given(st.floats(-50, 50))
def test_huber_is_torchs(error):
    value = torch.tensor([error]).requires_grad_()
    small = abs(error) <= 1.0
    torch.testing.assert_close(huber(value), torch.tensor([0.5 * error**2 if small else abs(error) - 0.5]))
    expected = nn.functional.smooth_l1_loss(value, torch.zeros(1), reduction="none")
    torch.testing.assert_close(huber(value), expected)
    torch.testing.assert_close(
        huber(value, 3.0), 3.0 * nn.functional.smooth_l1_loss(value, torch.zeros(1), beta=3.0)[None]
    )
    (grad,) = torch.autograd.grad(huber(value), value)
    assert float(grad) == pytest.approx(max(-1.0, min(1.0, error)))
    torch.testing.assert_close(squared(value), 0.5 * value**2)


@pytest.mark.parametrize("shape", [(8, 256, 2), (1, 64, 5), (3, 48, 7), (3, 15, 4), (2, 16, 18)])
def test_log_softmax_is_torchs_to_the_bit(shape):
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(log_softmax(logits), logits.log_softmax(dim=-1))
    assert torch.equal(log_softmax(logits[-1:]), log_softmax(logits)[-1:])
