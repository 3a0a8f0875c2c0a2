"""Which policies are attacked (the cells of the experiments in this folder), and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rlkit.adversarial import FGSM, PGD, Attack, BestOf, Noise, RandomSearch

from ...workflows.sweep.experiment import GridCell
from ...workflows.train import Training
from ..common.sweeps import parts
from ..common.tasks import TASKS, Task

PARTS = parts(__file__, *(task.name for task in TASKS))  # of rlkit, and of stable-baselines3 unless it has its own
(SB3_PART,) = parts(__file__, "cartpole-sb3")
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


def case(task: Task, cell: GridCell) -> RobustnessCase:
    """Return the case of a cell of a task's experiment."""
    name = f"{task.name}-{cell.agent}"
    return RobustnessCase(name, task, cell.training, SB3_TRAININGS.get(name, cell.training))


SB3_TRAININGS = {f"{cell.environment}-{cell.agent}": cell.training for cell in SB3_PART.cells}
CASES = tuple(case(task, cell) for task, part in zip(TASKS, PARTS, strict=True) for cell in part.cells)
SEEDS = CASES[0].training.seeds  # of every case


def names_of(task: Task) -> tuple[str, ...]:
    """Of the cases on a task."""
    return tuple(case.name for case in CASES if case.task is task)
