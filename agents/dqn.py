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
2016), prioritized replay (Schaul et al. 2016), the squared loss, and training without replay.

Every line is done for S seeds at once. Hyper-parameters have the names, meanings and defaults of
stable-baselines3's DQN, so equal settings define the same algorithm in both libraries.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from rlkit.devices import integers
from rlkit.exploration import all_per_step, allowed_action, any_per_step, exploration, linear_schedule, mask_logits
from rlkit.losses import LOSSES, double_q_target, q_learning_target, td_error
from rlkit.nn import MLP, Adam, Dueling
from rlkit.replay import Memory, Minibatch, as_observed, as_stored
from rlkit.streams import Stream
from rlkit.types import Targets, Transition, segment

from .configs import DQNConfig
from .core.agent import Agent
from .core.descent import Forward
from .core.hyperparameters import is_everywhere
from .core.minibatches import blocks, split
from .presets import DQN_PRESETS


class Regression(NamedTuple):
    """Minibatches for the regression of Q(s, a) on its targets, ``[S, M, ...]``."""

    features: Tensor  # [S, M, D]
    action: Tensor
    target: Tensor  # y
    importance: Tensor | None = None  # weight of each transition; None: all 1
    action_mask: Tensor | None = None  # the allowed actions, [S, M, A]


class DQNLosses(NamedTuple):
    """The loss of every transition, and the error that it is of, ``[S, M]``."""

    loss: Tensor
    error: Tensor  # Q(s, a) - y


def dqn_loss(q: Tensor, batch: Regression, loss: Callable[[Tensor], Tensor]) -> DQNLosses:
    """Compute the loss of Q(s, a) - y, times the importance weights if there are any, elementwise.

    Args:
        q: ``[S, M, A]``.
        batch: the minibatch.
        loss: loss of an error, elementwise.
    """
    error = td_error(q, batch.action, batch.target)
    return DQNLosses(loss(error) if batch.importance is None else batch.importance * loss(error), error)


class DQNUpdate(NamedTuple):
    """The numbers of an update that are logged."""

    error: Tensor  # Q(s, a) - y, [S, M]
    gradient_norm: Tensor  # [S]


class DQN(Agent):
    """DQN on the seed axis; see ``Agent`` for the arguments and ``DQNConfig`` for the hyper-parameters."""

    config_class = DQNConfig
    scores_are_values = True
    presets = DQN_PRESETS
    checkpointed: ClassVar[tuple[str, ...]] = ("target_network.flat", "optimizer", "memory", "_sample", "_updates")
    config: DQNConfig

    def _build(self) -> dict[str, MLP | Dueling]:
        config, per_row, copies = self.config, self.per_row, self.env.num_envs
        self.network = self.make_network()
        self.target_network = self.network.copy()
        self.optimizer = Adam(self.network.flat)
        alpha = None if is_everywhere(0.0, config.priority_exponent) else per_row.priority_exponent
        latest, actions = not config.replay, self.num_actions
        self.memory = Memory(copies, per_row.gamma, config.n_steps, alpha, per_row.priority_beta, latest, actions)
        self._sample = Stream(self.seeds, "replay", width=config.batch_size, device=self.device)
        self._updates = 0
        return {"q": self.network}

    def make_network(self, network_index: int = 0) -> MLP | Dueling:
        """Make networks of action values; a dueling one draws its streams from this index and the next."""
        architecture = self.config.architecture(self.observation_space, self.seeds, self.device, self.dtype)
        network = architecture.network(self.num_actions, network_index=network_index)
        if not self.config.dueling:
            return network
        return Dueling(network, architecture.network(1, network_index=network_index + 1))

    def torch_iteration(self) -> None:
        """Collect ``train_freq`` steps of every copy, then make ``gradient_steps`` updates."""
        self.collect(self.config.train_freq)
        betas = None if self.memory.priorities is None else self.memory.betas(1.0 - self.training_state.done_now)
        updates: list[DQNUpdate] = []
        for count in blocks(self.updates_due(), self.config.batch_size, self._independent_updates):
            updates += self.update(count, betas)
        if updates:
            self.record_updates(updates)

    def updates_due(self, ahead: int = 0) -> int:
        """Return how many updates follow the steps just collected, or those that end in ``ahead`` timesteps."""
        if self.num_timesteps + ahead <= self.config.learning_starts:
            return 0
        updates = self.config.gradient_steps
        return updates if updates >= 0 else self.config.train_freq * self.env.num_envs

    def branch(self) -> tuple[bool, int]:
        """See ``Agent``: whether it learns, and how theta- moves."""
        config, copies = self.config, self.env.num_envs
        learns = self.num_timesteps + config.train_freq * copies > config.learning_starts
        if config.target_clock == "updates":
            return learns, self._updates % config.target_update_interval
        before, interval = self.num_timesteps // copies, max(config.target_update_interval // copies, 1)
        return learns, (before + config.train_freq) // interval - before // interval

    @torch.no_grad()
    def collect(self, steps: int = 1) -> None:
        """Store epsilon-greedy steps of every copy in the replay memory, and update the target network when due."""
        batch = segment(self._play(steps))
        self.record(batch)
        self.memory.add(as_stored(batch))
        self.count_steps(steps)

    def drop_episodes(self, copies: Tensor) -> None:
        """See ``Agent``; the last stored transition of these copies ends its episode by truncation."""
        super().drop_episodes(copies)
        self.memory.truncate(copies)

    def _play(self, steps: int) -> list[Transition]:
        """Play epsilon-greedy steps of every copy, ``[S, B]`` each; the network runs only if some copy is greedy."""
        u = self.explore.take(steps)  # [T, S, B, 2]
        if self.config.single_coin:
            u = torch.cat([u[:, :, :1, :1].expand(-1, -1, u.shape[2], -1), u[..., 1:]], dim=-1)
        epsilons = self.epsilons(steps)  # [T, S]
        self.training_state.means.add(epsilon=epsilons[-1])
        explores, random = exploration(epsilons[..., None], u, self.num_actions)
        taken = []
        for t, (some_explore, all_explore) in enumerate(
            zip(any_per_step(explores), all_per_step(explores), strict=True)
        ):
            mask = self.env.action_mask
            if not all_explore:
                action = mask_logits(self.scores(self.env.obs), mask).argmax(dim=-1)
            if some_explore:
                chosen = random[t] if mask is None else allowed_action(u[t, ..., 1], mask)
                action = chosen if all_explore else torch.where(explores[t], chosen, action)
            taken.append(self.env.step(action))
        return taken

    @torch.no_grad()
    def update(self, count: int = 1, betas: Tensor | None = None) -> list[DQNUpdate]:
        """Make ``count`` gradient steps of every row, each on its own minibatch.

        The memory and theta- do not change during them, so all minibatches and targets are computed at once.

        Args:
            count: how many; one where replay is prioritized, because each changes the priorities.
            betas: exponents of the importance weights, ``[S]``; None means those at the start of training.

        Returns:
            what is logged of each.
        """
        updates = self.learn_from(self.sample(count, betas))
        self.count_updates(count)
        return updates

    def sample(self, count: int, betas: Tensor | None = None) -> Minibatch:
        """Sample ``count`` minibatches from the memory side by side, ``[S, count M, ...]``."""
        sampled = self.memory.sample(self._sample.take(count), betas)
        batch = as_observed(sampled.transition, self.env.obs.dtype)
        if self.normalizer is not None:
            batch = batch._replace(reward=self.normalizer.rewards(batch.reward, self.config.n_steps))
        return sampled._replace(transition=batch)

    def learn_from(self, sampled: Minibatch) -> list[DQNUpdate]:
        """Descend the loss of Q on each of the minibatches sampled, and set their priorities."""
        batches = self.regression(sampled, self.target(sampled.transition, sampled.discount))
        updates = self.descend(self.network, self.optimizer, batches)
        for update in updates:
            self.memory.update_priorities(update.error)
        return updates

    def regression(self, sampled: Minibatch, target: Tensor) -> Regression:
        """Return the regression of Q(s, a) of the minibatches sampled on targets ``[S, count M]``."""
        batch, features = sampled.transition, self.features(sampled.transition.obs)
        importance = None if sampled.importance is None else sampled.importance.to(features.dtype)
        return Regression(features, batch.action, target, importance, batch.action_mask)

    def descend(self, network: MLP | Dueling, optimizer: Adam, batches: Regression) -> list[DQNUpdate]:
        """Make a gradient step of a network on each of n minibatches; terms are added to the loss of Q alone.

        Args:
            network: gives action values.
            optimizer: of its parameters.
            batches: n minibatches side by side, ``[S, n M, ...]``.
        """
        config = self.config
        learning_rate = self.training_state.scheduled(self.per_row.learning_rate, config.learning_rate_schedule)
        updates = []
        for batch in split(batches, config.batch_size):
            loss = partial(dqn_loss, batch=batch, loss=LOSSES[config.loss])
            forward = Forward(network, batch.features)
            if network is self.network:
                targets = Targets(batch.action, batch.target, None, batch.action_mask, batch.importance)
                losses, gradient = self.differentiate(forward, loss, targets, optimizer.gradient)
            else:
                losses, gradient = forward.gradient(loss, optimizer.gradient)
            norm = self.gradient_step(optimizer, gradient, learning_rate, self.per_row.max_grad_norm)
            updates.append(DQNUpdate(losses.error, norm))
        return updates

    @torch.no_grad()
    def record_updates(self, updates: Sequence[DQNUpdate]) -> None:
        """Log the updates of one iteration, and stop rows whose loss is not finite."""
        error, norm = (torch.stack(parts, dim=1) for parts in zip(*updates, strict=True))  # [S, n, M] and [S, n]
        sizes = error.abs().mean(dim=2)  # [S, n]
        self.training_state.means.extend(loss=self.losses(error), td_error=sizes, gradient_norm=norm)

    def losses(self, error: Tensor) -> Tensor:
        """Return the unweighted losses ``[S, n]`` of errors ``[S, n, M]``; stop rows in which they are not finite."""
        losses = LOSSES[self.config.loss](error).mean(dim=2)
        self.training_state.deactivate_nonfinite_loss(losses.sum(dim=1))
        return losses

    def target(self, batch: Transition, discount: Tensor) -> Tensor:
        """Compute the target y of every transition of a minibatch, ``[S, M]``; discount broadcasts to it."""
        with torch.no_grad():
            features = self.features(batch.next_obs)
            next_q, mask = self.target_network(features), batch.next_action_mask
            if self.config.double:
                online = mask_logits(self.network(features), mask)
                return double_q_target(batch.reward, batch.terminated, online, next_q, discount)
            return q_learning_target(batch.reward, batch.terminated, mask_logits(next_q, mask), discount)

    def count_steps(self, steps: int) -> None:
        """Update the target network if its clock counts steps and is due within the ``steps`` just recorded."""
        if self.config.target_clock == "steps":
            after, interval = self.num_timesteps // self.env.num_envs, self.config.target_update_interval
            interval = max(interval // self.env.num_envs, 1)
            self._update_target(after // interval - (after - steps) // interval)

    def count_updates(self, count: int) -> None:
        """Count updates, and update the target network if its clock counts them and is due within them."""
        before, self._updates = self._updates, self._updates + count
        if self.config.target_clock == "updates":
            interval = self.config.target_update_interval
            self._update_target(self._updates // interval - before // interval)

    def _update_target(self, ticks: int) -> None:
        """Move theta- towards theta ``ticks`` times. Theta is constant between them, so one step does it."""
        if ticks > 0:
            share = 1.0 - (1.0 - self.per_row.tau[:, None]) ** ticks
            for target_network, network in self.followed():
                target_network.flat.lerp_(network.flat, share)

    def followed(self) -> tuple[tuple[MLP | Dueling, MLP | Dueling], ...]:
        """Return every target network and the network that it follows."""
        return ((self.target_network, self.network),)

    def epsilons(self, steps: int) -> Tensor:
        """Return the probability of a random action at each of the next steps, ``[T, S]``."""
        per_row = self.per_row
        copies, now = self.env.num_envs, self.training_state.now
        timesteps = now + integers(0, steps * copies, copies, self.device)[:, None]
        scheduled = linear_schedule(
            timesteps.to(torch.float32) / max(self.training_state.end, 1),
            per_row.exploration_fraction,
            per_row.exploration_initial_eps,
            per_row.exploration_final_eps,
        )
        return scheduled.masked_fill(timesteps < self.config.learning_starts, 1.0)

    def epsilon(self) -> Tensor:
        """Return the current probability of a random action, ``[S]``."""
        return self.epsilons(1)[0]

    def _start(self) -> None:
        step = self.config.train_freq * self.env.num_envs
        steps = math.ceil(self.timesteps_left / step) * step + self.num_timesteps
        self.memory.reserve(min(self.config.buffer_size, max(steps, self.config.batch_size)))
        self._warn_if_nothing_is_trained(steps)

    def _warn_if_nothing_is_trained(self, end: int) -> None:
        """Warn of settings with which no update is made until timestep ``end``."""
        config, until = self.config, f"{type(self).__name__} makes no update until step {end}, where this training ends"
        if config.gradient_steps == 0:
            warnings.warn(f"{until}: gradient_steps is 0, pass at least 1, or -1", UserWarning, stacklevel=4)
        elif end <= config.learning_starts:
            remedy = f"train for more than {config.learning_starts} steps or lower learning_starts"
            warnings.warn(f"{until}: learning_starts is {config.learning_starts}, {remedy}", UserWarning, stacklevel=4)

    def _independent_updates(self) -> int:
        """Return how many updates to come share memory, priorities and theta-."""
        config = self.config
        if config.double or not is_everywhere(0.0, config.priority_exponent):
            return 1
        return self.updates_until_target()

    def updates_until_target(self) -> int:
        """Return after how many updates theta- changes next, if its clock counts them."""
        interval = self.config.target_update_interval
        return sys.maxsize if self.config.target_clock == "steps" else interval - self._updates % interval
