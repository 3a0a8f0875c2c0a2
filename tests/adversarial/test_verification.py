"""Verification against a solver of mixed-integer programs, closed forms and thousands of samples."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from victims import NORMS, normal, uniform

from rlkit.adversarial import PGD, Budget, ModuleVictim, ReachableActions, execute, reachable_actions
from rlkit.adversarial.budget import Norm


def network(*sizes: int, seed: int = 0, activation: type[nn.Module] = nn.ReLU, gain: float = 2.0) -> nn.Sequential:
    """A random network; large weights bend it within small budgets."""
    rng, layers = np.random.default_rng(seed), []
    for n_in, n_out in itertools.pairwise(sizes):
        layer = nn.Linear(n_in, n_out)
        layer.weight.data = torch.from_numpy(rng.normal(size=(n_out, n_in)) * gain / math.sqrt(n_in)).float()
        layer.bias.data = torch.from_numpy(rng.normal(size=n_out)).float()
        layers += [layer, activation()]
    return nn.Sequential(*layers[:-1])


def assert_consistent(found: ReachableActions, victim: Any, obs: Tensor, budget: Budget) -> None:
    """Every entry has one verdict, and every witness is within the budget and provokes its action."""
    verdicts = torch.stack([found.reachable, found.excluded, found.open]).sum(dim=0)
    assert (verdicts == 1).all()
    for action in range(found.reachable.shape[-1]):
        shown, told = found.witness[:, :, action], found.reachable[..., action]
        assert torch.equal(victim.act(shown)[told], torch.full_like(victim.act(shown)[told], action))
        assert budget.norm != "inf" or torch.equal(budget.project(obs, shown), shown)
        epsilon = budget.per_example(obs).reshape(obs.shape[:2])
        assert (budget.distance(obs, shown) <= epsilon * (1 + 1e-4) + 1e-5).all()
        assert torch.equal(shown[~told], obs[~told])


def samples(obs: Tensor, budget: Budget, count: int, seed: int = 0) -> Tensor:
    """Points of the ball and of its boundary around every observation: [S, count B, D]."""
    many = obs.repeat(1, count, 1)
    u = uniform(*many.shape[:2], many.shape[2] + 1, seed=seed)
    inside, outside = budget.sample(many, u), budget.sample_signs(many, u[..., :-1])
    return budget.project(many, many + torch.where(u[..., -1:] < 0.5, inside, outside))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_no_excluded_action_is_ever_provoked(norm: Norm, activation: type[nn.Module]) -> None:
    victim = ModuleVictim([network(3, 16, 16, 3, seed=seed, activation=activation) for seed in range(2)])
    obs = normal(2, 30, 3).clamp(-1.5, 1.5)
    budget = Budget(0.3, norm=norm, scale=[1.0, 0.5, 2.0], mask=[True, True, False], low=-1.6, high=1.6)
    found = reachable_actions(victim, obs, budget)
    assert_consistent(found, victim, obs, budget)
    shown = torch.nn.functional.one_hot(victim.act(samples(obs, budget, 1000)), 3).view(2, 1000, 30, 3).amax(dim=1)
    assert not (shown.bool() & found.excluded).any()
    attacked = victim.act(execute(PGD(20), victim, obs, budget).obs)
    assert not found.excluded.gather(2, attacked[..., None]).any()
    assert found.open.sum(dim=(0, 1, 2)) <= 1
    assert found.excluded.any(), "nothing was certified"
    assert (found.reachable.sum(dim=-1) > 1).any(), "nothing was attacked"
