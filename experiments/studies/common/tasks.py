"""Tasks in which policies are attacked, with the units of the attacker's budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import rlkit.envs
from rlkit.adversarial import Budget
from rlkit.evaluation import EVALUATION_SEED
from rlkit.types import Env


class Task(NamedTuple):
    """An environment and the attacker's budget in it, the same for every policy."""

    name: str
    env: str
    env_kwargs: Mapping[str, Any]
    # one standard deviation of every feature over natural episodes: cart-pole's is the root mean square of all six
    # groups of policies of the robustness study, the grid's of the three rlkit policies, Acrobot's of rlkit's PPO
    scale: tuple[float, ...]
    epsilons: tuple[float, ...]  # in units of the scale, norm "inf"

    def budget(self, epsilon: float = 0.0) -> Budget:
        """The attacker's budget, in standard deviations."""
        return Budget(epsilon, scale=self.scale, unit="standard deviations")

    def environments(self, num_seeds: int, episodes: int, seed: int = EVALUATION_SEED) -> Env:
        """One episode per copy, from ``seed`` upwards, the same for every row and every policy."""
        return rlkit.envs.make(
            self.env,
            seeds=[seed] * num_seeds,
            num_envs=episodes,
            restart=False,
            noise="gymnasium",
            double=True,
            env_kwargs=dict(self.env_kwargs),
        )


CARTPOLE = Task("cartpole", "CartPole-v1", {}, (0.44, 0.33, 0.037, 0.23), (0.1, 0.2, 0.4, 0.8, 1.6))
GRID = Task(
    "grid",
    "rlkit/GridWorld-v0",
    {"map": "russell-norvig-4x3", "observation": "coordinates"},
    (0.41, 0.26),
    (0.1, 0.2, 0.4, 0.8, 1.6),
)
ACROBOT = Task("acrobot", "Acrobot-v1", {}, (0.63, 0.64, 0.69, 0.70, 2.2, 3.3), (0.05, 0.1, 0.2, 0.4, 0.8))
TASKS = (CARTPOLE, GRID, ACROBOT)
