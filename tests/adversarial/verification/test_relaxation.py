"""Lines around activations, against dense samples of the activations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit.adversarial.verification.layers import HiddenActivation
from rlkit.adversarial.verification.relaxation import activated, flattest_on, image, lines, steepest_on

ENDS = [-30.0, -5.0, -3.0, -1.5, -1.0, -0.4, -0.1, -1e-3, -1e-9, 0.0, 1e-9, 1e-3, 0.1, 0.4, 1.0, 1.5, 3.0, 5.0, 30.0]
BOTH: tuple[HiddenActivation, ...] = ("relu", "tanh", "none")


def intervals() -> tuple[torch.Tensor, torch.Tensor]:
    ends = torch.tensor(ENDS, dtype=torch.float64)
    low, high = torch.meshgrid(ends, ends, indexing="ij")
    keep = low <= high
    return low[keep], high[keep]


def inside(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    y = low + (high - low) * torch.linspace(0.0, 1.0, 2001, dtype=torch.float64)[:, None]
    return torch.minimum(torch.maximum(y, low), high)


@pytest.mark.parametrize("activation", BOTH)
def test_lines_enclose_the_activation(activation: HiddenActivation) -> None:
    low, high = intervals()
    line, y = lines(activation, low, high), inside(low, high)
    value = activated(activation, y)
    rounding = 1e-15 * (1.0 + y.abs()) if activation == "relu" else 0.0
    assert (line.low_slope * y + line.low <= value + rounding).all()
    assert (line.high_slope * y + line.high >= value - rounding).all()
    for slope in (line.low_slope, line.high_slope):
        assert ((slope >= 0) & (slope <= 1)).all()


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(start=st.floats(-20, 20), width=st.floats(0, 10), activation=st.sampled_from(BOTH))
def test_lines_enclose_the_activation_on_any_interval(start: float, width: float, activation: HiddenActivation) -> None:
    low, high = (torch.tensor([end], dtype=torch.float64) for end in (start, start + width))
    line, y = lines(activation, low, high), inside(low, high)
    value = activated(activation, y)
    rounding = 1e-15 * (1.0 + y.abs()) if activation == "relu" else 0.0
    assert (line.low_slope * y + line.low <= value + rounding).all()
    assert (line.high_slope * y + line.high >= value - rounding).all()


@pytest.mark.parametrize("activation", BOTH)
def test_lines_meet_as_intervals_shrink(activation: HiddenActivation) -> None:
    # the gap of a smooth activation falls with the square of the width
    for width in (0.1, 0.01, 0.001):
        low = torch.linspace(-4.0, 4.0, 401, dtype=torch.float64) + 0.003
        line = lines(activation, low, low + width)
        gaps = [
            line.high_slope * y + line.high - line.low_slope * y - line.low for y in (low, low + width / 2, low + width)
        ]
        kink = (low < 0) & (low + width > 0) if activation == "relu" else torch.zeros_like(low, dtype=torch.bool)
        assert torch.stack(gaps)[:, ~kink].max() <= width**2 + 1e-12
        assert torch.stack(gaps).max() <= width


def test_a_crossing_relu_has_the_chord_above_and_the_nearer_line_below() -> None:
    line = lines("relu", torch.tensor([-1.0, -3.0]), torch.tensor([3.0, 1.0]))
    assert line.high_slope.tolist() == [0.75, 0.25]
    assert line.high.tolist() == [0.75, 0.75]
    assert line.low_slope.tolist() == [1.0, 0.0]
    assert line.low.tolist() == [0.0, 0.0]


def test_the_closed_form_of_the_tangent_is_right_of_the_point_of_contact() -> None:
    # the tangent of tanh at 0.545 asinh(-l) passes above (l, tanh l), so that no interval needs the flattest line
    l = torch.linspace(-40.0, -1e-6, 100_001, dtype=torch.float64)  # noqa: E741
    contact = 0.545 * torch.asinh(-l)
    assert (contact.tanh() - (1.0 - contact.tanh().square()) * (contact - l) >= l.tanh()).all()


@pytest.mark.parametrize("activation", BOTH)
def test_images_and_derivatives_hold_on_the_interval(activation: HiddenActivation) -> None:
    low, high = intervals()
    y = inside(low, high).requires_grad_()
    value = activated(activation, y)
    below, above = image(activation, low, high)
    assert ((below <= value) & (value <= above)).all()
    (slope,) = torch.autograd.grad(value.sum(dim=(0, 1)), y)
    wide = (high > low) & (high > 0)  # at 0 alone the derivative of relu is either
    assert (flattest_on(activation, low, high) <= slope)[:, wide].all()
    assert (steepest_on(activation, low, high) >= slope)[:, wide].all()
