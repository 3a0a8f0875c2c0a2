"""Tasks in which policies are attacked, with the units of the attacker's budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import rlkit.envs
from rlkit.adversarial import Budget, Threat, committed_threats
from rlkit.evaluation import EVALUATION_SEED
from rlkit.types import Env


class Task(NamedTuple):
    """An environment and the attacker's budget in it, the same for every policy."""

    name: str
    env: str
    env_kwargs: Mapping[str, Any]
    scale: tuple[float, ...]  # one unit of epsilon in raw units of every feature
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


def committed(name: str, threat: Threat) -> Task:
    """The task of a committed threat."""
    return Task(name, str(threat.env), threat.env_kwargs, threat.scale, threat.epsilons)


THREATS = {threat.env: threat for threat in committed_threats()}
CARTPOLE = committed("cartpole", THREATS["CartPole-v1"])
GRID = committed("grid", THREATS["rlkit/GridWorld-v0"])
# The rows of Acrobot were measured before its scale was committed, in deviations of natural play of rlkit's PPO.
ACROBOT = Task("acrobot", "Acrobot-v1", {}, (0.63, 0.64, 0.69, 0.70, 2.2, 3.3), (0.05, 0.1, 0.2, 0.4, 0.8))
TASKS = (CARTPOLE, GRID, ACROBOT)
