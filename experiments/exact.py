"""What a learned greedy policy is worth on a grid, computed in the table that the simulator samples."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from rlkit.agents.agent import Agent
from rlkit.envs.gridworld import GridWorld
from rlkit.planning import evaluate_finite, start_value


def all_scores(agent: Agent, grid: GridWorld) -> NDArray[np.float64]:
    """Every seed's action values or logits at every state, ``[S, N, A]``."""
    states = torch.as_tensor(grid.observations().copy(), device=agent.device)  # [N, *observation]
    with torch.no_grad():
        return agent.scores(states.expand(agent.num_seeds, *states.shape)).double().cpu().numpy()


def exact_returns(agent: Agent, grid: GridWorld, horizon: int) -> NDArray[np.float64]:
    """The expected return of every seed's greedy policy in episodes of at most ``horizon`` steps, ``[S]``."""
    policy = all_scores(agent, grid).argmax(axis=-1)  # [S, N]
    return start_value(grid.mdp, evaluate_finite(grid.mdp, policy, horizon)[:, 0])
