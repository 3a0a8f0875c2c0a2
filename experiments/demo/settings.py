"""What the demo does, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..workflows.attack import AttackName
from ..workflows.train import Training

SEEDS = tuple(range(8))


@dataclass(frozen=True)
class Demo:
    """Settings of one demo."""

    grid: Training = field(
        default_factory=lambda: Training(
            env="rlkit/GridWorld-v0",
            algo="dqn",
            seeds=SEEDS,
            steps=200_000,
            preset="tuned",
            env_kwargs={"map": "frozenlake-8x8"},
            num_envs=8,
        )
    )
    cartpole: Training = field(
        default_factory=lambda: Training(env="CartPole-v1", algo="dqn", seeds=SEEDS, steps=100_000, preset="tuned")
    )
    sb3_seeds: tuple[int, ...] = (0, 1, 2)
    episodes: int = 100
    attacks: tuple[AttackName, ...] = ("noise", "fgsm")
    epsilons: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0, 2.0)
    shown_epsilon: float = 1.0  # the one in the final table
    grid_regret: float | None = 0.05  # target: the median seed loses at most this share of the exact optimum
    cartpole_return: float = 475.0  # a seed that earns this is counted as solved
    cartpole_solved: int | None = 7  # target: so many seeds solved


FULL = Demo()

QUICK_DQN: Mapping[str, Any] = {"net_arch": (16,), "learning_starts": 200, "train_freq": 4, "gradient_steps": 1}

QUICK = Demo(
    grid=Training(
        env="rlkit/GridWorld-v0",
        algo="dqn",
        seeds=SEEDS[:3],
        steps=2_000,
        hyperparameters=QUICK_DQN,
        env_kwargs={"map": "frozenlake-4x4"},
    ),
    cartpole=Training(env="CartPole-v1", algo="dqn", seeds=SEEDS[:3], steps=1_000, hyperparameters=QUICK_DQN),
    sb3_seeds=(0, 1),
    episodes=5,
    epsilons=(0.1, 1.0),
    grid_regret=None,
    cartpole_solved=None,
)
