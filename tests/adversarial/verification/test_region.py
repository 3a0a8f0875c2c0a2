"""Regions contain whatever a budget lets an attacker show, and their minima are exact."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import Tensor
from verified_networks import network
from victims import NORMS, length, normal, uniform

from rlkit.adversarial import Budget, ModuleVictim
from rlkit.adversarial.budget import ORDER, Norm
from rlkit.adversarial.verification import region as regions
from rlkit.adversarial.verification.layers import extract_layers
from rlkit.adversarial.verification.region import (
    Balls,
    Region,
    least,
    pulled_in,
    region_of,
    region_of_features,
    tightened,
)


def contains(region: Region, shown: Tensor) -> bool:
    """Whether observations ``[1, B, D]`` lie in the box and in the ball of their region."""
    points = shown[0].double().mT
    inside = ((region.low <= points) & (points <= region.high)).all()
    if region.balls is not None:
        center, unit = region.balls.center, region.balls.unit
        z = torch.where(unit > 0, (points - center) / torch.where(unit > 0, unit, 1.0), 0.0)
        inside &= (torch.linalg.vector_norm(z, ord=ORDER[region.balls.norm], dim=0) <= region.balls.radius).all()
    return bool(inside)


@settings(max_examples=60, deadline=None)
@given(
    norm=st.sampled_from(NORMS),
    size=st.sampled_from([1e-3, 1.0, 1e4, 3e7]),
    epsilon=st.floats(1e-6, 10.0),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 1000),
)
def test_regions_contain_all_that_projection_returns(
    norm: Norm, size: float, epsilon: float, dtype: torch.dtype, seed: int
) -> None:
    # large observations and small steps: the sum is rounded to the grid of float32
    obs = (size * normal(1, 40, 3, seed=seed)).to(dtype)
    budget = Budget(epsilon, norm=norm, scale=[0.1, 1.0, 0.0], low=-size, high=size * 1.1)
    obs = budget.cut(obs)
    region = region_of_features(obs, budget)
    for far in (1.0, 1e3, -1e3, 1e9):
        shown = budget.project(obs, obs + (far * normal(1, 40, 3, seed=seed + 1)).to(dtype))
        assert contains(region, shown)


@pytest.mark.parametrize("norm", NORMS)
def test_regions_are_not_larger_than_the_budget_but_for_rounding(norm: Norm) -> None:
    obs = normal(1, 50, 4, seed=1)
    budget = Budget(0.5, norm=norm, scale=[1.0, 2.0, 0.5, 1.0], mask=[True, True, True, False], low=-2.0, high=1.5)
    obs = budget.cut(obs)
    region = region_of_features(obs, budget)
    true = obs[0].double().mT
    reach = 0.5 * torch.tensor([1.0, 2.0, 0.5, 0.0], dtype=torch.float64)[:, None]
    torch.testing.assert_close(region.low, (true - reach).clamp(min=-2.0), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(region.high, (true + reach).clamp(max=1.5), atol=1e-5, rtol=0.0)
    assert torch.equal(region.low[3], true[3])
    if region.balls is not None:
        torch.testing.assert_close(region.balls.radius, torch.full((50,), 0.5, dtype=torch.float64), atol=1e-4, rtol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_regions_are_those_of_normalized_and_clipped_features(norm: Norm) -> None:
    stack = extract_layers(ModuleVictim(network(2, 4, 2)))
    stack = stack._replace(
        mean=torch.tensor([[[1.0], [-2.0]]]).double(),
        gain=torch.tensor([[[4.0], [0.5]]]).double(),
        clip=torch.tensor([[[2.0]]]).double(),
    )
    obs = torch.tensor([[[1.4, 0.0], [2.0, 1.0]]])  # normalized: (1.6, 1), and (4, 1.5), which is clipped to (2, 1.5)
    region = region_of(stack, obs, Budget(0.3, norm=norm))
    torch.testing.assert_close(region.low.mT, torch.tensor([[0.4, 0.85], [2.0, 1.35]]).double(), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(region.high.mT, torch.tensor([[2.0, 1.15], [2.0, 1.65]]).double(), atol=1e-5, rtol=0.0)
    if region.balls is not None:
        torch.testing.assert_close(region.balls.unit, torch.tensor([[4.0, 4.0], [0.5, 0.5]]).double())
        center = torch.tensor([[1.6, 1.0], [2.0, 1.5]]).double()
        torch.testing.assert_close(region.balls.center.mT, center, rtol=1e-6, atol=0.0)


def problems(norm: Norm, count: int = 200, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Balls]:
    """Linear functions on boxes of three features that meet balls of radius 0.3 to 1."""
    slopes = normal(3, 1, count, seed=seed).double()
    center = normal(3, count, seed=seed + 1).double()
    unit = torch.tensor([[1.0], [0.5], [2.0]]).double().expand(3, count)
    radius = 0.3 + 0.7 * uniform(count, seed=seed + 2)
    near = center + unit * (uniform(3, count, seed=seed + 3) - 0.5) * 0.3
    low, high = near - 0.8 * uniform(3, count, seed=seed + 4), near + 0.8 * uniform(3, count, seed=seed + 5)
    balls = Balls(norm, center, unit, radius)
    meets = tightened(low, high, balls)[2]
    return slopes[..., meets], low[:, meets], high[:, meets], Balls(norm, *(x[..., meets] for x in balls[1:]))


def test_the_minimum_over_box_and_l1_ball_is_that_of_a_linear_program() -> None:
    slopes, low, high, balls = problems("1", count=60)
    value, point = least(slopes, low, high, balls)
    for i in range(slopes.shape[-1]):
        numbers = (slopes, balls.center, balls.unit, low, high)
        a, center, unit, lower, upper = (x[..., i].flatten().numpy() for x in numbers)
        # y = center + unit (p - q), sum p + q <= radius, p, q >= 0
        away = np.concatenate([np.diag(unit), -np.diag(unit)], axis=1)
        solved = linprog(
            np.concatenate([a * unit, -a * unit]),
            A_ub=np.concatenate([np.ones((1, 6)), away, -away]),
            b_ub=np.concatenate([[balls.radius[i].item()], upper - center, center - lower]),
        )
        assert solved.status == 0
        assert value[0, i].item() == pytest.approx(solved.fun + a @ center, abs=1e-9)
        assert (slopes[:, 0, i] @ point[:, 0, i]).item() == pytest.approx(value[0, i].item(), abs=1e-9)


@pytest.mark.parametrize("norm", ["1", "2"])
def test_the_minimum_over_box_and_ball_is_attained_in_both(norm: Norm) -> None:
    # a lower bound that a point of the region attains is the minimum
    slopes, low, high, balls = problems(norm, count=300, seed=40)
    value, point = least(slopes, low, high, balls)
    y = point[:, 0]
    assert ((low - 1e-5 <= y) & (y <= high + 1e-5)).all()
    z = (y - balls.center) / balls.unit
    assert (torch.linalg.vector_norm(z, ord=ORDER[norm], dim=0) <= balls.radius * (1 + 1e-12)).all()
    attained = (slopes[:, 0] * y).sum(dim=0)
    assert (value[0] <= attained + 1e-12).all()
    torch.testing.assert_close(value[0], attained, atol=2e-5, rtol=0.0)
    points = low[..., None] + (high - low)[..., None] * uniform(*low.shape, 2000, seed=41)
    away = torch.linalg.vector_norm((points - balls.center[..., None]) / balls.unit[..., None], ord=ORDER[norm], dim=0)
    seen = (slopes[:, 0, :, None] * points).sum(dim=0).masked_fill(away > balls.radius[:, None], torch.inf)
    assert (value[0] <= seen.amin(dim=1)).all()


def test_every_multiplier_of_the_l2_ball_gives_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    slopes, low, high, balls = problems("2", count=300, seed=60)
    near, _ = least(slopes, low, high, balls)
    for steps in (0, 2, 4, 8):  # far from the best multiplier
        monkeypatch.setattr(regions, "DUAL_STEPS", steps)
        assert (least(slopes, low, high, balls)[0] <= near + 1e-5).all()


@pytest.mark.parametrize("norm", NORMS)
def test_minima_of_a_whole_ball_are_the_dual_norm(norm: Norm) -> None:
    obs, gradient = normal(1, 30, 4, seed=7), normal(4, 1, 30, seed=8).double()
    budget = Budget(0.7, norm=norm, scale=[1.0, 2.0, 0.5, 0.0])
    region = region_of_features(obs, budget)
    value, point = least(gradient, region.low, region.high, region.balls)
    at_truth = (gradient[:, 0] * obs[0].double().mT).sum(dim=0)
    gain = budget.dual_norm(gradient[:, 0].mT[None])[0]
    torch.testing.assert_close(value[0], at_truth - 0.7 * gain, atol=2e-5, rtol=0.0)
    offset = point[:, 0].mT[None] - obs.double()
    assert (length(budget, torch.where(offset.abs() < 1e-12, 0.0, offset)) <= 0.7 + 1e-5).all()


@pytest.mark.parametrize("norm", ["1", "2"])
def test_tightened_boxes_lose_no_point_of_the_ball(norm: Norm) -> None:
    _, low, high, balls = problems(norm, count=300, seed=20)
    tight_low, tight_high, meets = tightened(low, high, balls)
    assert meets.all()
    assert ((tight_high - tight_low).sum(dim=0) < (high - low).sum(dim=0) - 1e-6).any(), "nothing was cut off"
    points = low[..., None] + (high - low)[..., None] * uniform(*low.shape, 2000, seed=21)
    z = (points - balls.center[..., None]) / balls.unit[..., None]
    inside = torch.linalg.vector_norm(z, ord=ORDER[norm], dim=0) <= balls.radius[:, None]
    kept = ((tight_low[..., None] <= points) & (points <= tight_high[..., None])).all(dim=0)
    assert (kept | ~inside).all()
    assert inside.any()


@pytest.mark.parametrize("norm", ["1", "2"])
def test_tightened_boxes_hold_the_ends_of_the_ball_in_rationals(norm: Norm) -> None:
    center, unit = 1e6 * normal(3, 50, seed=22).double(), 0.5 + uniform(3, 50, seed=23).double()
    radius = 1e-3 * (0.5 + uniform(50, seed=24).double())
    tight_low, tight_high, meets = tightened(center - 1.0, center + 1.0, Balls(norm, center, unit, radius))
    assert meets.all()
    for low, high, c, u, r in zip(
        *(x.flatten().tolist() for x in (tight_low, tight_high, center, unit, radius.expand(3, 50))), strict=True
    ):
        reach = Fraction(u) * Fraction(r)
        assert Fraction(low) <= Fraction(c) - reach
        assert Fraction(c) + reach <= Fraction(high)
    assert (tight_high - tight_low < 1e-2).all()


@pytest.mark.parametrize("norm", ["1", "2"])
def test_boxes_outside_the_ball_are_recognized(norm: Norm) -> None:
    center, unit = torch.zeros(2, 2).double(), torch.ones(2, 2).double()
    low = torch.tensor([[0.6, 0.8], [0.6, 0.8]]).double()  # nearest to 0: |.|_1 is 1.2 and 1.6, |.|_2 0.85 and 1.13
    balls = Balls(norm, center, unit, torch.full((2,), 1.0).double())
    assert tightened(low, low + 1.0, balls)[2].tolist() == ([False, False] if norm == "1" else [True, False])
    inside = pulled_in(low + 1.0, balls)
    torch.testing.assert_close(torch.linalg.vector_norm(inside, ord=ORDER[norm], dim=0), torch.ones(2).double())
