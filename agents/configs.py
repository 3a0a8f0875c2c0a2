"""The hyper-parameters of every agent, with their defaults: stable-baselines3's where it has the algorithm.

A ``PerRow`` number (``Positive``, ``Share`` and so on) may be one for all seeds or one per seed. Steps are environment
steps per seed. Names and meanings are stable-baselines3's, so that the same settings mean the same algorithm there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from gymnasium import spaces

from rlkit.nn import Activation, Architecture, NetworkName
from rlkit.schedules import Schedule

from .core.hyperparameters import (
    Count,
    NotNegative,
    Options,
    PerRow,
    Positive,
    PositiveShare,
    Range,
    Share,
    Widths,
    is_everywhere,
    verify,
)


@dataclass(frozen=True)
class NetworkConfig:
    """Hyper-parameters of the networks, shared by every agent except the tabular one."""

    normalize_observations: bool = False  # by running mean and standard deviation, per row
    normalize_rewards: bool = False  # by the running standard deviation of the discounted return
    network: NetworkName = "auto"  # the kind of network, and its options by name: see Architecture
    network_kwargs: Options = field(default_factory=dict)
    net_arch: Widths = (64, 64)  # hidden layers of each network; policy and value share nothing
    activation: Activation = "tanh"

    def __post_init__(self) -> None:
        verify(self)

    def architecture(
        self,
        space: spaces.Space[Any],
        seeds: Sequence[int],
        device: torch.device | str,
        dtype: torch.dtype = torch.float32,
    ) -> Architecture:
        """Return the architecture of the networks for an observation space; one seed per row."""
        kind = self.network, self.net_arch, self.activation
        return Architecture(space, seeds, *kind, device, self.network_kwargs, self.normalize_observations, dtype)


@dataclass(frozen=True)
class DQNConfig(NetworkConfig):
    """Hyper-parameters of DQN."""

    activation: Activation = "relu"
    learning_rate: Positive = 1e-4
    learning_rate_schedule: Schedule = "constant"
    buffer_size: Count = 1_000_000  # transitions per seed
    learning_starts: Annotated[int, Range(at_least=0)] = 100  # steps of random actions before the first update
    batch_size: Count = 32
    tau: PositiveShare = 1.0  # share of the online network in a target update; 1 copies it
    gamma: Share = 0.99
    train_freq: Count = 4  # steps of every copy between updates
    n_steps: Count = 1  # rewards summed before the bootstrap
    gradient_steps: Annotated[int, Range(at_least=-1)] = 1  # updates per train_freq; -1: one per transition collected
    target_update_interval: Count = 10_000  # steps between target updates
    exploration_fraction: Share = 0.1  # of training, over which epsilon falls linearly
    exploration_initial_eps: Share = 1.0
    exploration_final_eps: Share = 0.05
    max_grad_norm: Positive = 10.0
    loss: Literal["huber", "squared"] = "huber"
    double: bool = False  # the online network selects the action, the target network evaluates it
    dueling: bool = False  # Q = V + A - mean A
    replay: bool = True  # False: minibatches are the latest transitions, in order
    priority_exponent: Share = 0.0  # of |y - Q| in the chance of being sampled; 0 samples uniformly
    priority_beta: Share = 0.4  # exponent of the importance weights, which grows to 1 over training
    single_coin: bool = False  # one coin for all copies decides whether they explore, as in stable-baselines3
    target_clock: Literal["steps", "updates"] = "steps"  # what target_update_interval counts

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_everywhere(0.0, self.priority_exponent) and not self.replay:
            raise ValueError(f"priority_exponent {self.priority_exponent} needs a replay: pass replay=True with it")
        if self.batch_size > self.buffer_size:
            raise ValueError(f"batch_size {self.batch_size} exceeds buffer_size {self.buffer_size}: lower one")


@dataclass(frozen=True)
class WocaRDQNConfig(DQNConfig):
    """Hyper-parameters of WocaR-DQN: those of DQN, the attack that it expects, and the weight of the worst case."""

    attack_epsilon: NotNegative = 0.1  # radius of the balls of the norm "inf" around the features
    attack_scale: tuple[Annotated[float, Range(at_least=0.0)], ...] = ()  # unit of it, by feature; empty: raw units
    worst_case_weight: Share = 0.5  # kappa, share of the worst-case values in the choice of the target's action
    worst_case_fraction: Share = 0.5  # of training, over which kappa grows linearly from 0


@dataclass(frozen=True)
class A2CConfig(NetworkConfig):
    """Hyper-parameters of A2C."""

    learning_rate: Positive = 7e-4
    learning_rate_schedule: Schedule = "constant"
    n_steps: Count = 5  # of every copy between updates
    gamma: Share = 0.99
    gae_lambda: Share = 1.0
    ent_coef: NotNegative = 0.0
    vf_coef: NotNegative = 0.5
    max_grad_norm: Positive = 0.5
    rms_prop_eps: Annotated[float, Range(above=0.0)] = 1e-5
    use_rms_prop: bool = True  # else Adam with eps 1e-5
    normalize_advantage: bool = False
    ortho_init: bool = True


@dataclass(frozen=True)
class PPOConfig(NetworkConfig):
    """Hyper-parameters of PPO."""

    learning_rate: Positive = 3e-4
    learning_rate_schedule: Schedule = "constant"
    n_steps: Count = 2048  # of every copy between batches
    batch_size: Count = 64  # of a minibatch; divides n_steps times the number of copies
    n_epochs: Count = 10
    gamma: Share = 0.99
    gae_lambda: Share = 0.95
    clip_range: Positive = 0.2
    clip_range_schedule: Schedule = "constant"
    clip_range_vf: Positive | None = None  # limit on the change of V, on the same schedule; None: no limit
    normalize_advantage: bool = True
    ent_coef: NotNegative = 0.0
    vf_coef: NotNegative = 0.5
    max_grad_norm: Positive = 0.5
    target_kl: Positive | None = None
    ortho_init: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.normalize_advantage and self.batch_size < 2:
            raise ValueError("normalize_advantage needs batch_size of at least 2, got 1: raise it or switch it off")


Returns = Literal["reward-to-go", "whole"]
Baseline = Literal["none", "average", "time", "leave-one-out", "optimal", "value"]
Unfinished = Literal["bootstrap", "end", "drop"]


@dataclass(frozen=True)
class REINFORCEConfig(NetworkConfig):
    """Hyper-parameters of REINFORCE."""

    learning_rate: Positive = 1e-3  # of Adam
    learning_rate_schedule: Schedule = "constant"
    n_steps: Count = 256  # of every copy between updates
    gamma: Share = 0.99
    returns: Returns = "reward-to-go"
    discount_states: bool = False  # the factor gamma^t; whole returns always have it
    baseline: Baseline = "value"
    # Episodes cut by a time limit or the end of the batch: bootstrap from V, treat the cut as an end, or drop them.
    unfinished: Unfinished = "bootstrap"
    average_decay: Share = 0.9  # of baseline "average", per update
    value_learning_rate: Positive = 1e-3  # of baseline "value"
    value_steps: Count = 10  # gradient steps of V on every batch, after the policy's
    ent_coef: NotNegative = 0.0
    max_grad_norm: Positive = 0.5
    ortho_init: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.unfinished == "bootstrap" and self.baseline != "value":
            raise ValueError(
                f"unfinished 'bootstrap' needs the value function of baseline 'value', and baseline is "
                f"{self.baseline!r}: pass unfinished='end' or 'drop'"
            )
        if self.returns == "whole" and not self.discount_states and not is_everywhere(1.0, self.gamma):
            raise ValueError(
                "whole returns estimate the gradient of the discounted return: pass discount_states=True to say so, "
                "or gamma=1, where it makes no difference"
            )


@dataclass(frozen=True)
class TabularQConfig:
    """Hyper-parameters of the tabular learners."""

    algorithm: Literal["q-learning", "sarsa", "expected-sarsa"] = "q-learning"
    learning_rate: PositiveShare = 0.1
    power: Share = 0.0  # the learning rate is divided by (number of updates)^power; 0: constant, 1: sample mean
    gamma: Share = 0.99
    initial_value: PerRow = 0.0  # of every action; values above the largest return explore (optimistic initialization)
    exploration_fraction: Share = 0.1  # of training, over which epsilon falls on a line
    exploration_initial_eps: Share = 1.0
    exploration_final_eps: Share = 0.05

    def __post_init__(self) -> None:
        verify(self)
