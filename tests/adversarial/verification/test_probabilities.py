"""Probability bounds against closed forms, dense grids and samples."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from verified_networks import linear, network, samples
from victims import NORMS, normal

from rlkit.adversarial import Budget, ModuleVictim, ProbabilityBounds, probability_bounds
from rlkit.adversarial.budget import Norm
from rlkit.agents import DQN, PPO

TOLERANCE = 1e-3


def probabilities(victim: ModuleVictim, shown: Tensor) -> Tensor:
    return torch.softmax(victim.scores(shown).detach().double(), dim=-1)


def assert_bounds(found: ProbabilityBounds, victim: ModuleVictim, obs: Tensor, budget: Budget, slack: float) -> None:
    """What is achieved is achieved by witnesses in the budget, and bounds are near it."""
    actions = found.low.shape[-1]
    for shown, achieved in ((found.low_witness, found.low_achieved), (found.high_witness, found.high_achieved)):
        for action in range(actions):
            torch.testing.assert_close(
                probabilities(victim, shown[:, :, action])[..., action], achieved[..., action], atol=1e-6, rtol=0.0
            )
            away = budget.distance(obs.double(), shown[:, :, action].double())
            assert (away <= budget.per_example(obs).reshape(away.shape) * (1 + 1e-5) + 1e-5).all()
    at_truth = probabilities(victim, obs)
    assert (found.low <= found.low_achieved).all()
    assert (found.low_achieved <= at_truth + TOLERANCE).all()
    assert (found.high_achieved <= found.high).all()
    assert (at_truth - TOLERANCE <= found.high_achieved).all()
    assert (found.low_achieved - found.low <= TOLERANCE + slack).all()
    assert (found.high - found.high_achieved <= TOLERANCE + slack).all()


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("actions", [2, 3])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_samples_never_leave_the_bounds(norm: Norm, actions: int, activation: type[nn.Module]) -> None:
    victim = ModuleVictim([network(2, 16, 16, actions, seed=seed, activation=activation) for seed in range(2)])
    obs = normal(2, 8, 2)
    budget = Budget(0.25, norm=norm, scale=[1.0, 0.5], low=-2.0, high=2.0)
    obs = budget.cut(obs)
    found = probability_bounds(victim, obs, budget, TOLERANCE)
    assert_bounds(found, victim, obs, budget, slack=5e-4)
    shown = samples(obs, budget, 2000)
    pi = probabilities(victim, shown.flatten(1, 2)).unflatten(1, shown.shape[1:3])
    assert (found.low <= pi.amin(dim=1) + 1e-7).all()
    assert (found.high >= pi.amax(dim=1) - 1e-7).all()
    assert (found.high - found.low).amax(dim=(0, 1, 2)) > 0.1, "nothing could be moved"


@pytest.mark.parametrize("norm", NORMS)
def test_two_actions_of_a_linear_policy_have_the_closed_form(norm: Norm) -> None:
    # z_1 - z_0 moves by epsilon |scale w|_q, and pi(1) is its sigmoid
    weight = normal(2, 3, seed=5)
    victim = ModuleVictim(nn.Sequential(linear(weight, [0.2, 0.0])))
    obs, budget = normal(1, 50, 3, seed=6), Budget(0.4, norm=norm, scale=[1.0, 2.0, 0.5], mask=[True, True, False])
    found = probability_bounds(victim, obs, budget, 1e-6)
    scores = victim.scores(obs).detach().double()
    lead = scores[..., 1] - scores[..., 0]
    gain = 0.4 * budget.dual_norm((weight[1] - weight[0]).double().expand(1, 50, 3))
    expected = torch.sigmoid(torch.stack([lead - gain, lead + gain], dim=-1))
    torch.testing.assert_close(found.low[..., 1], expected[..., 0], atol=2e-5, rtol=0.0)
    torch.testing.assert_close(found.high[..., 1], expected[..., 1], atol=2e-5, rtol=0.0)
    torch.testing.assert_close(found.low[..., 0], 1.0 - expected[..., 1], atol=2e-5, rtol=0.0)
    torch.testing.assert_close(found.high_achieved[..., 1], expected[..., 1], atol=2e-5, rtol=0.0)


def test_extremes_in_one_dimension_are_those_of_a_dense_grid() -> None:
    victim = ModuleVictim(network(1, 16, 16, 4, seed=3, activation=nn.Tanh))
    obs = normal(1, 10, 1)
    found = probability_bounds(victim, obs, Budget(0.3), 1e-4)
    grid = obs[:, None] + torch.linspace(-0.3, 0.3, 4001)[None, :, None, None]
    pi = probabilities(victim, grid.flatten(1, 2)).unflatten(1, grid.shape[1:3])
    torch.testing.assert_close(found.low, pi.amin(dim=1), atol=4e-4, rtol=0.0)
    torch.testing.assert_close(found.high, pi.amax(dim=1), atol=4e-4, rtol=0.0)


def test_agents_of_several_rows_are_bounded_as_alone() -> None:
    agent = PPO("CartPole-v1", seeds=[0, 1], net_arch=(16, 16), ortho_init=False)
    obs = normal(2, 10, 4)
    together = probability_bounds(agent, obs, Budget(0.2))
    for row in range(2):
        alone = probability_bounds(agent[row], obs[row : row + 1], Budget(0.2))
        for one, part in zip(together, alone, strict=True):
            assert torch.equal(one[row : row + 1], part)


def test_a_limit_of_boxes_widens_the_bounds() -> None:
    victim, obs = ModuleVictim(network(3, 16, 16, 3, seed=1)), normal(1, 20, 3)
    full, few = probability_bounds(victim, obs, Budget(0.4)), probability_bounds(victim, obs, Budget(0.4), max_boxes=1)
    assert (few.boxes == 6).all()
    assert (full.boxes > few.boxes).any()
    assert (few.high - few.high_achieved).amax(dim=(0, 1, 2)) > 0.1
    assert (few.low <= full.low_achieved).all()
    assert (few.high >= full.high_achieved).all()


def test_one_action_has_probability_one() -> None:
    found = probability_bounds(ModuleVictim(network(2, 4, 1)), normal(1, 3, 2), Budget(0.1))
    assert (found.low == 1.0).all()
    assert (found.high == 1.0).all()


def test_what_has_no_sampled_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="action values, which define no sampled policy"):
        probability_bounds(DQN("CartPole-v1"), normal(1, 3, 4), Budget(0.1))
    victim, obs = ModuleVictim(network(2, 4, 2)), normal(1, 3, 2)
    for tolerance in (0.0, 1.0, -1.0):
        with pytest.raises(ValueError, match="tolerance must be between 0 and 1"):
            probability_bounds(victim, obs, Budget(0.1), tolerance)
    with pytest.raises(ValueError, match="max_boxes must be at least 1"):
        probability_bounds(victim, obs, Budget(0.1), max_boxes=0)
