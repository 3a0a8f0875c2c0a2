"""Q-learning (Watkins & Dayan 1992), Sarsa (Rummery & Niranjan 1994) and expected Sarsa on a table of action values.

    for each step:
        with probability epsilon take a random action, else argmax_a Q(s, a)
        y = r + gamma max_a' Q(s', a')                   q-learning
        y = r + gamma Q(s', a'), a' the action that the policy takes in s'                       sarsa
        y = r + gamma sum_a' pi(a'|s') Q(s', a'), pi the epsilon-greedy policy          expected-sarsa
        (y = r if s' is terminal)
        Q(s, a) <- Q(s, a) + alpha_n (y - Q(s, a)),  alpha_n = learning_rate / n^power at the n-th update of (s, a)

Every line is done for S seeds at once. Copies of a seed share its table; copies in the same entry move it once, by
their mean error. For 1/2 < power <= 1 and every pair updated infinitely often, Q-learning converges to Q*, Sarsa to the
values of the policy that it follows.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from rlkit.arrays import Given, as_observations
from rlkit.exploration import epsilon_greedy, epsilon_greedy_probs, linear_schedule, mask_logits
from rlkit.types import Transition, segment

from .configs import TabularQConfig
from .core.agent import Agent
from .core.hyperparameters import is_everywhere
from .presets import TABULAR_PRESETS

LARGEST_TABLE = 10_000_000  # states


class QTable:
    """S tables ``[S, N, A]`` float64 in one matrix ``flat [S, N A]``."""

    def __init__(self, num_states: int, num_actions: int, initial: Tensor) -> None:
        self.columns = slice(None)
        self.flat = initial.double()[:, None].repeat(1, num_states * num_actions)
        self.num_actions = num_actions

    def __call__(self, state: Tensor) -> Tensor:
        """Look up the values of states: ``[S, ...]`` int64 -> ``[S, ..., A]``."""
        whole = self.flat.view(len(self.flat), -1, self.num_actions)
        index = state.flatten(1)[..., None].expand(-1, -1, self.num_actions)
        return whole.gather(1, index).view(*state.shape, self.num_actions)


class TabularQ(Agent):
    """Tabular learners on the seed axis; see ``Agent`` for the arguments, ``TabularQConfig`` for hyper-parameters.

    Raises:
        ValueError: the observations are neither Discrete nor MultiDiscrete.
    """

    config_class = TabularQConfig
    takes_terms = False
    scores_are_values = True
    presets = TABULAR_PRESETS
    checkpointed: ClassVar[tuple[str, ...]] = ("updates", "_action")
    saved = ("updates",)  # so that learning continues at the same rate
    config: TabularQConfig

    def _build(self) -> dict[str, QTable]:
        space = self.observation_space
        if not isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
            raise ValueError(f"a table needs Discrete or MultiDiscrete observations, got {space}: use DQN")
        sizes = space.nvec.ravel() if isinstance(space, spaces.MultiDiscrete) else np.array([space.n])
        self._num_states = math.prod(sizes.tolist())
        if self._num_states > LARGEST_TABLE:
            raise ValueError(f"{space} has {self._num_states:,} states, too many for a table: use DQN")
        # a state is a number of mixed radix: its digits are the components, the last one counts single states
        radix = np.append(np.cumprod(sizes[:0:-1])[::-1], 1)
        self._radix, self._sizes, self._first = (
            torch.as_tensor(numbers, dtype=torch.int64, device=self.device)
            for numbers in (radix, sizes, np.broadcast_to(np.asarray(space.start).ravel(), sizes.shape).copy())
        )
        self._scalar = isinstance(space, spaces.Discrete)
        self._shifted = bool(np.any(space.start))
        self.table = QTable(self._num_states, self.num_actions, self.per_row.initial_value)
        self.updates = torch.zeros_like(self.table.flat)  # n of every state and action
        self._action = epsilon_greedy(
            self.scores(self.env.obs), self.epsilon()[:, None], self.explore.next(), self.env.action_mask
        )
        return {"q": self.table}

    def torch_iteration(self) -> None:
        """Step every copy once, and update the entry that each of them was in."""
        self.update(*self.play())

    def play(self) -> tuple[Transition, Tensor]:
        """Step every copy once and choose its next action; the transitions and their targets y, both ``[S, B]``."""
        epsilon, u = self.epsilon()[:, None], self.explore.next()
        self.training_state.means.add(epsilon=epsilon[:, 0])
        transition = self.env.step(self._action)
        self.record(segment([transition]))
        next_q, mask = self.table(self._index(transition.next_obs)), transition.next_action_mask  # [S, B, A]
        if self.config.algorithm == "q-learning":
            next_value = mask_logits(next_q, mask).amax(dim=-1)
        elif self.config.algorithm == "sarsa":
            next_value = next_q.gather(-1, epsilon_greedy(next_q, epsilon, u, mask)[..., None])[..., 0]
        else:
            next_value = (epsilon_greedy_probs(next_q, epsilon, mask) * next_q).sum(dim=-1)
        target = transition.reward + self.per_row.gamma[:, None] * next_value.masked_fill(transition.terminated, 0.0)
        # equals the action of Sarsa's target where the episode continues
        self._action = epsilon_greedy(self.table(self._index(self.env.obs)), epsilon, u, self.env.action_mask)
        return transition, target

    def drop_episodes(self, copies: Tensor) -> None:
        """See ``Agent``; the first action of the new episodes is greedy."""
        super().drop_episodes(copies)
        greedy = mask_logits(self.scores(self.env.obs), self.env.action_mask).argmax(dim=-1)
        self._action = torch.where(copies, greedy, self._action)

    def update(self, transition: Transition, target: Tensor) -> None:
        """Move the entry of every transition's state and action towards its target ``[S, B]``."""
        entry = self.entry(transition)
        value = self.table.flat.gather(1, entry)  # [S, B]
        error = target - value
        size = torch.linalg.vector_norm(error, ord=1, dim=1)  # [S], sum of the absolute values
        self.training_state.deactivate_nonfinite(size)
        by_entry = torch.empty_like(self.table.flat).scatter_reduce_(1, entry, error, "mean", include_self=False)
        mean = by_entry.gather(1, entry)
        count = self.updates.gather(1, entry) + 1.0
        moved = value + self.learning_rates(count) * mean
        # copies in the same entry write the same number
        self.table.flat.scatter_(1, entry, torch.where(self.active[:, None], moved, value))
        self.updates.scatter_(1, entry, count)
        self.training_state.means.add(td_error=size / error.shape[1])

    def learning_rates(self, count: Tensor) -> Tensor:
        """Return ``alpha_n = learning_rate / n^power`` of numbers of updates n ``[S, n]``, which broadcasts to them."""
        if is_everywhere(0.0, self.config.power):
            return self.per_row.learning_rate[:, None]
        return self.per_row.learning_rate[:, None] / count ** self.per_row.power[:, None]

    def epsilon(self) -> Tensor:
        """Return the current probability of a random action, ``[S]``."""
        per_row = self.per_row
        return linear_schedule(
            self.training_state.done_now,
            per_row.exploration_fraction,
            per_row.exploration_initial_eps,
            per_row.exploration_final_eps,
        )

    def scores(self, obs: Given) -> Tensor:
        """Look up Q(s, .) of every row, ``[S, B] -> [S, B, A]``.

        States may be given as codes, floating ``[S, B, N]``: then Q is their linear interpolation, differentiable.

        Raises:
            ValueError: observations of another shape, or numbers that are no states.
        """
        states = as_observations(obs, self)
        if states.is_floating_point():
            if states.shape[2:] != (self._num_states,):
                raise ValueError(
                    f"a table reads integers of {self.observation_space}, or codes [..., {self._num_states}], got "
                    f"{states.dtype} {list(states.shape)}"
                )
            return states.to(self.table.flat.dtype) @ self.table.flat.view(self.num_seeds, self._num_states, -1)
        digits = self._digits(states)
        wrong = ((digits < 0) | (digits >= self._sizes)).any(dim=-1)
        if wrong.any():
            raise ValueError(f"obs has state {states[wrong][0].tolist()}, which is not in {self.observation_space}")
        return self.table(self._index(states))

    def entry(self, transition: Transition) -> Tensor:
        """Return the columns of ``table.flat`` that hold Q(s, a), ``[S, B]``."""
        return torch.add(transition.action, self._index(transition.obs), alpha=self.num_actions)

    def _digits(self, obs: Tensor) -> Tensor:
        """Return the components of states ``[S, B, *observation]`` counted from 0, ``[S, B, k]``."""
        return (obs.long()[..., None] if self._scalar else obs.long().flatten(2)) - self._first

    def _index(self, obs: Tensor) -> Tensor:
        """Return the numbers of states ``[S, B, *observation] -> [S, B]``."""
        if not self._scalar:
            return (self._digits(obs) * self._radix).sum(dim=-1)
        return obs.long() - self._first if self._shifted else obs.long()
