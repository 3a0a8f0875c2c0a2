"""Exact solutions of finite MDPs, with certificates.

``solve`` chooses a method; every method is also a separate function. ``q_backup``, ``bellman``, ``bellman_q`` and
``greedy`` are the operators. ``regret``, ``q_error`` and ``suboptimal_probability`` compare learners with the optimum.
A problem is a ``TabularMDP``, a ``GridMDP`` or a ``LatticeMDP``.
"""

from .certify import SolverProgress, followed
from .evaluation import evaluate, evaluate_finite
from .methods.backward_induction import backward_induction
from .methods.batch import BatchSolution, solve_batch
from .methods.device_iteration import device_iteration
from .methods.inexact_policy_iteration import inexact_policy_iteration
from .methods.interval_iteration import interval_iteration
from .methods.lattice_iteration import lattice_iteration
from .methods.modified_policy_iteration import modified_policy_iteration
from .methods.policy_iteration import policy_iteration
from .methods.prioritized_sweeping import prioritized_sweeping
from .methods.stencil_iteration import stencil_iteration
from .methods.value_iteration import value_iteration
from .metrics import q_error, regret, start_value, state_regret, suboptimal_probability
from .operators import Problem, bellman, bellman_q, greedy, q_backup
from .policy_gradient import Trajectories, policy_gradient, trajectories
from .proof import Proof, prove
from .solution import FiniteHorizonSolution, NotConverged, Solution, SolverInterrupted
from .solve import solve

__all__ = [
    "BatchSolution",
    "FiniteHorizonSolution",
    "NotConverged",
    "Problem",
    "Proof",
    "Solution",
    "SolverInterrupted",
    "SolverProgress",
    "Trajectories",
    "backward_induction",
    "bellman",
    "bellman_q",
    "device_iteration",
    "evaluate",
    "evaluate_finite",
    "followed",
    "greedy",
    "inexact_policy_iteration",
    "interval_iteration",
    "lattice_iteration",
    "modified_policy_iteration",
    "policy_gradient",
    "policy_iteration",
    "prioritized_sweeping",
    "prove",
    "q_backup",
    "q_error",
    "regret",
    "solve",
    "solve_batch",
    "start_value",
    "state_regret",
    "stencil_iteration",
    "suboptimal_probability",
    "trajectories",
    "value_iteration",
]
