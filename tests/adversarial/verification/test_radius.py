"""Radii, rates and Lipschitz bounds against closed forms, attacks and each other."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from verified_networks import linear, network, samples
from victims import NORMS, normal

from rlkit.adversarial import (
    PGD,
    Budget,
    ModuleVictim,
    certified_action_rate,
    certified_radius,
    execute,
    local_lipschitz_bound,
    local_margin_radius,
    reachable_actions,
)
from rlkit.adversarial.budget import Norm


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
def test_radii_of_linear_victims_have_the_closed_form(norm: Norm) -> None:
    weight = normal(2, 3, seed=1)
    victim, obs = ModuleVictim(nn.Sequential(linear(weight, [0.3, 0.0]))), normal(1, 12, 3, seed=2)
    budget = Budget(2.0, norm=norm, scale=[1.0, 2.0, 0.5], mask=[True, True, False])
    found = certified_radius(victim, obs, budget, 24)
    scores = victim.scores(obs).detach().double()
    expected = (scores[..., 0] - scores[..., 1]).abs() / budget.dual_norm(
        (weight[1] - weight[0]).double().expand(1, 12, 3)
    )
    near = expected < 2.0
    assert near.any()
    assert (~near).any()
    torch.testing.assert_close(found.certified[near], expected[near], atol=2e-5, rtol=0.0)
    torch.testing.assert_close(found.achieved[near], expected[near], atol=2e-4, rtol=0.0)
    assert (found.certified[~near] == 2.0).all()
    assert (found.achieved[~near] == torch.inf).all()
    assert torch.equal(found.witness[~near], obs[~near])
    # one constant for a linear victim: the margin radius is the distance, and no more than epsilon
    local = local_margin_radius(victim, obs, budget)
    torch.testing.assert_close(local, expected.clamp(max=2.0), atol=2e-5, rtol=0.0)
    assert (local <= expected).all()


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
def test_both_sides_of_radii_hold(norm: Norm) -> None:
    victim = ModuleVictim([network(2, 16, 16, 3, seed=seed) for seed in range(2)])
    obs, budget = normal(2, 15, 2), Budget(1.0, norm=norm, scale=[1.0, 0.5])
    found = certified_radius(victim, obs, budget, 14)
    own, flipped = victim.act(obs), found.achieved < torch.inf
    assert (victim.act(found.witness) != own)[flipped].all()
    torch.testing.assert_close(
        budget.distance(obs.double(), found.witness.double())[flipped], found.achieved[flipped], rtol=0, atol=0
    )
    assert (found.certified <= found.achieved).all()
    assert (found.achieved - found.certified)[flipped].amax(dim=0) < 2e-3
    inside = Budget(found.certified.float() * 0.999, norm=norm, scale=[1.0, 0.5])
    shown = samples(obs, inside, 500)
    assert (victim.act(shown.flatten(1, 2)).unflatten(1, shown.shape[1:3]) == own[:, None]).all()
    assert not execute(PGD(20), victim, obs, inside).success.any()
    assert flipped.any()
    assert (~flipped).any()
    # the Lipschitz bound certifies less than what is exact
    assert (local_margin_radius(victim, obs, budget) <= found.certified + 1e-9).all()
    with pytest.raises(ValueError, match="steps must be at least 1"):
        certified_radius(victim, obs, budget, 0)


def test_rates_count_the_verdicts() -> None:
    victim, obs, budget = ModuleVictim([network(3, 16, 2, seed=s) for s in range(2)]), normal(2, 40, 3), Budget(0.3)
    rates, found = certified_action_rate(victim, obs, budget), reachable_actions(victim, obs, budget)
    assert torch.equal(rates.certified, found.excluded.any(dim=-1).double().mean(dim=1))
    assert torch.equal(rates.changed, found.reachable.all(dim=-1).double().mean(dim=1))
    torch.testing.assert_close(rates.certified + rates.changed + rates.open, torch.ones(2).double())
    assert ((rates.certified > 0) & (rates.changed > 0)).all()
    tie = certified_action_rate(ModuleVictim(nn.Sequential(linear([[1.0]] * 2, [0.0, 0.0]))), obs[:1, :, :1], 0.1)
    assert (tie.certified.item(), tie.changed.item(), tie.open.item()) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize("norm", NORMS)
def test_lipschitz_bounds_of_linear_victims_are_exact(norm: Norm) -> None:
    weight = normal(3, 4, seed=3)
    victim, obs = ModuleVictim(nn.Sequential(linear(weight, [0.0] * 3))), normal(1, 2, 4)
    budget = Budget(0.5, norm=norm, scale=[1.0, 3.0, 0.2, 1.0], mask=[True, True, True, False])
    bound = local_lipschitz_bound(victim, obs, budget)
    for b, a in ((0, 1), (2, 0), (1, 1)):
        gain = budget.dual_norm((weight[b] - weight[a]).double().expand(1, 2, 4))
        torch.testing.assert_close(bound[:, :, b, a], gain, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_no_pair_of_the_ball_exceeds_the_lipschitz_bound(norm: Norm, activation: type[nn.Module]) -> None:
    victim = ModuleVictim([network(3, 16, 16, 3, seed=seed, activation=activation).double() for seed in range(2)])
    obs, budget = normal(2, 10, 3).double(), Budget(0.2, norm=norm, scale=[1.0, 0.5, 2.0])
    bound = local_lipschitz_bound(victim, obs, budget)
    one, other = (samples(obs, budget, 300, seed=seed) for seed in (0, 1))
    scores = [victim.scores(x.flatten(1, 2)).detach().unflatten(1, x.shape[1:3]) for x in (one, other)]
    change = scores[1] - scores[0]
    apart = budget.distance(one.flatten(1, 2), other.flatten(1, 2)).unflatten(1, one.shape[1:3])
    same = apart < 1e-9
    apart = torch.where(same, torch.inf, apart)
    steep = (change[..., :, None] - change[..., None, :]).abs() / apart[..., None, None]
    assert (steep.amax(dim=1) <= bound * (1 + 1e-9)).all()
    assert (steep.amax(dim=1) > 0.2 * bound).any(), "the bound is far away"
    # over a point it is the gradient's dual norm
    x = obs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((victim.scores(x)[..., 1] - victim.scores(x)[..., 0]).sum(dim=(0, 1)), x)
    at_point = local_lipschitz_bound(victim, obs, Budget(0.0, norm=norm, scale=[1.0, 0.5, 2.0]))[:, :, 1, 0]
    torch.testing.assert_close(at_point, budget.dual_norm(gradient), rtol=1e-6, atol=1e-9)
