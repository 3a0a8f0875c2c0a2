"""Mean policies of an agent's rows."""

from __future__ import annotations

import torch
from torch import Tensor

from rlkit.arrays import Given, as_observations
from rlkit.evaluation import EVALUATION_SEED
from rlkit.types import Env

from .policy import ScoredPolicy


class Ensemble(ScoredPolicy):
    """The mean over seeds of action values, or of probabilities where the scores are logits.

    It has a single row, or one for every ``members`` rows of the agent: observations are ``[S / members, B,
    *observation]``. Its ``scores`` are differentiable, so it can be attacked like an agent.

    Args:
        agent: the rows, with equal weights.
        members: successive rows that make one policy; None for all of them.

    Raises:
        ValueError: the rows cannot be cut into groups of ``members``.
    """

    def __init__(self, agent: ScoredPolicy, members: int | None = None) -> None:
        self.agent = agent
        self.members = agent.num_seeds if members is None else members
        if self.members < 1 or agent.num_seeds % self.members:
            raise ValueError(f"members must divide the number of seeds, which is {agent.num_seeds}, got {members}")
        self.scores_are_values = agent.scores_are_values
        self.seeds = agent.seeds[:: self.members]
        self.device = agent.device
        self.observation_space, self.action_space = agent.observation_space, agent.action_space
        self.starts = agent.starts

    def scores(self, obs: Given) -> Tensor:
        """Compute mean action values, or the log of the mean probabilities.

        ``[S / members, B, *observation] -> [S / members, B, A]``.
        """
        shown = as_observations(obs, self).repeat_interleave(self.members, dim=0)
        of_members = self.agent.scores(shown)
        scores = of_members.reshape(self.num_seeds, self.members, *of_members.shape[1:])
        if self.scores_are_values:
            return scores.mean(dim=1)
        return torch.softmax(scores, dim=-1).mean(dim=1).log()

    def epsilon(self) -> Tensor:
        """Refuse: an ensemble of action values has no exploration schedule.

        Raises:
            ValueError: always.
        """
        raise ValueError("an ensemble of action values is greedy: use deterministic=True")

    def evaluation_env(self, episodes: int, seed: int = EVALUATION_SEED, rows: int | None = None) -> Env:
        """Make the copies that the agent is evaluated on, in as many rows as there are policies."""
        return self.agent.evaluation_env(episodes, seed, rows or self.num_seeds)
