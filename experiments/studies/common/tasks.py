"""Tasks in which policies are attacked, with the units of the attacker's budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import rlkit.envs
from rlkit.adversarial import Budget, Threat, committed_threats
from rlkit.evaluation import EVALUATION_SEED
from rlkit.types import Env

from ...workflows.policies import Scored, Subject

SCALE_UNIT = "units of the task's scale"  # of epsilon


class Task(NamedTuple):
    """An environment and the attacker's budget in it, the same for every policy."""

    name: str
    env: str
    env_kwargs: Mapping[str, Any]
    scale: tuple[float, ...]  # one unit of epsilon in raw units of every feature
    epsilons: tuple[float, ...]  # in units of the scale, norm "inf"

    def budget(self, epsilon: float = 0.0) -> Budget:
        """The attacker's budget."""
        return Budget(epsilon, scale=self.scale, unit=SCALE_UNIT)

    def subject(self, policy: Scored, maker: str, algorithm: str, seeds: Sequence[int]) -> Subject:
        """Policies of several seeds, with the environment that they are evaluated in."""
        make_env = partial(self.environments, len(seeds))
        return Subject(policy, maker, algorithm, tuple(seeds), self.env, self.env_kwargs, make_env)

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
ACROBOT = committed("acrobot", THREATS["Acrobot-v1"])
TASKS = (CARTPOLE, GRID, ACROBOT)

# at which linear adversaries are searched; on the grid the worst case itself is known, and on Acrobot simpler attacks
# leave nothing from 0.2 on
LINEAR_EPSILONS: Mapping[str, tuple[float, ...]] = {CARTPOLE.name: (0.2, 0.4), ACROBOT.name: (0.05, 0.1)}
