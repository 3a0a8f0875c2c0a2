"""The policies, the budgets, the attacks and the rules of when to attack, as data."""

from __future__ import annotations

from typing import NamedTuple

from ...workflows.train import Training
from ..common.tasks import GRID, THREATS
from ..robustness.settings import CASES as ROBUSTNESS_CASES
from ..robustness.settings import SEEDS

THREAT = THREATS[GRID.env]
EPSILONS = (0.1, 0.2, 0.4)  # norm "inf", in units of the task's scale; below them no two states read alike
ATTACKS_LEFT = 3  # most attacks of an episode where rules of timing are compared
SHARE = 0.3  # of natural steps, at which every rule of timing is set
MAX_BOXES = 2**15  # of verification, per state


class WorstCaseCase(NamedTuple):
    """Ten greedy policies of one algorithm."""

    name: str
    training: Training


CASES = (
    *(WorstCaseCase(case.name, case.training) for case in ROBUSTNESS_CASES if case.task is GRID),
    WorstCaseCase(
        "grid-reinforce",
        Training(GRID.env, "reinforce", SEEDS, 100_000, "tuned", env_kwargs=GRID.env_kwargs, num_envs=None),
    ),
)
