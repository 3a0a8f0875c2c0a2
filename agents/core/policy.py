"""Policies that score actions, with what follows from scores: actions, probabilities, values, returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from rlkit.arrays import Given, as_action_mask, as_observations, as_whole_number, refuse_nonfinite
from rlkit.evaluation import EVALUATION_SEED, rollout
from rlkit.exploration import categorical, epsilon_greedy, epsilon_greedy_probs, mask_logits
from rlkit.nn import MLP, Normalizer, encode
from rlkit.streams import Stream
from rlkit.types import Env, Starts


class ScoredPolicy:
    """S policies that act by ``scores``: greedily for action values, by softmax for logits.

    A subclass defines ``scores``, ``evaluation_env`` and, for action values, ``epsilon``.

    Observations are tensors, numpy arrays or lists ``[S, B, *observation]``; ``[B, *observation]`` and one observation
    are shown to every row. Answers are tensors ``[S, B, ...]``.
    """

    scores_are_values: bool = False  # whether ``scores`` are action values, else logits of a softmax policy
    heeds_masks = True  # see ``rlkit.types.MaskedPolicy``
    seeds: tuple[int, ...]  # one per row
    device: torch.device
    observation_space: spaces.Space[Any]  # of one copy
    action_space: spaces.Discrete  # of one copy
    starts: Starts = Starts()  # of the environment's own Discrete spaces, in whose numbers ``predict`` speaks
    _sampling: Stream | None = None

    def scores(self, obs: Given) -> Tensor:
        """Compute action values or logits, differentiable in the observation: ``[S, B, *observation] -> [S, B, A]``."""
        raise NotImplementedError

    def evaluation_env(self, episodes: int, seed: int = EVALUATION_SEED, rows: int | None = None) -> Env:
        """Make S (or ``rows``) x ``episodes`` copies of one episode each, the same for every row and every policy."""
        raise NotImplementedError

    def epsilon(self) -> Tensor:
        """Return the current probability of a random action, ``[S]``, for action values."""
        raise NotImplementedError

    @property
    def num_seeds(self) -> int:
        """S."""
        return len(self.seeds)

    def act(self, obs: Given, deterministic: bool = True, action_mask: Given | None = None) -> Tensor:
        """Choose actions for every row: ``[S, B, *observation] -> [S, B]`` int64.

        Args:
            obs: ``[S, B, *observation]``; B may be 0.
            deterministic: True takes the highest score. False samples from softmax(scores) or, for action values,
                the epsilon-greedy policy at the current step of the schedule.
            action_mask: the allowed actions, ``[S, B, A]`` bool; None for all.

        Raises:
            ValueError: observations or a mask that do not fit, or a mask that allows no action for some observation.
        """
        with torch.no_grad():
            scores = self.scores(obs)
        action_mask = as_action_mask(action_mask, scores)
        if deterministic:
            return mask_logits(scores, action_mask).argmax(dim=-1)
        if self.scores_are_values:
            u = self._uniform(copies=scores.shape[1], width=2)
            return epsilon_greedy(scores, self.epsilon()[:, None], u, action_mask)
        return categorical(scores, self._uniform(copies=scores.shape[1], width=1)[..., 0], action_mask)

    def action_probabilities(self, obs: Given, action_mask: Given | None = None) -> Tensor:
        """Compute pi(.|s) over the allowed actions, without gradients: ``[S, B, *observation] -> [S, B, A]``.

        pi is softmax(scores) or, for action values, the epsilon-greedy policy at the current step of the schedule.
        """
        with torch.no_grad():
            scores = self.scores(obs)
        action_mask = as_action_mask(action_mask, scores)
        if self.scores_are_values:
            return epsilon_greedy_probs(scores, self.epsilon()[:, None], action_mask)
        return torch.softmax(mask_logits(scores, action_mask), dim=-1)

    def q_values(self, obs: Given) -> Tensor:
        """Compute Q(s, .) of every row, ``[S, B, *observation] -> [S, B, A]``, without gradients.

        Raises:
            RuntimeError: the agent learns a policy instead of action values.
        """
        if not self.scores_are_values:
            raise RuntimeError(f"{type(self).__name__} learns no action values: use action_probabilities")
        with torch.no_grad():
            return self.scores(obs)

    def values(self, obs: Given) -> Tensor:
        """Compute V(s), or max_a Q(s, a), of every row, ``[S, B, *observation] -> [S, B]``, without gradients."""
        return self.q_values(obs).amax(dim=-1)

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        action_masks: np.ndarray | None = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Predict as stable-baselines3 does: one observation or ``[n, ...]`` -> (action or actions ``[n]``, state).

        Discrete observations and actions are the environment's own numbers, even where these do not start at 0.
        ``action_masks``, the allowed actions ``[A]`` or ``[n, A]``, is the argument of sb3-contrib.

        Raises:
            ValueError: more than one seed (use ``agent[i]``), a shape that does not fit, a number that is not finite,
                or a Discrete observation that is not in its space.
        """
        if self.num_seeds > 1:
            raise ValueError(f"predict answers for one seed and this agent has {self.num_seeds}: use agent[i].predict")
        obs = np.asarray(self.starts.flatten(observation))
        shape = self.observation_space.shape or ()
        if obs.shape[obs.ndim - len(shape) :] != shape or obs.ndim - len(shape) > 1:
            raise ValueError(f"observation has shape {obs.shape}, expected {shape} or (n, *{shape})")
        batch = self._to_zero_based(obs).reshape(1, -1, *shape).to(self.device)
        mask = None if action_masks is None else self._mask_of(action_masks, copies=batch.shape[1])
        actions: np.ndarray = self.act(batch, deterministic, mask)[0].cpu().numpy() + self.starts.action  # [n]
        return (actions if obs.ndim > len(shape) else actions[0]), state

    def _to_zero_based(self, obs: np.ndarray) -> Tensor:
        """Convert the environment's own observations to those of ``Env``, whose Discrete spaces start at 0."""
        if not isinstance(self.observation_space, spaces.Discrete):
            tensor = torch.as_tensor(obs)
            refuse_nonfinite(tensor, "observation")
            return tensor
        own = spaces.Discrete(
            int(self.observation_space.n), start=int(self.observation_space.start) + self.starts.observation
        )
        if obs.dtype.kind not in "iu":
            raise ValueError(f"observation {obs} is of {obs.dtype}: pass integers of {own}")
        wrong = obs[(obs < own.start) | (obs >= own.start + own.n)]
        if wrong.size:
            raise ValueError(f"observation {wrong[0]} is not in {own}: pass one of its integers")
        return self.starts.to_zero_based(torch.as_tensor(obs.astype(np.int64)))

    def _mask_of(self, action_masks: np.ndarray, copies: int) -> Tensor:
        """The actions allowed, ``[A]`` or ``[n, A]`` -> ``[1, n, A]`` bool."""
        allowed, shape = np.asarray(action_masks, dtype=bool), (copies, int(self.action_space.n))
        if allowed.shape not in (shape, shape[1:]):
            raise ValueError(f"action_masks has shape {allowed.shape}, expected {shape}: one number per action")
        if not allowed.any(axis=-1).all():
            raise ValueError("action_masks allows no action for some observation: at least one entry must be True")
        return torch.tensor(np.broadcast_to(allowed, shape)[None], device=self.device)

    def evaluate(self, episodes: int = 100, deterministic: bool = True, seed: int = EVALUATION_SEED) -> np.ndarray:
        """Evaluate every row: undiscounted returns ``[S, episodes]``.

        Episode e starts from ``reset(seed=seed + e)`` for every row. Sampled actions use the same random numbers in
        every call, and leave those of ``act`` and ``predict`` alone.

        Raises:
            ValueError: episodes is below one or not a whole number.
        """
        episodes = as_whole_number(episodes, "episodes")
        kept, self._sampling = self._sampling, None
        try:
            played = rollout(self, self.evaluation_env(episodes, seed), deterministic=deterministic)
        finally:
            self._sampling = kept
        returns: np.ndarray = played.returns.cpu().numpy()
        return returns

    def _uniform(self, copies: int, width: int) -> Tensor:
        """Draw random numbers for sampled actions outside training, ``[S, copies, width]``.

        Another number of copies continues at the same step of the streams.
        """
        if self._sampling is None or self._sampling.copies != copies:
            drawn = 0 if self._sampling is None else self._sampling.step
            self._sampling = Stream(self.seeds, "eval", width, copies, self.device)
            self._sampling.step = drawn
        return self._sampling.next()


class NetworkPolicy(ScoredPolicy):
    """A policy whose scores a network computes from encoded and optionally normalized observations."""

    networks: dict[str, Any]  # by name: "q" or "policy" gives the scores, "value" the values of states
    score_network: Any  # the first of them
    normalizer: Normalizer | None

    def features(self, obs: Given) -> Tensor:
        """Encode observations for the networks, in their dtype: ``[S, ..., *observation] -> [S, ..., D]``."""
        features = encode(as_observations(obs, self), self.observation_space)
        features = features if self.normalizer is None else self.normalizer.observations(features)
        return features.to(self.score_network.flat.dtype)

    def scores(self, obs: Given) -> Tensor:
        """Compute Q(s, .) or logits, differentiable in the observation: ``[S, B, *observation] -> [S, B, A]``."""
        scores: Tensor = self.score_network(self.features(obs))
        return scores

    def scores_and_pullback(self, obs: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]] | None:
        """Compute ``scores`` without a graph, and d f / d scores ``[S, B, A]`` -> d f / d obs ``[S, B, D]``.

        Returns None for normalized or encoded observations and for networks with convolutions or a radial basis:
        differentiate ``scores`` instead.
        """
        network = self.score_network
        plain = isinstance(network, MLP) and network.layers_alone
        if not plain or self.normalizer is not None or obs.dim() != 3 or obs.dtype != network.flat.dtype:
            return None
        with torch.no_grad():
            scores, pullback = network.input_vjp(obs)
        return scores, pullback

    def values(self, obs: Given) -> Tensor:
        """Compute V(s), or max_a Q(s, a), of every row, ``[S, B, *observation] -> [S, B]``, without gradients."""
        if self.scores_are_values:
            return super().values(obs)
        with torch.no_grad():
            values: Tensor = self.networks["value"](self.features(obs))[..., 0]
        return values
