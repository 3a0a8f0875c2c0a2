"""The policies to attack, the policies to transfer to, and the attacks; as data."""

from __future__ import annotations

from typing import NamedTuple

from rlkit.adversarial import PGD, DeepFool

from ...workflows.policies import RLKIT, SB3
from ...workflows.train import Training
from ..common.sweeps import parts
from ..common.tasks import ACROBOT, CARTPOLE, Task
from ..robustness import settings as robustness

SEEDS = robustness.SEEDS
EXPERIMENTS = parts(__file__, "variants")  # of PPO; the other policies are those of the study robustness
VARIANTS = {cell.agent: cell.training for part in EXPERIMENTS for cell in part.cells}


class Kept(NamedTuple):
    """One way to train a policy, with every seed."""

    name: str
    task: Task
    maker: str
    algorithm: str
    network: str
    folder: str  # where it is kept, below --models
    training: Training


def of_robustness(name: str, task: Task, algorithm: str, maker: str, network: str) -> Kept:
    """A policy of the robustness experiment, which is in its folder if that has been run."""
    case = next(case for case in robustness.CASES if case.name == f"{task.name}-{algorithm.lower()}")
    return Kept(
        name, task, maker, algorithm, network, case.name, case.training if maker == RLKIT else case.sb3_training
    )


def ppo(variant: str, network: str) -> Kept:
    """PPO of rlkit on the cart-pole with another network or settings other than the tuned ones."""
    agent = variant.replace(" ", "-")
    return Kept(f"PPO {variant}", CARTPOLE, RLKIT, "PPO", network, f"cartpole-ppo-{agent}", VARIANTS[agent])


TANH = "64-64 tanh"

KEPT = (
    ppo("linear", "linear"),
    ppo("RBF", "RBF"),
    ppo("64-64", "64-64"),
    ppo("256-256", "256-256"),
    of_robustness("PPO", CARTPOLE, "PPO", RLKIT, TANH),
    ppo("gamma 0.95", TANH),
    ppo("rate 3e-4", TANH),
    of_robustness("A2C", CARTPOLE, "A2C", RLKIT, TANH),
    of_robustness("DQN", CARTPOLE, "DQN", RLKIT, "128-128"),
    of_robustness("SB3 PPO", CARTPOLE, "PPO", SB3, TANH),
    of_robustness("SB3 A2C", CARTPOLE, "A2C", SB3, TANH),
    of_robustness("SB3 DQN", CARTPOLE, "DQN", SB3, "256-256"),
    of_robustness("Acrobot PPO", ACROBOT, "PPO", RLKIT, TANH),
    of_robustness("Acrobot A2C", ACROBOT, "A2C", RLKIT, TANH),
    of_robustness("Acrobot DQN", ACROBOT, "DQN", RLKIT, "64-64"),
    of_robustness("Acrobot SB3 PPO", ACROBOT, "PPO", SB3, TANH),
    of_robustness("Acrobot SB3 A2C", ACROBOT, "A2C", SB3, TANH),
    of_robustness("Acrobot SB3 DQN", ACROBOT, "DQN", SB3, "64-64"),
)
TREE, TREE_OF = "tree", "DQN"  # a decision tree that imitates this one
DEPTH = 8

EPISODES = 10  # that a policy's return and its states are from

# epsilons are in units of the task's committed scale, norm "inf"
# transfer: at states that each of the policies visits
ATTACK = PGD(20, every_action=False)  # as results/ was measured
EPSILONS = {CARTPOLE.name: 0.4, ACROBOT.name: 0.2}
STATES = 20  # of each policy
ROLLS = (0, 1)  # shown to the policy of the same seed, and to that of the next one

# universal, on cart-pole: fitted on some states of other episodes than those that it is tested on
FITTED_ON = ("PPO", "A2C", "DQN")
SHOWN_TO = ("PPO", "A2C", "DQN", TREE, "SB3 PPO", "SB3 A2C", "SB3 DQN")
OFFSET_EPSILONS = (0.1, 0.4)
COUNTS = (1, 10, 100)
HELD_OUT = 500
RANDOM_OFFSETS = 20

# dimension, on cart-pole: codes of observations in units of the task's scale
SPREAD = ("PPO linear", "PPO", "A2C", "DQN")
LENGTHS = (4, 8, 16, 32, 64, 128)
ROTATIONS = 4  # of each length
LARGEST = 8.0  # epsilon that is tried
FLIP = DeepFool()
CODED_STATES = 100


def task_of(name: str) -> Task:
    """The task of a policy by its name."""
    return next(kept.task for kept in KEPT if kept.name == (TREE_OF if name == TREE else name))
