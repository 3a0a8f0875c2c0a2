"""PPO and DQN as CleanRL writes them (Huang et al. 2022), one seed: a module, an optimizer and gymnasium's copies.

Networks, settings and order of operations are those of its ``ppo.py`` and ``dqn.py`` for CartPole.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from .cases import Work

GAMMA, LEARNING_RATE = 0.99, 2.5e-4
PPO_COPIES, PPO_STEPS, EPOCHS, MINIBATCHES, CLIP = 4, 128, 4, 4, 0.2
BATCH, MEMORY, TARGET_EVERY, TRAIN_EVERY, DQN_STARTS = 128, 10_000, 500, 10, 256


def layer(n_in: int, n_out: int, gain: float = 2**0.5) -> nn.Linear:
    """A linear layer with orthogonal weights."""
    linear = nn.Linear(n_in, n_out)
    nn.init.orthogonal_(linear.weight, gain)
    nn.init.constant_(linear.bias, 0.0)
    return linear


def tanh_network(outputs: int, gain: float) -> nn.Sequential:
    """A network of two hidden layers of 64."""
    return nn.Sequential(layer(4, 64), nn.Tanh(), layer(64, 64), nn.Tanh(), layer(64, outputs, gain))


class ActorCriticModule(nn.Module):
    """The policy and the value function of PPO."""

    def __init__(self) -> None:
        super().__init__()
        self.actor, self.critic = tanh_network(2, 0.01), tanh_network(1, 1.0)

    def forward(self, obs: Tensor, action: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Actions, their log-probabilities, entropies and values."""
        policy: Any = Categorical(logits=self.actor(obs))
        action = policy.sample() if action is None else action
        return action, policy.log_prob(action), policy.entropy(), self.critic(obs)


def copies_of_cartpole(count: int) -> Any:
    """Gymnasium's copies, one after another, with episodes recorded."""

    def one() -> Any:
        return gymnasium.wrappers.RecordEpisodeStatistics(gymnasium.make("CartPole-v1"))

    return gymnasium.vector.SyncVectorEnv([one for _ in range(count)])


def ppo(seeds: int, steps: int) -> Work:
    """Train one seed; ``seeds`` is what the other side trains at once."""
    torch.manual_seed(0)
    envs, agent = copies_of_cartpole(PPO_COPIES), ActorCriticModule()
    optimizer = torch.optim.Adam(agent.parameters(), lr=LEARNING_RATE, eps=1e-5)
    iterations = -(-steps // (PPO_COPIES * PPO_STEPS))

    def work() -> int:
        obs, done = torch.tensor(envs.reset(seed=0)[0]), torch.zeros(PPO_COPIES)
        for iteration in range(iterations):
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - iteration / iterations)
            batch, obs, done = ppo_segment(envs, agent, obs, done)
            ppo_updates(agent, optimizer, batch)
        return iterations * PPO_COPIES * PPO_STEPS

    return work


def ppo_segment(envs: Any, agent: nn.Module, obs: Tensor, done: Tensor) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """Play a segment and estimate its advantages; the batch, and the last observations and ends."""
    shape = (PPO_STEPS, PPO_COPIES)
    all_obs, actions = torch.zeros((*shape, 4)), torch.zeros(shape, dtype=torch.long)
    log_probs, rewards, dones, values = (torch.zeros(shape) for _ in range(4))
    for t in range(PPO_STEPS):
        all_obs[t], dones[t] = obs, done
        with torch.no_grad():
            action, log_prob, _, value = agent(obs)
        actions[t], log_probs[t], values[t] = action, log_prob, value.flatten()
        next_obs, reward, terminated, truncated, _ = envs.step(action.numpy())
        rewards[t] = torch.tensor(reward)
        obs, done = torch.tensor(next_obs), torch.tensor(np.logical_or(terminated, truncated), dtype=torch.float32)
    with torch.no_grad():
        next_value, following = agent(obs)[3].flatten(), torch.zeros(PPO_COPIES)
        advantages = torch.zeros(shape)
        for t in reversed(range(PPO_STEPS)):
            going_on = 1.0 - (done if t == PPO_STEPS - 1 else dones[t + 1])
            ahead = next_value if t == PPO_STEPS - 1 else values[t + 1]
            delta = rewards[t] + GAMMA * ahead * going_on - values[t]
            advantages[t] = following = delta + GAMMA * 0.95 * going_on * following
    fields = (all_obs, actions, log_probs, values, advantages, advantages + values)
    return tuple(field.flatten(0, 1) for field in fields), obs, done


def ppo_updates(agent: nn.Module, optimizer: torch.optim.Optimizer, batch: tuple[Tensor, ...]) -> None:
    """Make 4 epochs of 4 minibatches."""
    size = PPO_COPIES * PPO_STEPS
    for _ in range(EPOCHS):
        for part in np.random.permutation(size).reshape(MINIBATCHES, -1):  # noqa: NPY002 - as CleanRL does
            obs, action, old_log_prob, old_value, advantage, target = (field[part] for field in batch)
            _, log_prob, entropy, value = agent(obs, action)
            ratio, value = (log_prob - old_log_prob).exp(), value.flatten()
            with torch.no_grad():  # logged
                ((ratio - 1) - (log_prob - old_log_prob)).mean()
                ((ratio - 1.0).abs() > CLIP).float().mean().item()
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
            surrogate = torch.max(-advantage * ratio, -advantage * ratio.clamp(1 - CLIP, 1 + CLIP)).mean()
            limited = old_value + (value - old_value).clamp(-CLIP, CLIP)
            value_loss = 0.5 * torch.max((value - target) ** 2, (limited - target) ** 2).mean()
            loss = surrogate - 0.01 * entropy.mean() + 0.5 * value_loss
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()


def dqn(seeds: int, steps: int) -> Work:
    """Train one seed, an update in 10 steps; ``seeds`` is what the other side trains at once."""
    torch.manual_seed(0)
    rng, envs = np.random.default_rng(0), copies_of_cartpole(1)
    q_network, target_network = (
        nn.Sequential(nn.Linear(4, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 2)) for _ in range(2)
    )
    target_network.load_state_dict(q_network.state_dict())
    optimizer = torch.optim.Adam(q_network.parameters(), lr=LEARNING_RATE)
    memory_obs, memory_next = np.zeros((MEMORY, 4), np.float32), np.zeros((MEMORY, 4), np.float32)
    memory_action, memory_reward, memory_done = (
        np.zeros((MEMORY, 1), dtype) for dtype in (np.int64, np.float32, np.float32)
    )

    def update(stored: int) -> None:
        index = rng.integers(0, stored, BATCH)
        arrays = memory_obs, memory_action, memory_reward, memory_next, memory_done
        obs, action, reward, next_obs, done = (torch.as_tensor(array[index]) for array in arrays)
        with torch.no_grad():
            y = reward.flatten() + GAMMA * target_network(next_obs).max(dim=1)[0] * (1 - done.flatten())
        loss = nn.functional.mse_loss(y, q_network(obs).gather(1, action).squeeze())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
        optimizer.step()

    def work() -> int:
        obs, _ = envs.reset(seed=0)
        for step in range(steps):
            epsilon = max(1.0 - 0.95 * step / (0.5 * steps), 0.05)
            if rng.random() < epsilon:
                action = rng.integers(2, size=1)
            else:
                action = q_network(torch.from_numpy(obs)).argmax(dim=1).numpy()
            next_obs, reward, terminated, _, _ = envs.step(action)
            at = step % MEMORY
            memory_obs[at], memory_next[at], memory_action[at] = obs[0], next_obs[0], action[0]
            memory_reward[at], memory_done[at] = reward[0], terminated[0]
            obs = next_obs
            if step > DQN_STARTS and step % TRAIN_EVERY == 0:
                update(min(step + 1, MEMORY))
            if step % TARGET_EVERY == 0:
                target_network.load_state_dict(q_network.state_dict())
        return steps

    return work
