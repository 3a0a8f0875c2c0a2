"""CARRL: lower bounds of action values against brute force and mixed-integer programs, and its verification."""

import numpy as np
import pytest
import torch
from torch import nn
from verified_networks import assert_consistent, largest_lead, network, provoked, samples
from victims import NORMS, Linear, normal

from rlkit.adversarial import CARRL, PGD, Budget, ModuleVictim, certified_radius, execute, reachable_actions
from rlkit.agents import DQN, PPO
from rlkit.sb3 import SB3Policy

SCALE = torch.tensor([1.0, 0.5, 2.0])


def victims(activation: type[nn.Module] = nn.ReLU) -> ModuleVictim:
    return ModuleVictim([network(3, 8, 8, 3, seed=seed, activation=activation) for seed in (0, 1)], True)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
@pytest.mark.parametrize("norm", NORMS)
def test_no_observation_within_the_budget_has_a_lower_value(norm, activation) -> None:
    policy, obs = victims(activation), normal(2, 20, 3)
    budget = Budget(0.3, norm=norm, scale=SCALE, mask=[True, True, False])
    lower = CARRL(policy, budget).scores(obs)
    near = samples(obs, budget, 200)
    least = policy.scores(near.flatten(1, 2)).unflatten(1, near.shape[1:3]).amin(dim=1)
    assert (lower <= least + 1e-4).all()
    if norm == "inf":
        tighter = CARRL(policy, budget, "linear").scores(obs)
        assert (tighter <= least + 1e-4).all()
        assert (tighter >= lower - 1e-4).all()
        assert (tighter - lower).mean() > 0.1


def test_the_bounds_are_below_the_exact_minimum_and_exact_for_linear_layers() -> None:
    module = network(3, 6, 2, seed=3)
    policy, obs, budget = ModuleVictim(module, True), normal(1, 4, 3, seed=2), Budget(0.2, scale=SCALE)
    for bound in ("interval", "linear"):
        lower = CARRL(policy, budget, bound).scores(obs)[0]
        for i in range(4):
            for action in range(2):
                # the largest lead of a score 0 over this action's is minus its least value
                alone = network(3, 6, 2, seed=3)
                alone[-1].weight.data, alone[-1].bias.data = module[-1].weight * 1.0, module[-1].bias * 1.0
                alone[-1].weight.data[1 - action], alone[-1].bias.data[1 - action] = 0.0, 0.0
                low, high = (obs[0, i] + sign * 0.2 * SCALE for sign in (-1, 1))
                exact = -largest_lead(alone, low.double().numpy(), high.double().numpy(), 1 - action)
                assert lower[i, action] <= exact + 1e-4
    affine = ModuleVictim(nn.Linear(3, 2), True)
    weight = affine.modules[0].weight
    for norm, dual in (("inf", 1.0), ("2", 2.0), ("1", np.inf)):
        expected = affine.scores(obs) - 0.2 * torch.linalg.vector_norm(weight * SCALE, ord=dual, dim=1)
        assert torch.allclose(CARRL(affine, Budget(0.2, norm=norm, scale=SCALE)).scores(obs), expected, atol=1e-5)


@pytest.mark.parametrize("given", [{}, {"dueling": True}, {"normalize_observations": True}], ids=str)
def test_epsilon_0_is_the_policy_itself(given) -> None:
    agent, obs = DQN("CartPole-v1", seeds=2, device="cpu", net_arch=(8, 8), **given), normal(2, 60, 4)
    if agent.normalizer is not None:
        seen = normal(2, 50, 1, 4, seed=9) * torch.tensor([2.0, 0.1, 1.0, 5.0]) + 0.5
        agent.normalizer.update(seen, torch.ones(2, 50, 1), torch.zeros(2, 50, 1).bool(), torch.ones(2).bool())
    for bound in ("interval", "linear"):
        still = CARRL(agent, 0.0, bound)
        assert torch.allclose(still.scores(obs), agent.scores(obs), atol=1e-5)
        assert torch.equal(still.act(obs), agent.act(obs))
    assert torch.equal(CARRL(agent, 0.1)[1].scores(obs[1:]), CARRL(agent, 0.1).scores(obs)[1:])
    near = samples(obs, Budget(0.1), 50)
    least = agent.scores(near.flatten(1, 2)).unflatten(1, near.shape[1:3]).amin(dim=1)
    assert (CARRL(agent, 0.1).scores(obs) <= least + 1e-5).all()


@pytest.mark.slow
def test_models_of_stable_baselines3_act_on_lower_bounds_too() -> None:
    sb3 = pytest.importorskip("stable_baselines3")
    models = [sb3.DQN("MlpPolicy", "CartPole-v1", seed=seed, device="cpu", buffer_size=10) for seed in (0, 1)]
    policy, obs = SB3Policy(models), normal(2, 40, 4)
    assert torch.equal(CARRL(policy, 0.0).act(obs), policy.act(obs))
    composite = CARRL(policy, Budget(0.05, scale=[0.44, 0.33, 0.037, 0.23]))
    assert (composite.scores(obs) < policy.scores(obs)).all()
    found = reachable_actions(composite, obs, 0.01)
    assert_consistent(found, composite, obs, Budget(0.01))


def test_it_takes_the_safer_action() -> None:
    """The better of two actions at the truth has the lower value at a corner of the ball."""
    safe, risky = torch.tensor([0.0, 0.0, 0.0]), torch.tensor([3.0, 0.0, 0.0])
    module = nn.Linear(3, 2)
    module.weight.data, module.bias.data = torch.stack([safe, risky]), torch.tensor([0.0, 0.2])
    policy, obs = ModuleVictim(module, True), torch.zeros(1, 1, 3)
    assert policy.act(obs).item() == 1
    assert CARRL(policy, 0.05).act(obs).item() == 1
    assert CARRL(policy, 0.1).act(obs).item() == 0


@pytest.mark.slow
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_the_composite_is_verified_completely_and_attacked(activation) -> None:
    policy, obs = victims(activation), normal(2, 6, 3, seed=4)
    own, budget = Budget(0.1, scale=SCALE), Budget(0.25, scale=SCALE)
    composite = CARRL(policy, own)
    found = reachable_actions(composite, obs, budget)
    assert_consistent(found, composite, obs, budget)
    assert not found.open.any()
    assert found.excluded.any()
    assert (found.reachable.sum(dim=-1) > 1).any()
    shown = samples(obs, budget, 300)
    assert not (provoked(composite, shown, 3) & found.excluded).any()
    attacked = execute(PGD(10), composite, obs, budget)
    assert attacked.success.any()
    assert not (attacked.success & (found.reachable | found.open).sum(dim=-1).eq(1)).any()
    many = normal(2, 300, 3, seed=5)
    assert (composite.act(many) != policy.act(many)).any(), "else the test says nothing about the composite"
    radius = certified_radius(composite, obs, Budget(1.0, scale=SCALE), 6)
    assert (radius.certified <= radius.achieved).all()


def test_what_it_does_not_cover_is_refused() -> None:
    pole = PPO("CartPole-v1", device="cpu", net_arch=(8,))
    with pytest.raises(ValueError, match="PPO gives logits, and CARRL bounds action values: use a DQN"):
        CARRL(pole, 0.1)
    with pytest.raises(ValueError, match="needs floating observations and one epsilon"):
        CARRL(DQN("rlkit/GridWorld-v0", device="cpu", net_arch=(8,)), 0.1)
    policy = victims()
    with pytest.raises(ValueError, match="linear bounds are of boxes"):
        CARRL(policy, Budget(0.1, norm="2"), "linear")
    with pytest.raises(ValueError, match="bound must be one of interval, linear, got 'exact'"):
        CARRL(policy, 0.1, "exact")
    with pytest.raises(ValueError, match="CARRL with linear bounds cannot be verified: use bound='interval'"):
        reachable_actions(CARRL(policy, 0.1, "linear"), normal(2, 3, 3), 0.1)
    linear = Linear(normal(1, 3, 2))
    linear.scores_are_values = True
    with pytest.raises(ValueError, match="Linear cannot be verified"):
        CARRL(linear, 0.1)
