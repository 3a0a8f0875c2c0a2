"""DQN on the compiled engine: one row after another, each with its replay and its networks in the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from rlkit.compiled import q_learning, replay
from rlkit.compiled.layout import AdamArrays, MLPArrays, PriorityArrays, ReplayArrays, TransitionArrays
from rlkit.compiled.learn import blocks
from rlkit.compiled.q_learning import EpsilonGreedy, Log, QArrays, QLearning, Schedules
from rlkit.nn import MLP, Dueling

from .compiled_on_policy import scaling_of

if TYPE_CHECKING:
    from ..dqn import DQN


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
        numbers_of = getattr(agent.env, "numbers", None)
        self.numbers = None if numbers_of is None else numbers_of(agent.dtype)
        self.beta = np.ones(seeds)
        self.work = 4 * config.batch_size * agent.network.flat.shape[1]  # multiply-adds of an update
        self._tensors: list[Tensor] = []  # those that the learner has views of

    def __call__(self) -> None:
        """Collect and learn."""
        agent = self.agent
        if self.numbers is None or agent.memory.replay is None:  # the first segment makes the memory
            agent.collect(agent.config.train_freq)
        else:
            self.collect(agent.config.train_freq)
        due = agent.updates_due()
        while due > 0:
            count = min(due, agent.updates_until_target())
            self.update(count)
            due -= count

    def collect(self, steps: int) -> None:
        """Store epsilon-greedy steps of every copy in the replay memory, and update the target network when due."""
        agent, memory = self.agent, self.agent.memory
        epsilons = agent.epsilons(steps)  # [T, S]
        agent.training_state.means.add(epsilon=epsilons[-1])
        policy = EpsilonGreedy(self.online, epsilons.numpy(), agent.config.single_coin, agent.num_actions)
        batch = agent.env.play(self.numbers, policy, scaling_of(agent), agent.explore.take(steps))
        agent.record(batch)
        ring, priority = ReplayArrays.of(memory.replay, steps), PriorityArrays.of(memory.priorities)
        played, added = TransitionArrays.of(batch), int(memory.replay.added)
        replay.store_rows(ring, priority, added, played)
        memory.wrote(steps)
        agent.count_steps(steps)

    def update(self, count: int) -> None:
        """Make gradient steps of every row between two updates of the target network."""
        agent, config = self.agent, self.agent.config
        learner, u = self.learner(), agent._sample.take(count)
        if agent.memory.latest:
            u = agent.memory.latest_numbers(*u.shape).view(len(agent.seeds), count, -1).transpose(0, 1).contiguous()
        rate = agent.training_state.scheduled(agent.per_row.learning_rate, config.learning_rate_schedule)
        if agent.memory.priorities is not None:
            self.beta = (1.0 + (agent.per_row.priority_beta - 1.0) * agent.progress_remaining).double().numpy()
        schedules, numbers, added = Schedules(rate.numpy(), self.beta), u.numpy(), int(agent.memory.replay.added)
        scaling, deviation = scaling_of(agent), self.deviation()
        log = Log(*np.empty((3, agent.num_seeds, count), self.dtype))
        for first, last in blocks(agent.num_seeds, self.work * count):
            q_learning.descend(learner, scaling, deviation, schedules, added, numbers, first, last, log)
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

    def deviation(self) -> NDArray[np.float64]:
        """Return the deviation of returns by which rewards are divided, ``[S, 1]``, or ``[S, 0]``."""
        normalizer = self.agent.normalizer
        return self.nothing if normalizer is None else normalizer.reward_deviation().contiguous().numpy()


def q_arrays(network: MLP | Dueling) -> QArrays:
    """Return the views of a network of action values."""
    if isinstance(network, Dueling):
        shared = network.flat
        return QArrays(MLPArrays.of(network.advantage, shared), MLPArrays.of(network.value, shared))
    advantage = MLPArrays.of(network)
    return QArrays(advantage, advantage._replace(layers=advantage.layers[:0]))
