"""Victims whose answers are known, and numbers to attack them with."""

from __future__ import annotations

from typing import get_args

import numpy as np
import torch
from torch import Tensor, nn

from rlkit.adversarial import Budget, ModuleVictim
from rlkit.adversarial.budget import ORDER, Norm

NORMS: tuple[Norm, ...] = get_args(Norm)
DIMS = 4


class Linear:
    """Scores ``x W_s + b_s``: S linear victims, W [S, D, A]."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight = weight
        self.bias = torch.zeros(weight.shape[0], 1, weight.shape[-1]) if bias is None else bias
        self.num_seeds = len(weight)
        self.scores_are_values = False

    def scores(self, obs: Tensor) -> Tensor:
        return obs @ self.weight + self.bias

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        return self.scores(obs).argmax(dim=-1)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).float()


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(shape))


def length(budget: Budget, offset: Tensor) -> Tensor:
    """|offset / scale|_p over the features that may move, [S, B]."""
    extent = budget.extent(offset)
    assert (offset[..., extent == 0] == 0).all(), "a masked feature moved"
    z = torch.where(extent > 0, offset / extent, 0.0)
    norm: Tensor = torch.linalg.vector_norm(z, ord=ORDER[budget.norm], dim=-1)
    return norm


def mlp(actions: int, rows: int = 2, dims: int = DIMS, width: int = 16) -> ModuleVictim:
    """Small curved victims: one hidden layer of tanh with weights large enough to bend within a budget."""
    modules = []
    for row in range(rows):
        module = nn.Sequential(nn.Linear(dims, width), nn.Tanh(), nn.Linear(width, actions))
        for i, parameter in enumerate(module.parameters()):
            parameter.data = normal(*parameter.shape, seed=10 * row + i)
        modules.append(module)
    return ModuleVictim(modules)
