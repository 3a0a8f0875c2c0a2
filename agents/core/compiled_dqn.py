"""DQN on the compiled engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from rlkit.compiled.layout import MLPArrays, OptimizerArrays, PriorityArrays, ReplayArrays, TransitionArrays
from rlkit.compiled.learn import blocks
from rlkit.compiled.q_learning import (
    EpsilonGreedy,
    Exploration,
    QArrays,
    QLearner,
    QLearning,
    Schedules,
    UpdateLog,
    descend_rows,
    write_epsilons,
)
from rlkit.compiled.replay import store_rows
from rlkit.compiled.rollout import CartPoleNumbers, SegmentArrays
from rlkit.nn import MLP, Dueling
from rlkit.replay import ReplayBuffer

from .compiled_iterations import ends_of, iterate, iterations_until_row, note_divergences, scaling_of, scheduled


class DQNIteration:
    """The views of a ``DQN``, and one iteration on them.

    Args:
        agent: the agent.
    """

    @staticmethod
    def not_covered(agent: Any) -> str:
        """Return the part of an agent that has no loops, as the subject of "is not covered"; "" if all has."""
        space = agent.observation_space
        if isinstance(space, spaces.Discrete) or (isinstance(space, spaces.Box) and space.dtype == np.float32):
            return ""
        return f"the observation space {space}"

    def __init__(self, agent: Any) -> None:
        self.agent, config, per_row = agent, agent.config, agent.per_row
        numbers_of = getattr(agent.env, "numbers", None)
        self.numbers = None if numbers_of is None else numbers_of(agent.dtype)
        self.online = q_arrays(agent.network)
        self.learner = QLearning(
            self.online,
            q_arrays(agent.target_network),
            OptimizerArrays.of(agent.optimizer),
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
        self.no_deviation = np.empty((agent.num_seeds, 0))
        self.no_numbers = np.empty((0, agent.num_seeds, config.batch_size))
        self.stored = StoredArrays()
        # whether observations are the states, in another dtype at most
        shows_states = isinstance(self.numbers, CartPoleNumbers) or isinstance(agent.observation_space, spaces.Discrete)
        self.plain = self.numbers is not None and shows_states and agent.normalizer is None and config.replay

    def __call__(self) -> None:
        """Collect ``train_freq`` steps of every copy, then make ``gradient_steps`` updates; once or several times."""
        agent, steps = self.agent, self.agent.config.train_freq
        if self.numbers is None or agent.memory.replay is None:  # the first segment makes the memory
            agent.collect(steps)
        elif self.plain:
            self.iterate(self.iterations_at_once(), agent.updates_due(steps * agent.env.num_envs))
            return
        else:
            self.collect(steps)
        due = agent.updates_due()
        while due > 0:
            count = min(due, agent.updates_until_target())
            self.update(count)
            due -= count

    def iterations_at_once(self) -> int:
        """Return how many iterations one call of machine code makes.

        No row of the log and no end of training falls into them, and all of them make as many updates.
        """
        agent, config = self.agent, self.agent.config
        each = config.train_freq * agent.env.num_envs
        updates = agent.updates_due(each)
        count = iterations_until_row(agent, config.train_freq, self.work * updates)
        if updates == 0 and config.gradient_steps != 0:
            count = min(count, (config.learning_starts - agent.num_timesteps) // each)
        return count

    def iterate(self, count: int, updates: int) -> None:
        """Make ``count`` iterations with ``updates`` updates each, in one call."""
        agent, state, memory, config = self.agent, self.agent.training_state, self.agent.memory, self.agent.config
        steps, ends, added = config.train_freq, ends_of(agent, config.train_freq, count), int(memory.replay.added)
        epsilon = np.empty((count * steps, agent.num_seeds), self.dtype)
        write_epsilons(self.exploration, state.timesteps, memory.copies, state.end, epsilon)
        log, learned = self.empty_log(count, updates), agent.active.clone()
        replay, priority = self.stored.of(memory, count * steps)
        u = agent._sample.take(count * updates).numpy() if updates > 0 else self.no_numbers
        schedules = self.schedules([state.remaining_at(end) for end in ends], self.target_ticks(ends, updates))
        learning, memory_bytes = (self.learner, scaling_of(agent), schedules), replay.as_bytes()

        def learner(segment: SegmentArrays) -> QLearner:
            steps = observed(segment, replay.obs.dtype)
            return QLearner(*learning, replay, memory_bytes, priority, added, u, log, steps)

        policy = EpsilonGreedy(self.online, epsilon, config.single_coin, agent.num_actions)
        iterate(agent, self.numbers, policy, count, steps, self.work * updates, learner)
        memory.wrote(count * steps)
        state.means.extend_repeatedly(epsilon=torch.from_numpy(epsilon[steps - 1 :: steps, :, None]))
        if updates > 0:
            finite = np.isfinite(log.loss) & np.isfinite(log.gradient_norm)  # [K, S, n]
            note_divergences(agent, learned, finite.all(axis=2), ends)
            state.means.extend_repeatedly(**tensors_of(log))
            agent._updates += count * updates

    def target_ticks(self, ends: list[int], updates: int) -> NDArray[np.int64]:
        """Return how often the target network moves in K iterations, ``[K, n + 1]``: before the updates, after each.

        Args:
            ends: the timesteps after each iteration.
            updates: n.
        """
        agent, config = self.agent, self.agent.config
        copies, interval, ticks = agent.env.num_envs, config.target_update_interval, np.zeros((len(ends), updates + 1))
        if config.target_clock == "steps":
            interval, after = max(interval // copies, 1), np.array(ends) // copies
            ticks[:, 0] = after // interval - (after - config.train_freq) // interval
        else:
            after = agent._updates + np.arange(1, len(ends) * updates + 1).reshape(len(ends), updates)
            ticks[:, 1:] = after % interval == 0
        return ticks.astype(np.int64)

    def schedules(self, remaining: list[float], ticks: NDArray[np.int64]) -> Schedules:
        """Return the numbers of K iterations when so much of training remains, with the target network's moves."""
        agent, per_row = self.agent, self.agent.per_row
        rate = scheduled(per_row.learning_rate, agent.config.learning_rate_schedule, remaining)
        if agent.memory.priorities is None:
            beta = torch.ones(len(remaining), agent.num_seeds, dtype=torch.float64)
        else:
            beta = agent.memory.betas(torch.tensor(remaining, dtype=agent.dtype)[:, None]).double()
        deviation = self.no_deviation if agent.normalizer is None else agent.normalizer.reward_deviation().numpy()
        share = 1.0 - (1.0 - per_row.tau) ** torch.from_numpy(ticks)[..., None]
        return Schedules(rate, beta.numpy(), np.ascontiguousarray(deviation), share.numpy())

    def empty_log(self, iterations: int, updates: int) -> UpdateLog:
        """Return arrays for the numbers of updates."""
        return UpdateLog(*np.empty((3, iterations, self.agent.num_seeds, updates), self.dtype))

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
        agent, memory = self.agent, self.agent.memory
        u = agent._sample.take(count)  # [n, S, M]
        if memory.latest:
            u = memory.latest_numbers(*u.shape).view(agent.num_seeds, count, -1).transpose(0, 1).contiguous()
        stays = np.zeros((1, count + 1), np.int64)
        scaling, schedules = scaling_of(agent), self.schedules([agent.progress_remaining], stays)
        replay, priority = self.stored.of(memory, 0)
        log = self.empty_log(1, count)
        numbers = replay.as_bytes(), priority, int(memory.replay.added), u.numpy()
        for first, last in blocks(agent.num_seeds, self.work * count):
            descend_rows(first, last, self.learner, scaling, schedules, *numbers, log)
        agent.training_state.means.extend_repeatedly(**tensors_of(log))
        agent.count_updates(count)


def tensors_of(log: UpdateLog) -> dict[str, Tensor]:
    """Return the log's arrays as tensors, by name."""
    return {name: torch.from_numpy(logged) for name, logged in log._asdict().items()}


def observed(segment: SegmentArrays, dtype: Any) -> TransitionArrays:
    """Return a segment of which observations are the states, in a dtype of their own if it is not that of states."""
    if segment.state.dtype == dtype:
        return TransitionArrays(*segment)
    obs, next_obs = np.empty((2, *segment.state.shape), dtype)
    return TransitionArrays(*segment)._replace(obs=obs, next_obs=next_obs)


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
