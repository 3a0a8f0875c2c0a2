"""The trainings of both libraries, the margin and the number of seeds, as data."""

from __future__ import annotations

from typing import NamedTuple

from ...workflows.train import Training

SEEDS = tuple(range(3000, 3600))  # of either side, in no other study; the number was fixed before the first run
RLKIT_CHUNK = 100  # seeds that train as one computation
SB3_CHUNK = 20  # seeds of stable-baselines3 that one process trains
MARGIN = 25.0  # the largest difference of mean returns that is of no interest
ALPHA = 0.05


class EquivalenceCase(NamedTuple):
    """One comparison: the same hyper-parameters in both libraries."""

    name: str
    training: Training


CASES = (
    EquivalenceCase("ppo-short", Training("CartPole-v1", "ppo", SEEDS, 25_000, "rl-zoo", num_envs=8)),
    EquivalenceCase("a2c-short", Training("CartPole-v1", "a2c", SEEDS, 50_000, "rl-zoo", num_envs=8)),
)
