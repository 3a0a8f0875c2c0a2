"""REINFORCE (Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement
learning") with a choice of return and of baseline.

    repeat:
        play n_steps of every copy by pi(.; theta)
        G_t = r_t + gamma G_(t+1)             (within an episode; what follows the last step: see ``unfinished``)
        w_t = G_t, or gamma^t G_t, or the whole episode's return
        b_t = a baseline that this episode has no part in
        theta <- theta + learning_rate * mean over copies of  sum_t (w_t - b_t) grad log pi(a_t|s_t)
                                                              (per step played; norm clipped, per seed)

Which gradient is estimated: with ``discount_states`` (and with whole returns) that of the discounted return from the
start; without it that of the average over the states visited, where no state counts less for coming late. For gamma = 1
they are the same. The gradients of the copies are kept apart until the last line, so the variance of their mean is
known, and is logged, at every update. Every line is done for S seeds at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from rlkit.architectures import NetworkName
from rlkit.baselines import leave_one_out_mean, optimal_constant, time_dependent_mean
from rlkit.exploration import masked
from rlkit.layers import Activation
from rlkit.losses import entropy, entropy_slope, explained_variance, kl_divergence, log_softmax, one_hot, score_slope
from rlkit.networks import MLP
from rlkit.optim import Adam
from rlkit.returns import discounted_returns, ends_by_terminating, episode_returns, steps_since_start
from rlkit.schedules import Schedule
from rlkit.streams import Stream
from rlkit.types import Transition

from .agent import Agent
from .hyperparameters import Count, NotNegative, Options, Positive, Share, Widths, verify
from .presets import REINFORCE_PRESETS

Returns = Literal["reward-to-go", "whole"]
Baseline = Literal["none", "average", "time", "leave-one-out", "optimal", "value"]
Unfinished = Literal["bootstrap", "end", "drop"]
FROM_OTHER_COPIES = ("time", "leave-one-out", "optimal")


@dataclass(frozen=True)
class REINFORCEConfig:
    """Hyper-parameters of REINFORCE. A ``PerRow`` number may be one for all seeds or one per seed."""

    learning_rate: Positive = 1e-3  # of Adam
    learning_rate_schedule: Schedule = "constant"
    n_steps: Count = 256  # of every copy between updates
    gamma: Share = 0.99
    returns: Returns = "reward-to-go"
    discount_states: bool = False  # the factor gamma^t; whole returns have it anyway
    baseline: Baseline = "value"
    # Episodes that a time limit or the end of the batch cuts: bootstrap from V, take the cut for an end, or drop them.
    unfinished: Unfinished = "bootstrap"
    average_decay: Share = 0.9  # of baseline "average", per update
    value_learning_rate: Positive = 1e-3  # of baseline "value"
    value_steps: Count = 10  # gradient steps of V on every batch, after the policy's
    ent_coef: NotNegative = 0.0
    max_grad_norm: Positive = 0.5
    normalize_observations: bool = False  # to mean 0 and deviation 1, running, of every row
    normalize_rewards: bool = False  # by the running deviation of the discounted return
    network: NetworkName = "auto"  # what reads the observations, and its options by name: see Architecture
    network_kwargs: Options = field(default_factory=dict)
    net_arch: Widths = (64, 64)
    activation: Activation = "tanh"
    ortho_init: bool = True

    def __post_init__(self) -> None:
        verify(self)
        if self.unfinished == "bootstrap" and self.baseline != "value":
            raise ValueError(
                f"unfinished 'bootstrap' needs the value function of baseline 'value', and baseline is "
                f"{self.baseline!r}: pass unfinished='end' or 'drop'"
            )
        if self.returns == "whole" and not self.discount_states and self.gamma != 1.0:
            raise ValueError(
                "whole returns estimate the gradient of the discounted return: pass discount_states=True to say so, "
                "or gamma=1, where it makes no difference"
            )


class Gradients(NamedTuple):
    """What a batch says of the policy."""

    by_copy: Tensor  # [S, B, P], of the loss, a step played
    log_p: Tensor  # [S B, T, A]
    loss: Tensor  # [S], mean of -(w - b) log pi(a|s); without the entropy bonus


class REINFORCE(Agent):
    """REINFORCE on the seed axis; see ``Agent`` for the arguments and ``REINFORCEConfig`` for the hyper-parameters."""

    config_class = REINFORCEConfig
    presets: ClassVar[dict[str, dict[str, dict[str, Any]]]] = REINFORCE_PRESETS
    checkpointed = ("optimizer", "value_optimizer", "_explore", "_average", "_average_mass", "_before")
    config: REINFORCEConfig

    def _build(self) -> dict[str, MLP]:
        config, copies = self.config, self.env.num_envs
        if config.baseline in FROM_OTHER_COPIES and copies < 2:
            raise ValueError(f"baseline {config.baseline!r} is made of the other copies: num_envs must be at least 2")
        if config.baseline == "time" and self.env.max_episode_steps is None:
            raise ValueError("baseline 'time' needs an environment with a time limit: take 'leave-one-out'")
        architecture = self._architecture()
        self.policy = architecture.policy(int(self.action_space.n), config.ortho_init)
        self.optimizer = Adam(self.policy.flat)
        networks = {"policy": self.policy}
        if config.baseline == "value":
            self.value = architecture.value(config.ortho_init)
            self.value_optimizer = Adam(self.value.flat)
            networks["value"] = self.value
        self._average = torch.zeros(self.num_seeds, device=self.device)  # of past weights
        self._average_mass = torch.zeros(self.num_seeds, device=self.device)  # what the decays have left of the first 0
        self._before = torch.zeros(
            self.num_seeds, copies, dtype=torch.int64, device=self.device
        )  # steps of the episode
        self._explore = Stream(self.seeds, "explore", width=1, copies=copies, device=self.device)
        return networks

    def iteration(self) -> None:
        """``n_steps`` steps of every copy, then one update on all of them."""
        self.update(self._segment(self.config.n_steps, self._explore))

    @torch.inference_mode()
    def update(self, batch: Transition) -> None:
        """One gradient step of every row on a segment of its own, ``[S, T, B]``."""
        gradient, log_p, loss = self.gradients(batch)  # [S, B, P]
        mean = gradient.mean(dim=1)  # [S, P]
        learning_rate = self._scheduled(self.per_row.learning_rate, self.config.learning_rate_schedule)
        norm = self._descend(self.optimizer, mean, learning_rate)
        after = self._log_p(batch, self.policy.repeated(self.env.num_envs)(by_copy(self._features(batch.obs))))
        self._means.add(
            policy_loss=loss,
            entropy=entropy(log_p).mean(dim=1).view(norm.shape[0], -1).mean(dim=1),
            kl=kl_divergence(log_p, after).mean(dim=1).view(norm.shape[0], -1).mean(dim=1),
            gradient_norm=norm,
        )
        if self.env.num_envs > 1:  # of the mean over copies, summed over parameters
            self._means.add(gradient_variance=gradient.var(dim=1).sum(dim=1) / self.env.num_envs)
        if self.config.baseline == "value":
            self.fit_value(batch)

    def _log_p(self, batch: Transition, logits: Tensor) -> Tensor:
        """log pi of what was allowed, by copy ``[S B, T, A]``."""
        return log_softmax(masked(logits, None if batch.action_mask is None else by_copy(batch.action_mask)))

    def gradients(self, batch: Transition) -> Gradients:
        """The gradient of the loss (of minus the return) by copy, with the policy and the loss that it is of."""
        config = self.config
        seeds, steps, copies = batch.reward.shape
        weight, counted, step = self.weights(batch)
        baseline = self.baseline(batch, weight, counted, step)

        # every copy is a row of its own: its sum over time is its own gradient
        features = by_copy(self._features(batch.obs))  # [S B, T, D]
        logits, pullback = self.policy.repeated(copies).vjp(features)
        log_p = self._log_p(batch, logits)
        taken = one_hot(by_copy(batch.action), log_p)

        def score_sum(weight: Tensor) -> Tensor:
            """Minus the sum over time of weight times score, by copy: ``[S, T, B] -> [S, B, P]``."""
            weight = by_copy(torch.where(counted, weight, 0.0))
            return pullback(score_slope(log_p, taken, weight)).view(seeds, copies, -1)

        gradient = score_sum(weight - baseline)
        if config.baseline == "optimal":
            score = score_sum(torch.ones_like(weight))
            gradient = gradient - optimal_constant(gradient, score)[..., None] * score
        if config.ent_coef != 0.0:
            bonus = pullback(-entropy_slope(log_p)).view(seeds, copies, -1)
            gradient = gradient + self.per_row.ent_coef[:, None, None] * bonus
        chosen = log_p.gather(-1, by_copy(batch.action)[..., None])[..., 0]  # [S B, T]
        loss = -(by_copy(torch.where(counted, weight - baseline, 0.0)) * chosen).mean(dim=1)
        return Gradients(gradient / steps, log_p, loss.view(seeds, copies).mean(dim=1))

    def weights(self, batch: Transition) -> tuple[Tensor, Tensor, Tensor]:
        """What multiplies every score, which steps count, and steps since the episode's start, ``[S, T, B]`` each."""
        config, gamma = self.config, self.per_row.gamma[:, None]
        weight = discounted_returns(batch.reward, self._bootstrap(batch), batch.terminated, batch.truncated, gamma)
        step = steps_since_start(batch.done, self._before)
        self._before = torch.where(batch.done[:, -1], 0, step[:, -1] + 1)
        if config.discount_states:
            weight = gamma[..., None] ** step * weight
        if config.returns == "whole":
            weight = episode_returns(weight, batch.done)
        drop = config.unfinished == "drop"
        counted = ends_by_terminating(batch.terminated, batch.truncated) if drop else torch.ones_like(batch.terminated)
        return weight, counted, step

    def baseline(self, batch: Transition, weight: Tensor, counted: Tensor, step: Tensor) -> Tensor:
        """What is subtracted from every weight, broadcastable to ``[S, T, B]``; "optimal" comes later."""
        name = self.config.baseline
        if name == "leave-one-out":
            return leave_one_out_mean(weight, counted)
        if name == "time":
            assert self.env.max_episode_steps is not None
            return time_dependent_mean(weight, counted, step, self.env.max_episode_steps)
        if name == "average":
            return self._moving_average(weight, counted)
        if name == "value":
            value = self._value_of(batch.obs)
            return self.per_row.gamma[:, None, None] ** step * value if self.config.discount_states else value
        return torch.zeros_like(weight[:, :1])

    def _moving_average(self, weight: Tensor, counted: Tensor) -> Tensor:
        """The decaying mean of the weights of earlier batches, ``[S, 1, 1]``; this one enters it afterwards."""
        before = torch.where(self._average_mass > 0, self._average / self._average_mass.clamp(min=1e-30), 0.0)
        count = counted.sum(dim=(1, 2))
        mean = torch.where(counted, weight, 0.0).sum(dim=(1, 2)) / count.clamp(min=1)
        decay = torch.where(count > 0, self.per_row.average_decay, 1.0)
        self._average = decay * self._average + (1.0 - decay) * mean
        self._average_mass = decay * self._average_mass + (1.0 - decay)
        return before[:, None, None]

    def fit_value(self, batch: Transition) -> None:
        """``value_steps`` gradient steps of V on the squared error to the returns of the batch."""
        target = discounted_returns(
            batch.reward, self._bootstrap(batch), batch.terminated, batch.truncated, self.per_row.gamma[:, None]
        ).flatten(1, 2)  # [S, T B]
        features = self._features(batch.obs).flatten(1, 2)
        for i in range(self.config.value_steps):
            value, pullback = self.value.vjp(features)
            error = value[..., 0] - target
            gradient = pullback(2.0 / error.shape[1] * error[..., None])
            self._descend(self.value_optimizer, gradient, self.per_row.value_learning_rate)
            if i == 0:
                variance = explained_variance(value[..., 0], target)
                self._means.add(value_loss=error.square().mean(dim=1), explained_variance=variance)

    def _bootstrap(self, batch: Transition) -> Tensor:
        """What stands for the rewards after a cut, ``[S, T, B]``."""
        return (
            self._value_of(batch.next_obs) if self.config.unfinished == "bootstrap" else torch.zeros_like(batch.reward)
        )

    def _value_of(self, obs: Tensor) -> Tensor:
        """V of a segment's observations, ``[S, T, B, ...] -> [S, T, B]``."""
        return self.values(obs.flatten(1, 2)).view(obs.shape[:3])

    def scores(self, obs: Tensor) -> Tensor:
        """Logits of the policy, differentiable in the observation: ``[S, B, *observation] -> [S, B, A]``."""
        return self.policy(self._features(obs))

    def _score_network(self) -> Any:
        return self.policy

    def values(self, obs: Tensor) -> Tensor:
        """V(s) of every row, ``[S, B, *observation] -> [S, B]``, without gradients.

        Raises:
            ValueError: the agent has no value function.
        """
        if self.config.baseline != "value":
            raise ValueError(f"REINFORCE with baseline {self.config.baseline!r} learns no values: use baseline='value'")
        with torch.no_grad():
            return self.value(self._features(obs))[..., 0]


def by_copy(field: Tensor) -> Tensor:
    """A segment with every copy as a row, ``[S, T, B, ...] -> [S B, T, ...]``.

    Contiguous also for one seed: products of another memory layout round differently.
    """
    return field.transpose(1, 2).flatten(0, 1).contiguous()
