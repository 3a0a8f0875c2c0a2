"""DQN with and without its memory, as data: everything else is equal, the number of updates included."""

from __future__ import annotations

from typing import NamedTuple

from ...workflows.train import Training

SEEDS = tuple(range(10, 20))  # on seeds 0 to 9 one update in four steps proved too few for both
STEPS = 50_000
EQUAL = {
    "learning_rate": 5e-4,
    "batch_size": 32,
    "train_freq": 1,
    "gradient_steps": 1,
    "learning_starts": 1000,
    "target_update_interval": 500,
    "exploration_fraction": 0.2,
    "exploration_final_eps": 0.05,
}

WITH, WITHOUT = "replay", "no-replay"


class ReplayCase(NamedTuple):
    """One of the two trainings."""

    name: str
    training: Training


def case(name: str, replay: bool) -> ReplayCase:
    """DQN on CartPole-v1 with or without its memory."""
    return ReplayCase(name, Training("CartPole-v1", "dqn", SEEDS, STEPS, hyperparameters={**EQUAL, "replay": replay}))


CASES = (case(WITH, True), case(WITHOUT, False))
