"""Optimizers over rows against torch's optimizer of each row."""

import math

import pytest
import torch
from torch import nn

from rlkit.nn import Adam, RMSprop, clip_rows_, flush_denormals, known_within, row_norm


@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_adam_on_rows_is_torchs_adam_on_each_row(scale):
    parameters = torch.randn(3, 7, dtype=torch.float64)
    rates = torch.tensor([1e-3, 1e-2, 0.1], dtype=torch.float64)
    rows = [nn.Parameter(row.clone()) for row in parameters]
    references = [torch.optim.Adam([row], lr=float(rate)) for row, rate in zip(rows, rates, strict=True)]
    adam = Adam(parameters)
    for _ in range(30):
        gradient = scale * torch.randn(3, 7, dtype=torch.float64)
        adam.step(gradient, rates, torch.ones(3, dtype=torch.bool))
        for row, reference, g in zip(rows, references, gradient, strict=True):
            row.grad = g
            reference.step()
    torch.testing.assert_close(parameters, torch.stack([row.detach() for row in rows]))


@pytest.mark.parametrize("width", [16, 48, 50])  # whole cache lines are stepped in one piece
def test_rows_that_step_alike_step_to_the_bit_as_each_alone(width):
    parameters, rate = torch.randn(3, width), torch.full((3,), 1e-2)
    together, alone = Adam(parameters.clone()), [Adam(row[None].clone()) for row in parameters]
    for step in range(30):
        active = torch.tensor([True, not 10 <= step < 12, True])  # from then on the rows differ in their steps
        gradient = torch.randn(3, width)
        together.step(gradient, rate, active)
        for row, adam in enumerate(alone):
            adam.step(gradient[row : row + 1], rate[:1], active[row : row + 1])
            assert torch.equal(together.parameters[row], adam.parameters[0]), (step, row)


def test_adam_by_row_and_elementwise_are_one_rule():
    parameters, rates = torch.randn(3, 7, dtype=torch.float64), torch.tensor([1e-3, 1e-2, 0.1], dtype=torch.float64)
    by_row, elementwise = Adam(parameters.clone()), Adam(parameters.clone())
    for step in range(30):
        gradient, active = torch.randn(3, 7, dtype=torch.float64), torch.tensor([True, step > 3, not 10 < step < 20])
        by_row.step(gradient, rates, active)
        elementwise.steps += active
        elementwise._step_elementwise(gradient, rates, active)
        torch.testing.assert_close(by_row.parameters, elementwise.parameters)


def test_adam_of_all_rows_together_is_the_same_rule_until_a_row_stops_for_good():
    parameters, rates = torch.randn(3, 7, dtype=torch.float64), torch.tensor([1e-3, 1e-2, 0.1], dtype=torch.float64)
    by_row, together = Adam(parameters.clone()), Adam(parameters.clone())
    for step in range(30):
        gradient, active = torch.randn(3, 7, dtype=torch.float64), torch.tensor([True, True, step < 20])
        by_row.step(gradient, rates, active)
        together.steps += 1.0
        together._step_together(gradient, rates, active)
        torch.testing.assert_close(by_row.parameters, together.parameters)


def test_rmsprop_of_all_rows_together_is_the_same_rule():
    parameters, rates = torch.randn(3, 7, dtype=torch.float64), torch.tensor([1e-3, 1e-2, 0.1], dtype=torch.float64)
    elementwise, together = RMSprop(parameters.clone()), RMSprop(parameters.clone())
    together._as_adam = together._adam()
    for step in range(30):
        gradient, active = torch.randn(3, 7, dtype=torch.float64), torch.tensor([True, True, step < 20])
        together.step(gradient.clone(), rates, active)
        elementwise.step(gradient, rates, active)
        torch.testing.assert_close(elementwise.parameters, together.parameters)
        assert together.state_dict()["second"] is together._as_adam.second


@pytest.mark.parametrize("step", [Adam._step_by_row, Adam._step_elementwise, Adam._step_together])
def test_an_idle_row_keeps_its_parameters_to_the_bit_whatever_its_gradient(step, monkeypatch):
    monkeypatch.setattr(Adam, "_step_by_row", step)
    parameters = torch.randn(2, 5)
    adam = Adam(parameters)
    rate = torch.full((2,), 0.1)
    adam.step(torch.randn(2, 5), rate, torch.tensor([True, True]))
    before = parameters.clone()
    for bad in (math.nan, math.inf, 1.0):
        gradient = torch.randn(2, 5)
        gradient[0] = bad
        adam.step(gradient, rate, torch.tensor([False, True]))
    assert torch.equal(parameters[0], before[0])
    assert torch.isfinite(parameters).all()
    assert not torch.equal(parameters[1], before[1])


def test_clipping_is_torchs_for_each_row():
    gradient = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    limits = torch.tensor([1.0, 1.0])
    clipped = clip_rows_(gradient.clone(), row_norm(gradient), limits)
    for row, expected in zip(gradient, clipped, strict=True):
        parameter = nn.Parameter(torch.zeros(2))
        parameter.grad = row.clone()
        nn.utils.clip_grad_norm_([parameter], 1.0)
        torch.testing.assert_close(expected, parameter.grad)


def test_denormals_are_flushed_within_and_kept_without():
    tiny = torch.tensor([1e-39])
    with flush_denormals():
        assert float(tiny * 1.0) == 0.0
        with flush_denormals():
            pass
        assert float(tiny * 1.0) == 0.0
    assert float(tiny * 1.0) > 0.0


def test_known_within_says_no_where_a_norm_is_above_its_limit_or_not_a_number():
    limits = torch.tensor([1.0, 2.0])
    assert known_within(torch.tensor([1.0, 2.0]), limits)
    assert not known_within(torch.tensor([1.0, 2.1]), limits)
    assert not known_within(torch.tensor([math.nan, 0.0]), limits)
    assert not known_within(torch.zeros(2, device="meta"), limits)  # a device that cannot be read
