"""The rows of an agent as one policy that asks them all."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from rlkit.evaluation import EVALUATION_SEED, rollout
from rlkit.exploration import categorical, masked
from rlkit.types import Env

from .predict import predict


class Members(Protocol):
    """What is asked of an agent whose rows are to act together."""

    seeds: tuple[int, ...]
    device: torch.device
    observation_space: spaces.Space[Any]
    action_space: spaces.Discrete
    scores_are_values: ClassVar[bool]

    @property
    def num_seeds(self) -> int:
        """S."""
        ...

    def scores(self, obs: Tensor) -> Tensor:
        """``[S, B, *observation] -> [S, B, A]``."""
        ...

    def uniform(self, copies: int, width: int) -> Tensor:
        """Numbers for sampled actions, ``[S, copies, width]``."""
        ...

    def evaluation_env(self, episodes: int, seed: int, rows: int | None) -> Env:
        """Copies of one episode each."""
        ...


class Ensemble:
    """One policy made of S: the mean over seeds of action values, or of probabilities where the scores are logits.

    It has a single row: observations are ``[1, B, *observation]`` whatever S. Its ``scores`` are differentiable, so
    it can be attacked as any agent.

    Args:
        agent: the rows, all of which count the same.
    """

    num_seeds = 1

    def __init__(self, agent: Members) -> None:
        self.agent = agent
        self.seeds = agent.seeds[:1]
        self.device = agent.device
        self.observation_space, self.action_space = agent.observation_space, agent.action_space

    def scores(self, obs: Tensor) -> Tensor:
        """Mean action values, or log of the mean probabilities: ``[1, B, *observation] -> [1, B, A]``."""
        scores = self.agent.scores(obs.expand(self.agent.num_seeds, *obs.shape[1:]))
        if self.agent.scores_are_values:
            return scores.mean(dim=0, keepdim=True)
        return torch.softmax(scores, dim=-1).mean(dim=0, keepdim=True).log()

    def act(self, obs: Tensor, deterministic: bool = True, action_mask: Tensor | None = None) -> Tensor:
        """The action of the highest score, ``[1, B, *observation] -> [1, B]``; or a sample of the mean probabilities.

        Of the actions that ``action_mask [1, B, A]`` bool allows.

        Raises:
            ValueError: a sample where the scores are action values, which have no probabilities.
        """
        with torch.no_grad():
            scores = self.scores(obs)
        if deterministic:
            return masked(scores, action_mask).argmax(dim=-1)
        if self.agent.scores_are_values:
            raise ValueError("an ensemble of action values is greedy: use deterministic=True")
        return categorical(scores, self.agent.uniform(copies=scores.shape[1], width=1)[:1, :, 0], action_mask)

    def predict(
        self, observation: np.ndarray, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        """stable-baselines3's: one observation or a batch ``[n, ...]`` -> (action or actions ``[n]``, state)."""
        return predict(self, observation, deterministic), state

    def evaluate(self, episodes: int = 100, deterministic: bool = True, seed: int = EVALUATION_SEED) -> np.ndarray:
        """Undiscounted returns ``[1, episodes]`` of the episodes that ``Agent.evaluate`` plays."""
        played = rollout(self, self.agent.evaluation_env(episodes, seed, rows=1), deterministic=deterministic)
        returns: np.ndarray = played.returns.cpu().numpy()
        return returns
