"""One door to the solvers of discounted problems."""

from __future__ import annotations

from ..mdp import TabularMDP
from .solution import Solution
from .value_iter import value_iteration


def solve(mdp: TabularMDP, gamma: float, tolerance: float = 1e-9) -> Solution:
    """The optimum with bounds at most ``tolerance`` apart, by ``value_iteration``.

    Raises:
        ValueError: whatever ``value_iteration`` refuses.
    """
    return value_iteration(mdp, gamma, tolerance)
