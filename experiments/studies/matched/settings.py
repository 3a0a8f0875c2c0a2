"""What both libraries train, as data."""

from __future__ import annotations

from typing import NamedTuple

from ...workflows.train import Training

SEEDS = tuple(range(30))
SB3_SEEDS = tuple(range(10))


# the zoo normalizes observations and rewards; here nothing is normalized
PLAIN = {"normalize_observations": False, "normalize_rewards": False}


class MatchedCase(NamedTuple):
    """One comparison: the same hyper-parameters in both libraries."""

    name: str
    training: Training  # of rlkit, all seeds as one computation
    sb3_seeds: tuple[int, ...] = SB3_SEEDS  # of stable-baselines3, one after another


CASES = (
    MatchedCase("cartpole-dqn", Training("CartPole-v1", "dqn", SEEDS, 50_000, "rl-zoo")),
    MatchedCase("cartpole-ppo", Training("CartPole-v1", "ppo", SEEDS, 100_000, "rl-zoo", num_envs=8), sb3_seeds=SEEDS),
    MatchedCase("cartpole-a2c", Training("CartPole-v1", "a2c", SEEDS, 500_000, "rl-zoo", num_envs=8)),
    # after the zoo's budgets every seed may have the greatest possible return; these budgets end before that
    MatchedCase(
        "cartpole-ppo-short", Training("CartPole-v1", "ppo", SEEDS, 25_000, "rl-zoo", num_envs=8), sb3_seeds=SEEDS
    ),
    MatchedCase(
        "cartpole-a2c-short", Training("CartPole-v1", "a2c", SEEDS, 50_000, "rl-zoo", num_envs=8), sb3_seeds=SEEDS
    ),
    # the zoo's own settings with smaller budgets, so that not every seed has learned to swing up
    MatchedCase("acrobot-dqn", Training("Acrobot-v1", "dqn", SEEDS, 100_000, "rl-zoo")),
    MatchedCase("acrobot-ppo", Training("Acrobot-v1", "ppo", SEEDS, 1_000_000, "rl-zoo", num_envs=16)),
    MatchedCase("acrobot-dqn-short", Training("Acrobot-v1", "dqn", SEEDS, 25_000, "rl-zoo", {"net_arch": (64, 64)})),
    MatchedCase("acrobot-ppo-short", Training("Acrobot-v1", "ppo", SEEDS, 100_000, "rl-zoo", PLAIN, num_envs=16)),
)
