"""Which policies are attacked, how, and by how much; as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from rlkit.adversarial import FGSM, PGD, Attack, BestOf, Noise, RandomSearch

from ..train import Training
from ..tuned.settings import FIRST_DQN_CARTPOLE

SEEDS = tuple(range(10))
EPISODES = 10  # of every seed, attack and epsilon, the same for all

BEST = "best"
ATTACKS: Mapping[str, Attack] = {
    "sign noise": Noise("sign"),
    "FGSM": FGSM(),
    "PGD-20": PGD(20),
    "PGD-20 cross-entropy": PGD(20, objective="cross_entropy"),
    BEST: BestOf((Noise("sign"), PGD(20, restarts=2), RandomSearch(20))),
}


class Task(NamedTuple):
    """An environment and the attacker's budget in it, the same for every policy."""

    name: str
    env: str
    env_kwargs: Mapping[str, Any]
    # one standard deviation of every feature over natural episodes: cart-pole's is the root mean square of all six
    # groups of policies, the grid's that of our three, Acrobot's our PPO's
    scale: tuple[float, ...]
    epsilons: tuple[float, ...]  # in units of the scale, norm "inf"

    @property
    def cases(self) -> tuple[str, ...]:
        """The names of its cases."""
        return tuple(case.name for case in CASES if case.task is self)


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


class Case(NamedTuple):
    """One algorithm on one task, trained by both makers."""

    name: str
    task: Task
    ours: Training
    peer: Training  # what stable-baselines3 is trained with


def case(
    name: str,
    task: Task,
    algo: str,
    steps: int,
    preset: str,
    hyperparameters: Mapping[str, Any] | None = None,
    num_envs: int | None = None,
    peer: Training | None = None,
) -> Case:
    """Ours on all seeds; the peer with the same settings unless others are given."""
    ours = Training(task.env, algo, SEEDS, steps, preset, hyperparameters or {}, task.env_kwargs, num_envs)
    return Case(name, task, ours, ours if peer is None else peer)


def zoo(algo: str, steps: int, num_envs: int = 1) -> Training:
    """The RL Zoo's settings for cart-pole."""
    return Training(CARTPOLE.env, algo, SEEDS, steps, "rl-zoo", num_envs=num_envs)


# DQN on cart-pole: the preset that was frozen first, with which the rows were made
CASES = (
    case("cartpole-dqn", CARTPOLE, "dqn", 50_000, "rl-zoo", FIRST_DQN_CARTPOLE, peer=zoo("dqn", 50_000)),
    case("cartpole-a2c", CARTPOLE, "a2c", 300_000, "tuned", peer=zoo("a2c", 500_000, num_envs=8)),
    case("cartpole-ppo", CARTPOLE, "ppo", 100_000, "tuned", peer=zoo("ppo", 100_000, num_envs=8)),
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
    case("acrobot-ppo", ACROBOT, "ppo", 100_000, "rl-zoo", num_envs=16),
)
