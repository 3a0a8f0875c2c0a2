"""DQN on the compiled engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from rlkit.compiled.layout import AdamArrays, MLPArrays, PriorityArrays, ReplayArrays, TransitionArrays
from rlkit.compiled.learn import blocks
from rlkit.compiled.q_learning import (
    EpsilonGreedy,
    Exploration,
    QArrays,
    QLearning,
    Schedules,
    UpdateLog,
    descend_rows,
    write_epsilons,
)
from rlkit.compiled.replay import store_rows
from rlkit.nn import MLP, Dueling
from rlkit.replay import ReplayBuffer

from .compiled_on_policy import scaling_of


def not_covered(agent: Any) -> str:
    """Return the part of an agent that has no loops, as the subject of "is not covered"; "" if all has."""
    space = agent.observation_space
    if isinstance(space, spaces.Discrete) or (isinstance(space, spaces.Box) and space.dtype == np.float32):
        return ""
    return f"the observation space {space}"


class DQNIteration:
    """The views of a ``DQN``, and one iteration on them.

    Args:
        agent: the agent.
    """

    def __init__(self, agent: Any) -> None:
        self.agent, config, per_row = agent, agent.config, agent.per_row
        numbers_of = getattr(agent.env, "numbers", None)
        self.numbers = None if numbers_of is None else numbers_of(agent.dtype)
        self.online = q_arrays(agent.network)
        self.learner = QLearning(
            self.online,
            q_arrays(agent.target_network),
            AdamArrays.of(agent.optimizer),
            (per_row.gamma[:, None] ** torch.arange(config.n_steps + 1)).numpy(),
            per_row.max_grad_norm.numpy(),
            config.double,
            config.loss == "squared",
            isinstance(agent.observation_space, spaces.Discrete),
            agent.active.numpy(),
            agent.training_state.returns.unsound["loss"].numpy(),
        )
        self.dtype = per_row.gamma.numpy().dtype
        self.exploration = Exploration(
            per_row.exploration_fraction.numpy(),
            per_row.exploration_initial_eps.numpy(),
            per_row.exploration_final_eps.numpy(),
            config.learning_starts,
        )
        self.work = 4 * config.batch_size * agent.network.flat.shape[1]  # multiply-adds of an update
        self.no_beta, self.no_deviation = np.ones(agent.num_seeds), np.empty((agent.num_seeds, 0))
        self.stored = StoredArrays()

    def __call__(self) -> None:
        """Collect ``train_freq`` steps of every copy, then make ``gradient_steps`` updates."""
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
        epsilon = np.empty((steps, agent.num_seeds), self.dtype)
        write_epsilons(self.exploration, agent.num_timesteps, memory.copies, agent.training_state.end, epsilon)
        agent.training_state.means.add(epsilon=torch.from_numpy(epsilon[-1]))
        policy = EpsilonGreedy(self.online, epsilon, agent.config.single_coin, agent.num_actions)
        batch = agent.env.play(self.numbers, policy, scaling_of(agent), agent.explore.take(steps))
        agent.record(batch)
        replay, priority = self.stored.of(memory, steps)
        store_rows(replay, priority, int(memory.replay.added), TransitionArrays.of(batch))
        memory.wrote(steps)
        agent.count_steps(steps)

    def update(self, count: int) -> None:
        """Make ``count`` gradient steps of every row; the target network does not change during them."""
        agent, memory, config, per_row = self.agent, self.agent.memory, self.agent.config, self.agent.per_row
        u = agent._sample.take(count)  # [n, S, M]
        if memory.latest:
            u = memory.latest_numbers(*u.shape).view(agent.num_seeds, count, -1).transpose(0, 1).contiguous()
        rate = agent.training_state.scheduled(per_row.learning_rate, config.learning_rate_schedule)
        beta = self.no_beta if memory.priorities is None else memory.betas(agent.progress_remaining).double().numpy()
        deviation = self.no_deviation if agent.normalizer is None else agent.normalizer.reward_deviation().numpy()
        scaling, schedules = scaling_of(agent), Schedules(rate.numpy(), beta, np.ascontiguousarray(deviation))
        replay, priority = self.stored.of(memory, 0)
        log = UpdateLog(*np.empty((3, agent.num_seeds, count), self.dtype))
        numbers = replay.as_bytes(), priority, int(memory.replay.added), u.numpy()
        for first, last in blocks(agent.num_seeds, self.work * count):
            descend_rows(first, last, self.learner, scaling, schedules, *numbers, log)
        means = {name: torch.from_numpy(logged) for name, logged in log._asdict().items()}
        agent.training_state.means.extend(**means)
        agent.count_updates(count)


class StoredArrays:
    """The views of a memory, which are made anew when it has taken other memory."""

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []

    def of(self, memory: Any, steps: int) -> tuple[ReplayArrays, PriorityArrays]:
        """Return the views, with room for ``steps`` more steps of every copy."""
        buffer: ReplayBuffer = memory.replay
        tensors = [*buffer.tensors(steps).values(), *([] if memory.priorities is None else memory.priorities.tensors)]
        if list(map(id, tensors)) != list(map(id, self._tensors)):
            self._tensors, self._views = tensors, (ReplayArrays.of(buffer), PriorityArrays.of(memory.priorities))
        return self._views


def q_arrays(network: MLP | Dueling) -> QArrays:
    """Return the views of a network of action values."""
    if isinstance(network, Dueling):
        shared = network.flat
        return QArrays(MLPArrays.of(network.advantage, shared), MLPArrays.of(network.value, shared))
    plain = MLPArrays.of(network)
    return QArrays(plain, plain._replace(layers=plain.layers[:0]))


Iteration = DQNIteration  # see ``CompiledAlgorithm``
