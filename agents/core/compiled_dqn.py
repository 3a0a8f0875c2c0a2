"""DQN on the compiled engine: one row after another, each with its replay and its networks in the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from rlkit.compiled import q_learning
from rlkit.compiled.layout import AdamArrays, MLPArrays, PriorityArrays, ReplayArrays
from rlkit.compiled.q_learning import Log, Normalization, QArrays, QLearning, Schedules
from rlkit.nn import MLP, Dueling
from rlkit.nn.normalization import TINY

if TYPE_CHECKING:
    from ..dqn import DQN

WORK_AT_ONCE = 2**30  # multiply-adds of a call, about a tenth of a second; between calls signals are handled


def not_covered(agent: DQN) -> str:
    """Return what of an agent has no loops, as the subject of "is not covered"; "" if nothing."""
    space = agent.observation_space
    if isinstance(space, spaces.Discrete) or (isinstance(space, spaces.Box) and space.dtype == np.float32):
        return ""
    return f"the observation space {space}"


class Iteration:
    """Collects ``train_freq`` steps of every copy, then makes ``gradient_steps`` updates.

    Args:
        agent: a ``DQN`` that ``not_covered`` has nothing against.
    """

    def __init__(self, agent: DQN) -> None:
        self.agent, config = agent, agent.config
        seeds = agent.num_seeds
        self.dtype = agent.network.flat.numpy().dtype
        self.online, self.target = q_arrays(agent.network), q_arrays(agent.target_network)
        self.optimizer = AdamArrays.of(agent.optimizer)
        exponents = torch.arange(config.n_steps + 1)
        self.powers = (agent.per_row.gamma[:, None] ** exponents).numpy()
        self.max_norm = agent.per_row.max_grad_norm.numpy()
        self.active = agent.active.numpy()
        self.unsound = agent.training_state.returns.unsound["loss"].numpy()
        self.nothing = np.zeros((seeds, 0))
        self.one_hot = isinstance(agent.observation_space, spaces.Discrete)
        self.beta = np.ones(seeds)
        work = max(config.gradient_steps, 1) * config.batch_size * agent.network.flat.shape[1] * 4
        self.rows = max(WORK_AT_ONCE // work, 1)
        self._tensors: list[Tensor] = []  # those that the learner has views of

    def __call__(self) -> None:
        """Collect and learn."""
        agent = self.agent
        agent.collect(agent.config.train_freq)
        due = agent.updates_due()
        while due > 0:
            count = min(due, agent.updates_until_target())
            self.update(count)
            due -= count

    def update(self, count: int) -> None:
        """Make gradient steps of every row between two updates of the target network."""
        agent, config = self.agent, self.agent.config
        learner, moments, u = self.learner(), self.moments(), agent._sample.take(count)
        if agent.memory.latest:
            u = agent.memory.latest_numbers(*u.shape).view(len(agent.seeds), count, -1).transpose(0, 1).contiguous()
        rate = agent.training_state.scheduled(agent.per_row.learning_rate, config.learning_rate_schedule)
        if agent.memory.priorities is not None:
            self.beta = (1.0 + (agent.per_row.priority_beta - 1.0) * agent.progress_remaining).double().numpy()
        schedules, numbers, added = Schedules(rate.numpy(), self.beta), u.numpy(), int(agent.memory.replay.added)
        log = Log(*np.empty((3, agent.num_seeds, count), self.dtype))
        for first in range(0, agent.num_seeds, self.rows):
            last = min(first + self.rows, agent.num_seeds)
            q_learning.descend(learner, moments, schedules, added, numbers, first, last, log)
        agent.training_state.means.extend(
            loss=torch.from_numpy(log.loss),
            td_error=torch.from_numpy(log.td_error),
            gradient_norm=torch.from_numpy(log.gradient_norm),
        )
        agent.count_updates(count)

    def learner(self) -> QLearning:
        """Return the views that the updates work on; those of the memory are made anew where it has taken more."""
        memory = self.agent.memory
        tensors = list(memory.replay.tensors().values())
        if memory.priorities is not None:
            tensors += memory.priorities.tensors
        if len(tensors) != len(self._tensors) or any(a is not b for a, b in zip(tensors, self._tensors, strict=True)):
            config = self.agent.config
            self._tensors = tensors
            self._learner = QLearning(
                self.online,
                self.target,
                self.optimizer,
                ReplayArrays.of(memory.replay),
                PriorityArrays.of(memory.priorities),
                self.powers,
                self.max_norm,
                config.double,
                config.loss == "squared",
                self.one_hot,
                self.active,
                self.unsound,
            )
        return self._learner

    def moments(self) -> Normalization:
        """Return the moments of the normalization as they are now."""
        normalizer, mean, factor, deviation = self.agent.normalizer, self.nothing, self.nothing, self.nothing
        if normalizer is not None:
            moments = normalizer.moments
            if normalizer.of_observations:
                mean = moments.mean[:, :-1].contiguous().numpy()
                factor = (moments.variance[:, :-1] + TINY).rsqrt().contiguous().numpy()
            if normalizer.of_rewards:
                deviation = (moments.variance[:, -1:] + TINY).sqrt().contiguous().numpy()
        return Normalization(mean, factor, deviation)


def q_arrays(network: MLP | Dueling) -> QArrays:
    """Return the views of a network of action values."""
    if isinstance(network, Dueling):
        shared = network.flat
        return QArrays(MLPArrays.of(network.advantage, shared), MLPArrays.of(network.value, shared))
    advantage = MLPArrays.of(network)
    return QArrays(advantage, advantage._replace(layers=advantage.layers[:0]))
