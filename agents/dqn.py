"""Deep Q-network (Mnih et al. 2015, "Human-level control through deep reinforcement learning", algorithm 1).

    for each step t:
        with probability epsilon take a random action, else argmax_a Q(s, a; theta)
        store (s, a, r, s') in the replay memory D
        every train_freq steps, gradient_steps times:
            sample (s, a, r, s') from D uniformly         (r and s' over n_steps)
            y = r + gamma max_a' Q(s', a'; theta-)        (y = r if s' is terminal)
            descend the Huber loss of y - Q(s, a; theta)  (gradient norm clipped, per seed)
        every target_update_interval steps: theta- <- tau theta + (1 - tau) theta-

Variants, each an option: n-step returns, double Q-learning (van Hasselt et al. 2016), a dueling network (Wang et al.
2016), prioritised replay (Schaul et al. 2016), the squared loss, and no replay at all.

Every line is done for S seeds at once. Hyper-parameters have the names, meanings and defaults of
stable-baselines3's DQN, so the same settings mean the same algorithm there and here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from rlkit.architectures import NetworkName
from rlkit.exploration import allowed_action, exploration, linear_schedule, masked
from rlkit.layers import Activation
from rlkit.losses import LOSSES, double_q_target, q_learning_target, td_error, td_slope
from rlkit.networks import MLP, Dueling
from rlkit.optim import Adam
from rlkit.prioritised import Priorities
from rlkit.replay import ReplayBuffer
from rlkit.schedules import Schedule
from rlkit.streams import Stream
from rlkit.types import Transition, segment

from .agent import Agent
from .hyperparameters import Count, Options, Positive, PositiveShare, Range, Share, Widths, verify
from .presets import DQN_PRESETS

SMALLEST_PRIORITY = 1e-6  # added to |y - Q|, so that nothing is never sampled again
UPDATES_AHEAD = 1024  # transitions sampled at once where several updates follow each other


@dataclass(frozen=True)
class DQNConfig:
    """Hyper-parameters of DQN; the defaults are stable-baselines3's.

    A ``PerRow`` number may be one for all seeds or one per seed. Steps are environment steps per seed.
    """

    learning_rate: Positive = 1e-4
    learning_rate_schedule: Schedule = "constant"
    buffer_size: Count = 1_000_000  # transitions per seed
    learning_starts: Annotated[int, Range(at_least=0)] = 100  # steps of random actions before the first update
    batch_size: Count = 32
    tau: PositiveShare = 1.0  # share of the online network in a target update; 1 copies it
    gamma: Share = 0.99
    train_freq: Count = 4  # steps of every copy between updates
    n_steps: Count = 1  # rewards summed before the bootstrap
    gradient_steps: Annotated[int, Range(at_least=-1)] = 1  # updates after them; -1: one per transition collected
    target_update_interval: Count = 10_000  # steps between target updates
    exploration_fraction: Share = 0.1  # of training, over which epsilon falls on a line
    exploration_initial_eps: Share = 1.0
    exploration_final_eps: Share = 0.05
    max_grad_norm: Positive = 10.0
    normalize_observations: bool = False  # to mean 0 and deviation 1, running, of every row
    normalize_rewards: bool = False  # by the running deviation of the discounted return
    network: NetworkName = "auto"  # what reads the observations, and its options by name: see Architecture
    network_kwargs: Options = field(default_factory=dict)
    net_arch: Widths = (64, 64)
    activation: Activation = "relu"
    loss: Literal["huber", "squared"] = "huber"
    double: bool = False  # the online network chooses the action that the target network judges
    dueling: bool = False  # Q = V + A - mean A
    replay: bool = True  # False: minibatches are the latest transitions, in their order
    priority_exponent: Share = 0.0  # of |y - Q| in the chance of being sampled; 0 samples uniformly
    priority_beta: Share = 0.4  # exponent of the importance weights, which grows to 1 over training
    single_coin: bool = False  # one coin for all copies decides whether they explore, as in stable-baselines3
    target_clock: Literal["steps", "updates"] = "steps"  # what target_update_interval counts

    def __post_init__(self) -> None:
        verify(self)
        if self.priority_exponent != 0.0 and not self.replay:
            raise ValueError(f"priority_exponent {self.priority_exponent} needs a replay: pass replay=True with it")
        if self.batch_size > self.buffer_size:
            raise ValueError(f"batch_size {self.batch_size} exceeds buffer_size {self.buffer_size}: lower one")


class DQN(Agent):
    """DQN on the seed axis; see ``Agent`` for the arguments and ``DQNConfig`` for the hyper-parameters."""

    config_class = DQNConfig
    scores_are_values = True
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = DQN_PRESETS
    checkpointed = (
        "target_network.flat", "optimizer", "replay", "priorities", "_explore", "_sample", "_updates",
    )  # fmt: skip
    config: DQNConfig

    def _build(self) -> dict[str, MLP | Dueling]:
        config = self.config
        self.num_actions = int(self.action_space.n)
        architecture = self._architecture()
        self.network: MLP | Dueling = architecture.network(self.num_actions)
        if config.dueling:
            self.network = Dueling(self.network, architecture.network(1, copy=1))
        self.target_network = self.network.copy()
        self.optimizer = Adam(self.network.flat)
        self.replay: ReplayBuffer | None = None
        self.priorities: Priorities | None = None
        self._updates = 0
        copies = self.env.num_envs
        self._explore = Stream(self.seeds, "explore", width=2, copies=copies, device=self.device)
        self._sample = Stream(self.seeds, "replay", width=config.batch_size, device=self.device)
        return {"q": self.network}

    def _start(self) -> None:
        step = self.config.train_freq * self.env.num_envs
        steps = math.ceil((self._end - self.num_timesteps) / step) * step + self.num_timesteps
        self._capacity = min(self.config.buffer_size, max(steps, self.config.batch_size))
        if self.replay is not None and self.replay.capacity < self._capacity:
            self.replay.grow(self._capacity)
            if self.priorities is not None:
                self.priorities.grow(self._capacity)

    def iteration(self) -> None:
        """``train_freq`` steps of every copy, then ``gradient_steps`` updates."""
        self.collect(self.config.train_freq)
        if self.num_timesteps > self.config.learning_starts:
            updates = self.config.gradient_steps
            updates = updates if updates >= 0 else self.config.train_freq * self.env.num_envs
            while updates > 0:
                count = min(updates, self._ahead())
                self.update(count)
                updates -= count

    def _ahead(self) -> int:
        """How many updates may be prepared at once: as long as neither memory, chances nor theta- depend on them."""
        config = self.config
        if config.double or config.priority_exponent != 0.0:
            return 1
        ahead = max(UPDATES_AHEAD // config.batch_size, 1)
        interval = config.target_update_interval
        return ahead if config.target_clock == "steps" else min(ahead, interval - self._updates % interval)

    @torch.no_grad()
    def collect(self, steps: int = 1) -> None:
        """Epsilon-greedy steps of every copy into the replay memory; then the target network's clock."""
        u = self._explore.take(steps)  # [T, S, B, 2]
        if self.config.single_coin:
            u = torch.cat([u[:, :, :1, :1].expand(-1, -1, u.shape[2], -1), u[..., 1:]], dim=-1)
        before = self.num_timesteps // self.env.num_envs
        epsilons = self.epsilons(steps)  # [T, S]
        self._means.add(epsilon=epsilons[-1])
        explores, random = exploration(epsilons[..., None], u, self.num_actions)
        taken = []
        asked, coins = self._somewhere(~explores), zip(self._somewhere(explores), explores, strict=True)
        for asks, (some, exploring), action, numbers in zip(asked, coins, random, u, strict=True):
            mask = self.env.action_mask
            if mask is not None:
                action = allowed_action(numbers[..., 1], mask)
            if asks:
                greedy = masked(self.scores(self.env.obs), mask).argmax(dim=-1)
                action = torch.where(exploring, action, greedy) if some else greedy
            taken.append(self._step(action))
        batch = segment(taken)
        self._returns.add(batch)
        self._update_moments(batch)
        if self.replay is None:
            self.replay = self._memory(taken[0], self._capacity)
        self.replay.add(batch)
        if self.priorities is not None:
            self.priorities.add(steps * self.env.num_envs)
        if self.config.target_clock == "steps":
            interval = max(self.config.target_update_interval // self.env.num_envs, 1)
            self._update_target((before + steps) // interval - before // interval)

    def _memory(self, example: Transition, capacity: int) -> ReplayBuffer:
        """A memory for transitions such as this one, and its priorities."""
        if self.config.priority_exponent != 0.0:
            self.priorities = Priorities(capacity, self.per_row.priority_exponent)
        return ReplayBuffer(capacity, example)

    def _restore(self, run: dict[str, Tensor]) -> None:
        start = "replay/"
        stored = {key.removeprefix(start): run[key] for key in run if key.startswith(start) and key != "replay/added"}
        if stored:
            example = {name: ring[:, : self.env.num_envs] for name, ring in stored.items()}
            self.replay = self._memory(Transition(**example), capacity=stored["reward"].shape[1])
        super()._restore(run)

    def _somewhere(self, chosen: Tensor) -> list[bool]:
        """At which steps some copy is chosen, ``[T, S, B]`` bool -> T; a device is not asked, and all may be."""
        return chosen.flatten(1).any(dim=1).tolist() if chosen.device.type == "cpu" else [True] * len(chosen)

    def _update_target(self, ticks: int) -> None:
        """Move theta- towards theta ``ticks`` times; theta stood still meanwhile, so that is one move."""
        if ticks > 0:
            self.target_network.flat.lerp_(self.network.flat, 1.0 - (1.0 - self.per_row.tau[:, None]) ** ticks)

    def epsilons(self, steps: int) -> Tensor:
        """The probability of a random action at each of the next steps, ``[T, S]``."""
        per_row = self.per_row
        timesteps = self.num_timesteps + self.env.num_envs * torch.arange(steps, device=self.device)[:, None]
        scheduled = linear_schedule(
            timesteps / max(self._end, 1),
            per_row.exploration_fraction,
            per_row.exploration_initial_eps,
            per_row.exploration_final_eps,
        )
        return torch.where(timesteps < self.config.learning_starts, 1.0, scheduled)

    def epsilon(self) -> Tensor:
        """The present probability of a random action, ``[S]``."""
        return self.epsilons(1)[0]

    @torch.inference_mode()
    def update(self, count: int = 1) -> None:
        """Gradient steps of every row, each on a minibatch of its own.

        The memory and theta- stand still meanwhile, so all minibatches and targets are made at once.
        """
        assert self.replay is not None
        config = self.config
        u = self._sample.take(count).movedim(0, 1).flatten(1)  # [S, count M]
        if not config.replay:
            u = self._latest(count)
        importance = slot = None
        if self.priorities is not None:
            slot, probability = self.priorities.choose(u)
            u = self.priorities.rank(slot)
            beta = 1.0 + (self.per_row.priority_beta - 1.0) * self.progress_remaining
            importance = self.priorities.importance(probability, beta).to(self.network.flat.dtype)
        if config.n_steps == 1:
            batch, discount = self.replay.sample(u), self.per_row.gamma[:, None]
        else:
            batch, discount = self.replay.sample_n_step(u, config.n_steps, self.per_row.gamma)
        if self.normaliser is not None:
            batch = batch._replace(reward=self.normaliser.rewards(batch.reward, config.n_steps))
        target = self.target(batch, discount)
        features = self._features(batch.obs)
        share = nn.functional.one_hot(batch.action, self.num_actions).to(features.dtype) / config.batch_size
        learning_rate = self._scheduled(self.per_row.learning_rate, config.learning_rate_schedule)
        loss, loss_slope = LOSSES[config.loss]
        outputs, norms = [], []
        minibatches = (torch.tensor_split(t, count, dim=1) for t in (features, share, target[..., None]))
        for x, a, y in zip(*minibatches, strict=True):
            q, pullback = self.network.vjp(x)
            slope = td_slope(q, a, y, loss_slope)
            gradient = pullback(slope if importance is None else importance[..., None] * slope)  # [S, P]
            norms.append(self._descend(self.optimizer, gradient, learning_rate))
            outputs.append(q)
        lead = (self.num_seeds, count, config.batch_size)
        error = td_error(torch.stack(outputs, dim=1), batch.action.view(lead), target.view(lead))  # [S, count, M]
        losses, sizes = loss(error).mean(dim=2), error.abs().mean(dim=2)  # [S, count], unweighted
        total = losses.sum(dim=1)  # it may be infinite while the gradient is not
        self._returns.unsound["loss"] |= self.active & ~total.isfinite()
        self._healthy(total)
        self._means.extend(loss=losses, td_error=sizes, gradient_norm=torch.stack(norms, dim=1))
        if self.priorities is not None and slot is not None:
            self.priorities.update(slot, error[:, 0].abs() + SMALLEST_PRIORITY)
        before, self._updates = self._updates, self._updates + count
        if config.target_clock == "updates":
            interval = config.target_update_interval
            self._update_target(self._updates // interval - before // interval)

    def _latest(self, count: int) -> Tensor:
        """Numbers at which the memory gives its latest transitions, the oldest of them first, ``[S, count M]``."""
        assert self.replay is not None
        size = self.replay.added.clamp(max=self.replay.capacity)
        age = torch.arange(self.config.batch_size, 0, -1, device=self.device) - 0.5
        return (1.0 - (age / size).double()).clamp(min=0.0).expand(self.num_seeds, -1).repeat(1, count)

    def target(self, batch: Transition, discount: Tensor) -> Tensor:
        """y of every transition of a minibatch, ``[S, M]``; discount broadcasts to it."""
        with torch.no_grad():
            features = self._features(batch.next_obs)
            next_q, mask = self.target_network(features), batch.next_action_mask
            if self.config.double:
                online = masked(self.network(features), mask)
                return double_q_target(batch.reward, batch.terminated, online, next_q, discount)
            return q_learning_target(batch.reward, batch.terminated, masked(next_q, mask), discount)

    def scores(self, obs: Tensor) -> Tensor:
        """Q(s, .), differentiable in the observation: ``[S, B, *observation] -> [S, B, A]``."""
        return self.network(self._features(obs))

    def _score_network(self) -> Any:
        return self.network
