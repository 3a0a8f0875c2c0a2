"""The result of a solver, and the exception of a solve without one."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .bounds import widest
from .operators import Array, Problem, q_backup


@dataclass(frozen=True, eq=False)
class Solution:
    """The optimum of a stationary problem, with its certificate.

    ``lower <= V* <= upper`` holds in every state for the MDP exactly as stored, rounding included. ``value``
    lies between the two, ``value = max_a q``, and ``policy = argmax_a q`` up to ties.
    """

    value: Array  # [N]
    policy: NDArray[np.int64]  # [N]
    optimal_actions: NDArray[np.bool_]  # [N, A]: every optimal action, and those the bounds cannot tell from one
    lower: Array  # [N]
    upper: Array  # [N]; inf where the method proves none
    ahead: Array = field(repr=False)  # [N], the values that ``q`` looks one step ahead to
    policy_loss_bound: float  # V* - V^policy is at most this in every state
    iterations: int
    seconds: float
    converged: bool
    gamma: float
    tolerance: float | None  # what was asked of width; None if the method takes none
    mdp: Problem = field(repr=False)  # the problem solved
    method: str = "value iteration"
    reason: str = ""  # why ``solve`` chose the method; empty where the caller did
    bytes: int = 0  # of the arrays held at once by problem, work space and result; neither ``q`` nor the interpreter
    precision: str = "float64"  # in which iterations ran; bounds are always proved in float64

    @cached_property
    def q(self) -> Array:
        """``q_backup(mdp, ahead, gamma)``, ``[N, A]``; computed when it is first asked for."""
        return q_backup(self.mdp, self.ahead, self.gamma)

    @property
    def width(self) -> float:
        """The largest ``upper - lower`` of any state, rounded upwards."""
        return widest(self.lower, self.upper)


@dataclass(frozen=True, eq=False)
class FiniteHorizonSolution:
    """The optimum when H steps are allowed; index t is the number of steps already taken.

    ``value[0]`` is the optimum of a whole episode, ``value[H]`` is zero.
    """

    value: Array  # [H + 1, N]
    q: Array  # [H, N, A]
    policy: NDArray[np.int64]  # [H, N]
    gamma: float
    error_bound: float  # |value - exact value| is at most this everywhere, by rounding

    @property
    def horizon(self) -> int:
        """H, the number of steps allowed."""
        return int(self.policy.shape[0])


class NotConverged(RuntimeError):
    """The iteration limit came before the tolerance; ``solution`` holds the best values so far, with valid bounds."""

    def __init__(self, message: str, solution: Solution) -> None:
        super().__init__(message)
        self.solution = solution

    def __reduce__(self) -> tuple[type[NotConverged], tuple[str, Solution]]:
        """Pickled with its solution, so that it crosses processes whole."""
        return type(self), (str(self), self.solution)


class SolverInterrupted(KeyboardInterrupt):
    """Ctrl-C, or another signal, came first; ``solution`` holds the values so far, with valid bounds."""

    def __init__(self, solution: Solution) -> None:
        super().__init__(f"the bounds are {solution.width:.3g} apart (the solution so far is in .solution)")
        self.solution = solution

    def __reduce__(self) -> tuple[type[SolverInterrupted], tuple[Solution]]:
        """Pickled with its solution."""
        return type(self), (self.solution,)
