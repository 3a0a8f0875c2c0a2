"""Exact solutions of finite MDPs, with certificates.

Operators first (``q_backup``, ``bellman``, ``greedy``), methods on top, one door (``solve``), and what judges
learners against them. A problem is a ``TabularMDP``, a ``GridMDP`` or a ``LatticeMDP``.
"""

from .batch import BatchSolution, solve_batch
from .device import device_iteration
from .evaluation import evaluate, evaluate_finite
from .finite_horizon import backward_induction
from .inexact import inexact_policy_iteration
from .interval import interval_iteration
from .judge import mistakes, q_error, regret, start_value, state_regret
from .lattice_iter import lattice_iteration
from .modified import modified_policy_iteration
from .operators import Problem, bellman, bellman_q, greedy, q_backup
from .policy_gradient import Trajectories, policy_gradient, trajectories
from .policy_iter import policy_iteration
from .portfolio import solve
from .prioritised import prioritised_sweeping
from .proof import Proof, prove
from .solution import FiniteHorizonSolution, NotConverged, Solution
from .stencil_iter import stencil_iteration
from .value_iter import value_iteration

__all__ = [
    "BatchSolution",
    "FiniteHorizonSolution",
    "NotConverged",
    "Problem",
    "Proof",
    "Solution",
    "Trajectories",
    "backward_induction",
    "bellman",
    "bellman_q",
    "device_iteration",
    "evaluate",
    "evaluate_finite",
    "greedy",
    "inexact_policy_iteration",
    "interval_iteration",
    "lattice_iteration",
    "mistakes",
    "modified_policy_iteration",
    "policy_gradient",
    "policy_iteration",
    "prioritised_sweeping",
    "prove",
    "q_backup",
    "q_error",
    "regret",
    "solve",
    "solve_batch",
    "start_value",
    "state_regret",
    "stencil_iteration",
    "trajectories",
    "value_iteration",
]
