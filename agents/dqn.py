"""Deep Q-network (Mnih et al. 2015, "Human-level control through deep reinforcement learning", algorithm 1).

    for each step t:
        with probability epsilon take a random action, else argmax_a Q(s, a; theta)
        store (s, a, r, s') in the replay memory D
        every train_freq steps, gradient_steps times:
            sample (s, a, r, s') from D uniformly         (r and s' over n_steps)
            y = r + gamma max_a' Q(s', a'; theta-)        (y = r if s' is terminal)
            descend the Huber loss of y - Q(s, a; theta)  (gradient norm clipped, per seed)
        every target_update_interval steps: theta- <- tau theta + (1 - tau) theta-

Every line is done for S seeds at once. Hyper-parameters have the names, meanings and defaults of
stable-baselines3's DQN, so the same settings mean the same algorithm there and here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from rlkit.exploration import epsilon_greedy, exploration, linear_schedule
from rlkit.losses import huber, huber_slope, q_learning_target
from rlkit.networks import MLP, Activation, encode, num_features
from rlkit.optim import Adam, clip_rows_, row_norm
from rlkit.replay import ReplayBuffer
from rlkit.streams import Stream
from rlkit.types import Transition

from .agent import Agent, PerRow, check
from .presets import DQN_PRESETS

UPDATES_AHEAD = 1024  # transitions sampled at once where several updates follow each other


@dataclass(frozen=True)
class DQNConfig:
    """Hyper-parameters of DQN; the defaults are stable-baselines3's.

    A ``PerRow`` number may be one for all seeds or one per seed. Steps are environment steps per seed.
    """

    learning_rate: PerRow = 1e-4
    learning_rate_schedule: Literal["constant", "linear"] = "constant"  # linear: to zero at the end of training
    buffer_size: int = 1_000_000  # transitions per seed
    learning_starts: int = 100  # steps of random actions before the first update
    batch_size: int = 32
    tau: PerRow = 1.0  # share of the online network in a target update; 1 copies it
    gamma: PerRow = 0.99
    train_freq: int = 4  # steps of every copy between updates
    n_steps: int = 1  # rewards summed before the bootstrap
    gradient_steps: int = 1  # updates after every train_freq steps; -1: as many as transitions were collected
    target_update_interval: int = 10_000  # steps between target updates
    exploration_fraction: PerRow = 0.1  # of training, over which epsilon falls on a line
    exploration_initial_eps: PerRow = 1.0
    exploration_final_eps: PerRow = 0.05
    max_grad_norm: PerRow = 10.0
    net_arch: tuple[int, ...] = (64, 64)
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        check("learning_rate", self.learning_rate, above=0.0)
        check("gamma", self.gamma, at_least=0.0, at_most=1.0)
        check("tau", self.tau, above=0.0, at_most=1.0)
        check("exploration_fraction", self.exploration_fraction, at_least=0.0, at_most=1.0)
        check("exploration_initial_eps", self.exploration_initial_eps, at_least=0.0, at_most=1.0)
        check("exploration_final_eps", self.exploration_final_eps, at_least=0.0, at_most=1.0)
        check("max_grad_norm", self.max_grad_norm, above=0.0)
        for name in ("batch_size", "buffer_size", "train_freq", "n_steps", "target_update_interval"):
            check(name, getattr(self, name), at_least=1)
        check("learning_starts", self.learning_starts, at_least=0)
        check("gradient_steps", self.gradient_steps, at_least=-1)
        if self.batch_size > self.buffer_size:
            raise ValueError(f"batch_size {self.batch_size} exceeds buffer_size {self.buffer_size}: lower one")
        if self.learning_rate_schedule not in ("constant", "linear"):
            raise ValueError(
                f"learning_rate_schedule must be 'constant' or 'linear', got {self.learning_rate_schedule!r}"
            )


def td_loss(q: Tensor, action: Tensor, target: Tensor) -> Tensor:
    """Huber loss of y - Q(s, a): q ``[..., M, A]``, action and target ``[..., M]`` -> ``[...]``, the mean over M."""
    chosen = q.gather(-1, action[..., None])[..., 0]  # [..., M]
    return huber(chosen - target).mean(dim=-1)


def td_slope(q: Tensor, taken: Tensor, target: Tensor) -> Tensor:
    """Derivative of ``td_loss`` with respect to q, ``[S, M, A]``.

    Args:
        q: ``[S, M, A]``.
        taken: ``[S, M, A]``, 1 at the action taken and 0 at the others.
        target: y, ``[S, M, 1]``.
    """
    return huber_slope((q - target) * taken) / q.shape[1]


class DQN(Agent):
    """DQN on the seed axis; see ``Agent`` for the arguments and ``DQNConfig`` for the hyper-parameters."""

    config_class = DQNConfig
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = DQN_PRESETS
    config: DQNConfig

    def _build(self) -> MLP:
        config = self.config
        self.num_actions = int(self.action_space.n)
        sizes = (num_features(self.observation_space), *config.net_arch, self.num_actions)
        q_network = MLP(sizes, self.seeds, config.activation, self.device)
        self.target_network = q_network.copy()
        self.optimizer = Adam(q_network.flat)
        self.replay: ReplayBuffer | None = None
        self._learning_rate, self._gamma = self._rows(config.learning_rate), self._rows(config.gamma)
        self._tau, self._max_grad_norm = self._rows(config.tau), self._rows(config.max_grad_norm)
        self._epsilons = [
            self._rows(value)
            for value in (config.exploration_fraction, config.exploration_initial_eps, config.exploration_final_eps)
        ]
        copies = self.env.num_envs
        self._explore = Stream(self.seeds, "explore", width=2, copies=copies, device=self.device)
        self._sample = Stream(self.seeds, "replay", width=config.batch_size, device=self.device)
        return q_network

    def _start(self) -> None:
        step = self.config.train_freq * self.env.num_envs
        steps = math.ceil((self._end - self.num_timesteps) / step) * step + self.num_timesteps
        self._capacity = min(self.config.buffer_size, max(steps, self.config.batch_size))
        if self.replay is not None and self.replay.capacity < self._capacity:
            self.replay.grow(self._capacity)

    def iteration(self) -> None:
        """``train_freq`` steps of every copy, then ``gradient_steps`` updates."""
        self.collect(self.config.train_freq)
        if self.num_timesteps > self.config.learning_starts:
            updates = self.config.gradient_steps
            updates = updates if updates >= 0 else self.config.train_freq * self.env.num_envs
            ahead = max(UPDATES_AHEAD // self.config.batch_size, 1)
            for done in range(0, updates, ahead):
                self.update(min(ahead, updates - done))

    @torch.no_grad()
    def collect(self, steps: int = 1) -> None:
        """Epsilon-greedy steps of every copy into the replay memory; then the target network's clock."""
        u = torch.stack([self._explore.next() for _ in range(steps)])  # [T, S, B, 2]
        before = self.num_timesteps // self.env.num_envs
        taken = []
        for explores, random in zip(*exploration(self.epsilons(steps)[..., None], u, self.num_actions), strict=True):
            greedy = self.scores(self.env.obs).argmax(dim=-1)
            taken.append(self._step(torch.where(explores, random, greedy)))
        if self.replay is None:
            self.replay = ReplayBuffer(self._capacity, taken[0])
        self.replay.add(*taken)
        interval = max(self.config.target_update_interval // self.env.num_envs, 1)
        ticks = (before + steps) // interval - before // interval
        if ticks > 0:  # theta stood still meanwhile, so several target updates are one
            self.target_network.flat.lerp_(self.network.flat, 1.0 - (1.0 - self._tau[:, None]) ** ticks)

    def epsilons(self, steps: int) -> Tensor:
        """The probability of a random action at each of the next steps, ``[T, S]``."""
        fraction, initial, final = self._epsilons
        timesteps = self.num_timesteps + self.env.num_envs * torch.arange(steps, device=self.device)[:, None]
        scheduled = linear_schedule(timesteps / max(self._end, 1), fraction, initial, final)
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
        u = torch.cat([self._sample.next() for _ in range(count)], dim=1)  # [S, count M]
        if self.config.n_steps == 1:
            batch, discount = self.replay.sample(u), self._gamma[:, None]
        else:
            batch, discount = self.replay.sample_n_step(u, self.config.n_steps, self._gamma)
        target = self.target(batch, discount)
        features = encode(batch.obs, self.observation_space)
        taken = nn.functional.one_hot(batch.action, self.num_actions).to(torch.float32)
        learning_rate = self._learning_rate
        if self.config.learning_rate_schedule == "linear":
            learning_rate = learning_rate * max(self.progress_remaining, 0.0)
        outputs = []
        minibatches = (torch.tensor_split(t, count, dim=1) for t in (features, taken, target[..., None]))
        for x, a, y in zip(*minibatches, strict=True):
            q, pullback = self.network.vjp(x)
            gradient = pullback(td_slope(q, a, y))  # [S, P]
            norm = row_norm(gradient)
            self.optimizer.step(clip_rows_(gradient, norm, self._max_grad_norm), learning_rate, self._healthy(norm))
            self._means.add(gradient_norm=norm)
            outputs.append(q)
        lead = (self.num_seeds, count, self.config.batch_size)
        loss = td_loss(torch.stack(outputs, dim=1), batch.action.view(lead), target.view(lead))  # [S, count]
        for one in loss.unbind(dim=1):
            self._means.add(loss=one)

    def target(self, batch: Transition, discount: Tensor) -> Tensor:
        """y of every transition of a minibatch, ``[S, M]``; discount broadcasts to it."""
        with torch.no_grad():
            next_q = self.target_network(encode(batch.next_obs, self.observation_space))
            return q_learning_target(batch.reward, batch.terminated, next_q, discount)

    def q_values(self, obs: Tensor) -> Tensor:
        """Q(s, .) of every row, ``[S, B, *observation] -> [S, B, A]``, without gradients."""
        with torch.no_grad():
            return self.scores(obs)

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        """The greedy action, or with ``deterministic=False`` the epsilon-greedy one of the present schedule."""
        q = self.q_values(obs)
        if deterministic:
            return q.argmax(dim=-1)
        return epsilon_greedy(q, self.epsilon()[:, None], self._uniform(copies=q.shape[1], width=2))
