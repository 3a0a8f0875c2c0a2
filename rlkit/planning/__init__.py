"""Exact solutions of a TabularMDP, with certificates.

Operators first (``q_backup``, ``bellman``, ``greedy``), methods on top, and what judges learners against them.
"""

from .evaluation import evaluate, evaluate_finite
from .finite_horizon import backward_induction
from .judge import q_error, regret, start_value
from .operators import bellman, bellman_q, greedy, q_backup
from .policy_iter import policy_iteration
from .portfolio import solve
from .solution import FiniteHorizonSolution, NotConverged, Solution
from .value_iter import value_iteration

__all__ = [
    "FiniteHorizonSolution",
    "NotConverged",
    "Solution",
    "backward_induction",
    "bellman",
    "bellman_q",
    "evaluate",
    "evaluate_finite",
    "greedy",
    "policy_iteration",
    "q_backup",
    "q_error",
    "regret",
    "solve",
    "start_value",
    "value_iteration",
]
