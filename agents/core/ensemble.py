"""The mean policy of an agent's rows."""

from __future__ import annotations

import torch
from torch import Tensor

from rlkit.arrays import Given, as_observations
from rlkit.evaluation import EVALUATION_SEED
from rlkit.types import Env

from .policy import ScoredPolicy


class Ensemble(ScoredPolicy):
    """One policy made of S: the mean over seeds of action values, or of probabilities where the scores are logits.

    It has a single row: observations are ``[1, B, *observation]`` for every S. Its ``scores`` are differentiable, so
    it can be attacked like an agent.

    Args:
        agent: the rows, with equal weights.
    """

    def __init__(self, agent: ScoredPolicy) -> None:
        self.agent = agent
        self.scores_are_values = agent.scores_are_values
        self.seeds = agent.seeds[:1]
        self.device = agent.device
        self.observation_space, self.action_space = agent.observation_space, agent.action_space
        self.starts = agent.starts

    def scores(self, obs: Given) -> Tensor:
        """Compute mean action values, or the log of the mean probabilities: ``[1, B, *observation] -> [1, B, A]``."""
        shown = as_observations(obs, self)
        scores = self.agent.scores(shown.expand(self.agent.num_seeds, *shown.shape[1:]))
        if self.scores_are_values:
            return scores.mean(dim=0, keepdim=True)
        return torch.softmax(scores, dim=-1).mean(dim=0, keepdim=True).log()

    def epsilon(self) -> Tensor:
        """Refuse: an ensemble of action values has no exploration schedule.

        Raises:
            ValueError: always.
        """
        raise ValueError("an ensemble of action values is greedy: use deterministic=True")

    def evaluation_env(self, episodes: int, seed: int = EVALUATION_SEED, rows: int | None = None) -> Env:
        """Make one row of the copies that the agent is evaluated on."""
        return self.agent.evaluation_env(episodes, seed, rows or 1)
