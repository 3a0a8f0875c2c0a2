"""Which policies are attacked, how, and by how much; as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from rlkit.adversarial import FGSM, PGD, Attack, BestOf, Noise, RandomSearch

from ...workflows.train import Training
from ..common.tasks import ACROBOT, CARTPOLE, GRID, Task
from ..matched.settings import PLAIN
from ..tuned.settings import FIRST_DQN_CARTPOLE

SEEDS = tuple(range(10))
EPISODES = 10  # of every seed, attack and epsilon, the same for all

BEST = "best"
# results/ was measured before PGD had a start for every action
ATTACKS: Mapping[str, Attack] = {
    "sign noise": Noise("sign"),
    "FGSM": FGSM(),
    "PGD-20": PGD(20, every_action=False),
    "PGD-20 cross-entropy": PGD(20, objective="cross_entropy"),
    BEST: BestOf((Noise("sign"), PGD(20, restarts=2, every_action=False), RandomSearch(20))),
}


class RobustnessCase(NamedTuple):
    """One algorithm on one task, trained by both libraries."""

    name: str
    task: Task
    training: Training  # of rlkit
    sb3_training: Training  # of stable-baselines3


def case(
    name: str,
    task: Task,
    algo: str,
    steps: int,
    preset: str,
    hyperparameters: Mapping[str, Any] | None = None,
    num_envs: int | None = None,
    sb3: Training | None = None,
) -> RobustnessCase:
    """A case whose trainings are the same for both libraries unless ``sb3`` is given."""
    training = Training(task.env, algo, SEEDS, steps, preset, hyperparameters or {}, task.env_kwargs, num_envs)
    return RobustnessCase(name, task, training, training if sb3 is None else sb3)


def zoo(algo: str, steps: int, num_envs: int = 1) -> Training:
    """The RL Zoo's settings for cart-pole."""
    return Training(CARTPOLE.env, algo, SEEDS, steps, "rl-zoo", num_envs=num_envs)


# DQN on cart-pole: the preset that was frozen first, with which the rows were made
CASES = (
    case("cartpole-dqn", CARTPOLE, "dqn", 50_000, "rl-zoo", FIRST_DQN_CARTPOLE, sb3=zoo("dqn", 50_000)),
    case("cartpole-a2c", CARTPOLE, "a2c", 300_000, "tuned", sb3=zoo("a2c", 500_000, num_envs=8)),
    case("cartpole-ppo", CARTPOLE, "ppo", 100_000, "tuned", sb3=zoo("ppo", 100_000, num_envs=8)),
    case("grid-dqn", GRID, "dqn", 100_000, "tuned", num_envs=8),
    case("grid-a2c", GRID, "a2c", 200_000, "sb3", {"ent_coef": 0.01, "learning_rate_schedule": "linear"}, num_envs=8),
    case(
        "grid-ppo",
        GRID,
        "ppo",
        100_000,
        "sb3",
        {"ent_coef": 0.01, "learning_rate": 1e-3, "n_steps": 64, "batch_size": 128},
        num_envs=8,
    ),
    case("acrobot-dqn", ACROBOT, "dqn", 50_000, "rl-zoo", {"net_arch": (64, 64)}, num_envs=1),
    case("acrobot-a2c", ACROBOT, "a2c", 200_000, "sb3", num_envs=16),
    case("acrobot-ppo", ACROBOT, "ppo", 100_000, "rl-zoo", PLAIN, num_envs=16),
)


def names_of(task: Task) -> tuple[str, ...]:
    """Of the cases on a task."""
    return tuple(case.name for case in CASES if case.task is task)
