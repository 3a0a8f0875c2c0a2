"""Deterministic simulators and linear victims that searches through them are tested with."""

import numpy as np
import torch
from torch import nn

from rlkit.adversarial import ModuleVictim
from rlkit.envs import CartPole
from rlkit.experiments.workflows.cartpole.falls import CartPoleFalls

POLE = CartPole(max_steps=25)
FALLS = CartPoleFalls(POLE)
STARTS = np.random.default_rng(0).uniform(-0.05, 0.05, (2, 4)).astype(np.float32)
SCALE = [0.44, 0.33, 0.037, 0.23]


def pushing_to(*weights):
    """Linear victims that push right where the weighted sum is positive, one row per tuple of weights."""
    modules = []
    for weight in weights:
        module = nn.Linear(4, 2)
        module.weight.data = torch.stack([torch.zeros(4), torch.tensor(weight)])
        module.bias.data = torch.zeros(2)
        modules.append(nn.Sequential(module))
    return ModuleVictim(modules)


GOOD = (0.1, 0.3, 3.0, 0.5)
VICTIM = pushing_to(GOOD, (0.0, 0.0, 1.0, 0.0))


class Walk:
    """A walk on a line: action 0 goes left, 1 right, each by 1; beyond 3 it fails."""

    transition_noise = 0
    max_steps = 8

    def transition(self, state, action, u):
        ahead = state + (2.0 * np.asarray(action)[..., None] - 1.0).astype(state.dtype)
        return ahead, np.ones(ahead.shape[:-1]), np.abs(ahead[..., 0]) > 3

    def observe(self, state):
        return state.astype(np.float32)


def homing(rows=1):
    """A victim that walks back to 0."""
    modules = []
    for _ in range(rows):
        module = nn.Linear(1, 2)
        module.weight.data, module.bias.data = torch.tensor([[1.0], [0.0]]), torch.tensor([0.0, 0.0])
        modules.append(nn.Sequential(module))
    return ModuleVictim(modules)
