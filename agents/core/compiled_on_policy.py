"""The shared part of PPO, A2C and REINFORCE on the compiled engine: segments are played, and their arrays viewed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rlkit.compiled.layout import MLPArrays, OptimizerArrays
from rlkit.compiled.learn import (
    ActorCriticArrays,
    OnPolicyLearner,
    OnPolicyLog,
    OnPolicyPlan,
    OnPolicySegments,
    Rewards,
    blocks,
    learn_rows,
)
from rlkit.types import Transition

from .compiled_iterations import ends_of, iterate, iterations_until_row, note_divergences, scaling_of, scheduled


class Player:
    """Plays segments with an agent's policy: compiled where the environment's dynamics have numbers, else in torch.

    Args:
        agent: an ``OnPolicyAgent``.
        policy: the views of its policy's network.
    """

    def __init__(self, agent: Any, policy: MLPArrays) -> None:
        self.agent, self.policy = agent, policy
        numbers_of = getattr(agent.env, "numbers", None)
        self.numbers = None if numbers_of is None else numbers_of(agent.dtype)

    def __call__(self, steps: int) -> Transition:
        """Play ``steps`` steps of every copy; as ``OnPolicyAgent.play``."""
        agent = self.agent
        if self.numbers is None:
            played: Transition = agent.play(steps)
            return played
        u = agent.explore.take(steps)[..., 0]
        recorded: Transition = agent.recorded(agent.env.play(self.numbers, self.policy, scaling_of(agent), u))
        return recorded


def features_of(agent: Any, obs: Tensor) -> NDArray[Any]:
    """Return the features of a segment's observations ``[S, T, B, ...]`` as ``[S, N, D]``."""
    plain = agent.normalizer is None and obs.dtype == agent.dtype and obs.dim() == 4  # encoded as it is
    features: NDArray[Any] = (obs if plain else agent.features(obs)).flatten(1, 2).contiguous().numpy()
    return features


def mask_of(agent: Any, played: Transition) -> NDArray[np.bool_]:
    """Return the allowed actions of a segment, ``[S, N, A]``; ``[S, 0, A]`` where all are."""
    if played.action_mask is None:
        return np.empty((agent.num_seeds, 0, agent.num_actions), np.bool_)
    mask: NDArray[np.bool_] = played.action_mask.flatten(1, 2).contiguous().numpy()
    return mask


def rewards_of(played: Transition) -> Rewards:
    """Return the rewards and ends of a segment."""
    fields = played.reward, played.terminated, played.truncated
    return Rewards(*(field.contiguous().numpy() for field in fields))


class ActorCriticIteration:
    """The views of an agent with an ``ActorCritic``, and iterations on them.

    A subclass defines the minibatches, the numbers of the loss, and what is logged.
    """

    passes, size = 1, 0  # over each batch, and transitions of a minibatch; 0: all

    def __init__(self, agent: Any) -> None:
        self.agent = agent
        networks, optimizer = agent.actor_critic, agent.optimizer
        per_row = {name: tensor.numpy() for name, tensor in vars(agent.per_row).items()}
        policy, value = (MLPArrays.of(part, networks.flat) for part in (networks.policy, networks.value))
        self.play, self.per_row, self.dtype = Player(agent, policy), per_row, policy.flat.dtype
        self.arrays = ActorCriticArrays(
            policy,
            value,
            OptimizerArrays.of(optimizer),
            per_row["gamma"],
            per_row["gae_lambda"],
            per_row["max_grad_norm"],
            per_row.get("target_kl", np.full(agent.num_seeds, np.inf, self.dtype)),
            agent.config.normalize_advantage,
            agent.active.numpy(),
        )
        self.count = agent.config.n_steps * agent.env.num_envs  # N
        self.size = self.size or self.count
        self.work = 3 * (self.passes + 1) * self.count * policy.flat.shape[1]  # multiply-adds of a row, or a few more

    def numbers(self, remaining: Sequence[float]) -> Any:
        """Return the numbers of the loss in K iterations, see ``rlkit.compiled.losses``."""
        raise NotImplementedError

    def order(self, count: int) -> NDArray[np.int64]:
        """Return the partitions of each row's batch for ``count`` iterations, ``[K E, S, N]``; none: by time."""
        return np.empty((0, self.agent.num_seeds, self.count), np.int64)

    def measures_kl(self, count: int) -> NDArray[np.bool_]:
        """Return in which of the next ``count`` iterations KL(pi before, pi after) is measured, ``[K]``."""
        return np.zeros(count, np.bool_)

    def write_log(self, log: OnPolicyLog) -> None:
        """Log K iterations."""
        raise NotImplementedError

    def __call__(self) -> None:
        """Play ``n_steps`` steps of every copy and learn from them; several times where that can be one call."""
        agent, steps = self.agent, self.agent.config.n_steps
        if self.play.numbers is None or agent.normalizer is not None:
            self.learn(self.play(steps))
            return
        count = iterations_until_row(agent, steps, self.work)
        ends, learned = ends_of(agent, steps, count), agent.active.clone()
        learner = self.learner([agent.training_state.remaining_at(end) for end in ends])
        iterate(agent, self.play.numbers, self.arrays.policy, count, steps, self.work, lambda _: learner)
        note_divergences(agent, learned, np.isfinite(learner.log.losses[..., -1]).all(axis=2), ends)
        self.write_log(learner.log)

    def learn(self, played: Transition) -> None:
        """Learn from a segment that was played."""
        learner, segments = self.learner([self.agent.progress_remaining]), self.segments(played)
        for first, last in blocks(self.agent.num_seeds, self.work):
            learn_rows(first, last, learner, segments)
        self.write_log(learner.log)

    def segments(self, played: Transition) -> OnPolicySegments:
        """Return the arrays of a segment."""
        agent, action = self.agent, played.action.flatten(1, 2).contiguous().numpy()
        features = features_of(agent, played.obs), features_of(agent, played.next_obs)
        return OnPolicySegments(*features, action, mask_of(agent, played), rewards_of(played))

    def learner(self, remaining: Sequence[float]) -> OnPolicyLearner:
        """Return the arguments of the next K iterations, when so much of training remains in each."""
        agent, count, rows = self.agent, len(remaining), self.agent.num_seeds
        rate = scheduled(agent.per_row.learning_rate, agent.config.learning_rate_schedule, remaining)
        numbers, order, measures_kl = self.numbers(remaining), self.order(count), self.measures_kl(count)
        plan = OnPolicyPlan(numbers, rate, order, self.passes, self.size, measures_kl)
        losses = np.empty((count, rows, self.passes * self.count // self.size, 7), self.dtype)
        log = OnPolicyLog(losses, *np.empty((2, count, rows), self.dtype))
        return OnPolicyLearner(self.arrays, plan, log)
