"""The exact worst case of a policy in a finite MDP whose observations an adversary changes."""

from .attacked_value import AttackedValue, attacked_value
from .bracket import Bracket, bracket
from .choices import (
    ProvokableChoices,
    choices_of_actions,
    choices_of_distributions,
    choices_of_intervals,
    choices_of_neighbors,
    known_draw,
    known_draw_within,
    neighbors_within,
)
from .fall_search import FallBounds, fall_bounds
from .memory import MemoryProblem, frame_stack, memory_problem
from .robust_optimum import RobustOptimum, observation_cells, robust_optimum
from .witness_attack import WorstCaseAdversary, WorstCaseAttack, WorstCaseTiming
from .worst_case import CLEAN, WorstCase, induced_mdp, worst_case

__all__ = [
    "CLEAN",
    "AttackedValue",
    "Bracket",
    "FallBounds",
    "MemoryProblem",
    "ProvokableChoices",
    "RobustOptimum",
    "WorstCase",
    "WorstCaseAdversary",
    "WorstCaseAttack",
    "WorstCaseTiming",
    "attacked_value",
    "bracket",
    "choices_of_actions",
    "choices_of_distributions",
    "choices_of_intervals",
    "choices_of_neighbors",
    "fall_bounds",
    "frame_stack",
    "induced_mdp",
    "known_draw",
    "known_draw_within",
    "memory_problem",
    "neighbors_within",
    "observation_cells",
    "robust_optimum",
    "worst_case",
]
