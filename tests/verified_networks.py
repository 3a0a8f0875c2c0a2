"""Random networks to verify, samples of budgets, and exact answers from a mixed-integer program."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor, nn
from victims import uniform

from rlkit.adversarial import Budget, ReachableActions


def network(*sizes: int, seed: int = 0, activation: type[nn.Module] = nn.ReLU, gain: float = 2.0) -> nn.Sequential:
    """A random network; large weights bend it within small budgets."""
    rng, layers = np.random.default_rng(seed), []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [
            linear(rng.normal(size=(n_out, n_in)) * gain / math.sqrt(n_in), rng.normal(size=n_out)),
            activation(),
        ]
    return nn.Sequential(*layers[:-1])


def linear(weight: Any, bias: Any) -> nn.Linear:
    weight, bias = torch.as_tensor(np.asarray(weight)).float(), torch.as_tensor(np.asarray(bias)).float()
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data, layer.bias.data = weight, bias
    return layer


def samples(obs: Tensor, budget: Budget, count: int, seed: int = 0) -> Tensor:
    """Points of the ball and of its boundary around every observation, ``[S, count, B, *observation]``."""
    many = obs.repeat(1, count, *(1,) * (obs.dim() - 2))
    tiled = budget.tiled(count)
    u = uniform(*many.shape[:2], many[0, 0].numel() + 1, seed=seed)
    inside, outside = tiled.sample(many, u), tiled.sample_signs(many, u[..., :-1])
    use = u[..., -1].reshape(*u.shape[:2], *(1,) * (obs.dim() - 2)) < 0.5
    return tiled.project(many, many + torch.where(use, inside, outside)).unflatten(1, (count, -1))


def provoked(victim: Any, shown: Tensor, actions: int) -> Tensor:
    """Which actions observations ``[S, count, B, ...]`` provoke, ``[S, B, A]`` bool."""
    chosen = victim.act(shown.flatten(1, 2)).unflatten(1, shown.shape[1:3])
    return nn.functional.one_hot(chosen, actions).amax(dim=1).bool()


def assert_consistent(found: ReachableActions, victim: Any, obs: Tensor, budget: Budget) -> None:
    """Every entry has one verdict, and every witness is within the budget and provokes its action."""
    assert (torch.stack([found.reachable, found.excluded, found.open]).sum(dim=0) == 1).all()
    assert found.reachable.gather(2, victim.act(obs)[..., None]).all(), "the own action is reachable"
    epsilon = budget.per_example(obs).reshape(obs.shape[:2])
    for action in range(found.reachable.shape[-1]):
        shown, told = found.witness[:, :, action], found.reachable[..., action]
        assert (victim.act(shown)[told] == action).all()
        assert shown.dtype == obs.dtype
        assert budget.norm != "inf" or torch.equal(budget.project(obs, shown), shown)
        assert torch.equal(budget.cut(shown), shown)
        assert (budget.distance(obs.double(), shown.double()) <= epsilon * (1 + 1e-5) + 1e-5).all()
        assert torch.equal(shown[~told], obs[~told])


def largest_lead(module: nn.Sequential, low: np.ndarray, high: np.ndarray, action: int) -> float:
    """The largest lead of an action over the best other one on a box, by scipy's solver of mixed-integer programs.

    Every unit h = max(y, 0) with y in [l, u] is h >= y, h >= 0, h <= u d, h <= y - l (1 - d) with a binary d.
    """
    layers = [layer for layer in module if isinstance(layer, nn.Linear)]
    widths = [len(low), *(layer.out_features for layer in layers[:-1])]
    units = sum(widths[1:])
    inputs, total = widths[0], widths[0] + 2 * units + 1  # inputs, units, binaries, the lead
    at_most, limits = [], []
    lower, upper = np.full(total, -np.inf), np.full(total, np.inf)
    lower[:inputs], upper[:inputs] = low, high
    binary = slice(inputs + units, inputs + 2 * units)
    lower[binary], upper[binary] = 0.0, 1.0
    l, u, start, place = low, high, 0, inputs  # noqa: E741
    for layer in layers[:-1]:
        weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
        middle, reach = weight @ (l + u) / 2 + bias, np.abs(weight) @ (u - l) / 2
        l, u = middle - reach, middle + reach  # noqa: E741
        for i in range(layer.out_features):
            h, d = place + i, place + units + i
            row = np.zeros(total)
            row[start : start + layer.in_features] = weight[i]
            lower[h] = 0.0
            for coefficient, of_h, of_d, limit in (
                (1.0, -1.0, 0.0, -bias[i]),  # y <= h
                (0.0, 1.0, -max(u[i], 0.0), 0.0),  # h <= u d
                (-1.0, 1.0, -min(l[i], 0.0), bias[i] - min(l[i], 0.0)),  # h <= y - l (1 - d)
            ):
                line = coefficient * row
                line[h], line[d] = line[h] + of_h, of_d
                at_most.append(line)
                limits.append(limit)
        start, place = place, place + layer.out_features
        l, u = np.maximum(l, 0.0), np.maximum(u, 0.0)  # noqa: E741
    weight, bias = layers[-1].weight.detach().double().numpy(), layers[-1].bias.detach().double().numpy()
    for other in set(range(len(weight))) - {action}:
        line = np.zeros(total)
        line[start : start + weight.shape[1]] = weight[other] - weight[action]
        line[-1] = 1.0
        at_most.append(line)
        limits.append(bias[action] - bias[other])
    cost, integrality = np.zeros(total), np.zeros(total)
    cost[-1], integrality[binary] = -1.0, 1
    constraint = LinearConstraint(np.array(at_most), ub=np.array(limits))
    solved = milp(cost, constraints=constraint, bounds=Bounds(lower, upper), integrality=integrality)
    assert solved.success, solved.message
    return float(-solved.fun)
