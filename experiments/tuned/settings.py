"""Which tuned presets are judged, on seeds that had no part in tuning them, and what they have to reach; as data."""

from __future__ import annotations

from typing import NamedTuple

from ..train import Training

SEEDS = tuple(range(30))  # presets are tuned on seeds 1000 and up


class Target(NamedTuple):
    """A mean return of the greedy final policy, and by how many it has to be reached."""

    level: float
    solved: int | None = None  # so many seeds; None: the median seed

    def __str__(self) -> str:
        """For example ``475 by 29 seeds``."""
        return f"{self.level:g} by {'the median' if self.solved is None else f'{self.solved} seeds'}"


class Case(NamedTuple):
    """A preset with what is expected of it."""

    name: str
    training: Training
    targets: tuple[Target, ...]


def case(name: str, env: str, algo: str, steps: int, *targets: Target, seeds: tuple[int, ...] = SEEDS) -> Case:
    """The tuned preset, its copies of the environment included."""
    return Case(name, Training(env, algo, seeds, steps, "tuned", num_envs=None), targets)


# The medians are published scores at the published step budgets (RL Baselines3 Zoo). A2C's, 500 after 500,000 steps of
# CartPole-v1, is a case of ``matched``.
CASES = (
    case("dqn", "CartPole-v1", "dqn", 100_000, Target(475.0, solved=29)),
    case("dqn-50k", "CartPole-v1", "dqn", 50_000, Target(500.0), seeds=SEEDS[:10]),
    case("ppo", "CartPole-v1", "ppo", 100_000, Target(475.0, solved=29), Target(500.0)),
    case("a2c", "CartPole-v1", "a2c", 300_000, Target(475.0, solved=27)),
    case("reinforce", "CartPole-v1", "reinforce", 300_000, Target(475.0, solved=27)),
    case("acrobot-dqn", "Acrobot-v1", "dqn", 100_000, Target(-80.0), seeds=SEEDS[:10]),
)
