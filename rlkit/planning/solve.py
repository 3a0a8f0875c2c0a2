"""Choice of a method for a discounted problem."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from rlkit.compiled.jit import COMPILED
from rlkit.mdp import GridMDP, LatticeMDP, TabularMDP, map_of

from .certify import below_rounding, verified_task
from .chain import policy_chain
from .methods.device_iteration import device_iteration
from .methods.inexact_policy_iteration import inexact_policy_iteration
from .methods.lattice_iteration import lattice_iteration
from .methods.modified_policy_iteration import CONTINUING, modified_policy_iteration
from .methods.policy_iteration import policy_iteration
from .methods.prioritized_sweeping import prioritized_sweeping
from .methods.stencil_iteration import stencil_iteration
from .methods.value_iteration import value_iteration
from .operators import Problem, as_table, extents, verified_problem
from .solution import NotConverged, Solution, SolverInterrupted

Method = Literal[
    "auto",
    "value iteration",
    "gauss-seidel",
    "modified policy iteration",
    "prioritized sweeping",
    "inexact policy iteration",
    "policy iteration",
    "stencil",
]

SWEEPS_WORTH_A_FACTORIZATION = 6000  # sweeps that cost about as much as all factorizations of policy iteration
NARROW = 8  # distance between the numbers of a state and of its successors up to which factors are cheap
STATES_SWEPT_IN_A_SOLVE = 200_000  # states swept in the time of one solve of a small or narrow system
STENCIL_SWEEPS = 20_000  # the same for sweeps over a map, which cost a tenth
MANY_STATES = 200_000  # whose table is much larger than a cache
RARE = 0.001  # share of states with a reward below which rewards are rare
SHORT_SIGHTED = 0.995  # gamma up to which rewards far away hardly count
LARGEST_LATTICE_TABLE = 2**25  # outcomes, 1 GB, up to which a lattice is solved as its table
SMALL_LATTICE_TABLE = 2**21  # outcomes up to which a lattice's table is solved as fast as its cells
LARGEST_FACTORS = 5_000_000  # bandwidth times states up to which a policy's system is factorized


def solve(
    mdp: Problem, gamma: float, tolerance: float = 1e-9, method: Method = "auto", device: str | None = None
) -> Solution:
    """Find the optimal values, with proven bounds at most ``tolerance`` apart in every state.

    ``method="auto"`` chooses by the kind of problem and by the progress of the sweeps, and gives its reason in
    ``Solution.reason``. A map is swept as a map, a lattice too large for a table as a lattice, and a table by modified
    policy iteration. Where these would take too many sweeps (values that mix slowly at a gamma near 1), policy
    iteration continues from the policy found: by sparse factorization if the factors are small, else by a Krylov
    method. The sweeps done until then cost a fraction of the method that follows.

    Other methods: ``"value iteration"`` (Jacobi), ``"gauss-seidel"``, ``"modified policy iteration"``,
    ``"prioritized sweeping"``, ``"inexact policy iteration"``, ``"policy iteration"`` and, for a ``GridMDP`` or its
    table, ``"stencil"``. For gamma = 1 see ``interval_iteration`` and ``policy_iteration``; under a step limit,
    ``backward_induction``.

    With ``device``, a torch device such as ``"cuda"``, ``device_iteration`` runs there instead.

    Raises:
        ValueError: ``mdp`` is no problem; an unknown method, or one together with a device; gamma outside [0, 1); a
            tolerance that is not positive, or below what rounding allows (the message names the smallest that can be
            certified).
        NotConverged: the method reached its limit first; its ``solution`` holds valid bounds.
        SolverInterrupted: a KeyboardInterrupt, as Ctrl-C raises it, with valid bounds in its ``solution``. A plain
            KeyboardInterrupt where none are at hand: in policy iteration, and in problems of more than 2^25 outcomes.
    """
    if method not in get_args(Method):
        raise ValueError(f"method {method!r}: choose one of {', '.join(get_args(Method))}")
    mdp = verified_problem(mdp)
    if device is not None:
        if method != "auto":
            raise ValueError(f"method {method!r} runs on the CPU: leave it out, or leave out device {device!r}")
        solution = device_iteration(mdp, gamma, tolerance, device)
        return replace(solution, reason=f"asked to run on {device}: all states at once, without waiting for the host")
    if method == "auto":
        return _chosen(mdp, gamma, tolerance)
    if method == "policy iteration":
        return _exact(mdp, gamma, tolerance, None)
    if method == "stencil":
        return stencil_iteration(_map(mdp), gamma, tolerance)
    return _METHODS[method](mdp, gamma, tolerance)


def _gauss_seidel(mdp: Problem, gamma: float, tolerance: float) -> Solution:
    return replace(value_iteration(mdp, gamma, tolerance, in_place=True), method="gauss-seidel")


_METHODS: dict[str, Callable[[Problem, float, float], Solution]] = {
    "value iteration": value_iteration,
    "gauss-seidel": _gauss_seidel,
    "modified policy iteration": modified_policy_iteration,
    "prioritized sweeping": prioritized_sweeping,
    "inexact policy iteration": inexact_policy_iteration,
}


def _many_without_reward(mdp: Problem) -> bool:
    """Whether a problem is large and pays in few of its states."""
    if mdp.num_states < MANY_STATES or not isinstance(mdp, TabularMDP):
        return False
    paying = mdp.expected_reward.any(axis=1, where=mdp.available)  # [N]
    return bool(np.count_nonzero(paying) <= RARE * mdp.num_states)


def _map(mdp: Problem) -> GridMDP:
    """The map of a problem, else a ValueError."""
    grid = None if isinstance(mdp, LatticeMDP) else map_of(mdp)
    if grid is None:
        raise ValueError("method 'stencil' needs a GridMDP or its table: choose 'auto' for other problems")
    return grid


def _chosen(mdp: Problem, gamma: float, tolerance: float) -> Solution:
    """``method="auto"``."""
    began = time.perf_counter()
    if isinstance(mdp, LatticeMDP):
        return _on_lattice(mdp, gamma, tolerance)
    grid = map_of(mdp)
    try:
        if grid is not None and COMPILED:
            reason = f"a map of {grid.open.shape[0]} x {grid.open.shape[1]} tiles: swept without a table"
            return replace(stencil_iteration(grid, gamma, tolerance, STENCIL_SWEEPS), reason=reason)
        continuing = extents(mdp).continuation_low >= CONTINUING
        reason = "no episode ends: all values rise together, which does not widen the bounds"
        if not continuing:
            reason = "episodes end: values spread from the terminal states, and Gauss-Seidel sweeps spread them fastest"
            if COMPILED and _many_without_reward(mdp) and gamma <= SHORT_SIGHTED:
                reason = "many states, few rewards, a short horizon: only states whose values still change are updated"
                return replace(prioritized_sweeping(mdp, gamma, tolerance), reason=reason)
        if _narrow(as_table(mdp)):
            sweeps = max(60, STATES_SWEPT_IN_A_SOLVE // mdp.num_states)
        else:  # where a policy's system is too large to factorize, the next method is a Krylov method, which is slow
            sweeps = SWEEPS_WORTH_A_FACTORIZATION * (5 if mdp.num_states >= MANY_STATES else 1)
        return replace(modified_policy_iteration(mdp, gamma, tolerance, sweeps), reason=reason)
    except NotConverged as stopped:
        partial = stopped.solution
    try:
        return _continued(as_table(mdp), gamma, tolerance, partial, began)
    except KeyboardInterrupt as interrupt:
        if isinstance(interrupt, SolverInterrupted):
            raise
        raise SolverInterrupted(partial) from interrupt


def _continued(table: TabularMDP, gamma: float, tolerance: float, partial: Solution, began: float) -> Solution:
    """Policy iteration that starts from the values at which sweeps gave up."""
    tried = f"after {partial.iterations} sweeps of {partial.method} its bounds were {partial.width:.2g} apart"
    if _factorized_cheaply(table, partial):
        solution = _exact(table, gamma, tolerance, partial)
        reason = f"{tried}: its policy was improved with exact evaluations"
    else:
        solution = inexact_policy_iteration(table, gamma, tolerance, initial=partial.value)
        reason = f"{tried}, and the factors of its policy's system would be large: a Krylov method continued"
    return replace(solution, reason=reason, seconds=time.perf_counter() - began)


def _on_lattice(mdp: LatticeMDP, gamma: float, tolerance: float) -> Solution:
    """Solve a lattice as a table if that is small, or fits and is the fastest; else by sweeps over its cells."""
    size = " x ".join(map(str, mdp.lattice.shape))
    outcomes = mdp.fraction[0].size * 2 ** len(mdp.lattice.shape)
    by_cells = COMPILED and extents(mdp).continuation_low < CONTINUING
    if by_cells and outcomes > SMALL_LATTICE_TABLE:
        reason = f"a lattice of {size} points: its cells are swept without a table"
        return replace(lattice_iteration(mdp, gamma, tolerance), reason=reason)
    if outcomes <= LARGEST_LATTICE_TABLE:
        solution = _chosen(mdp.tabular, gamma, tolerance)
        return replace(solution, reason=f"a lattice of {size} points, as its table: {solution.reason}")
    solution = device_iteration(mdp, gamma, tolerance)
    return replace(solution, reason=f"a lattice of {size} points, too large for a table: its cells are swept")


def _exact(mdp: Problem, gamma: float, tolerance: float, start: Solution | None) -> Solution:
    """Policy iteration, held to a tolerance."""
    task = verified_task("policy_iteration", mdp, gamma, tolerance)
    solution = policy_iteration(mdp, gamma, None if start is None else start.policy)
    if solution.width > tolerance:
        raise below_rounding(task, solution.width)
    return replace(solution, tolerance=task.tolerance)


def _narrow(mdp: TabularMDP) -> bool:
    """Whether a table is small for its bandwidth, and every successor has a number near that of its state."""
    if mdp.num_states * (1 + NARROW) > LARGEST_FACTORS:
        return False
    for first in range(0, mdp.num_states, 2**8):  # the first states decide for most problems
        arrival = mdp.arrival[first : first + 2**8]
        state = np.arange(first, first + len(arrival))[:, None, None]
        if (np.abs(arrival - state)[arrival < mdp.num_states] > NARROW).any():
            return False
    return True


def _factorized_cheaply(mdp: TabularMDP, solution: Solution) -> bool:
    """Whether the factors of its policy's system take little memory."""
    return _narrow(mdp) or _factors(mdp, solution) <= LARGEST_FACTORS


def _factors(mdp: TabularMDP, solution: Solution) -> int:
    """States times the bandwidth of a policy's matrix in Cuthill and McKee's order: a bound on its factors' entries
    (George & Liu 1981, chapter 4), far from the truth only where the truth is small."""
    from scipy.sparse import csgraph

    continuation = policy_chain(mdp, solution.policy).continuation
    pattern = continuation + continuation.T
    order = csgraph.reverse_cuthill_mckee(pattern.tocsr(), symmetric_mode=True)
    place = np.empty(mdp.num_states, np.int64)
    place[order] = np.arange(mdp.num_states)
    rows, columns = continuation.nonzero()
    return mdp.num_states * (1 + int(np.abs(place[rows] - place[columns]).max(axis=0, initial=0)))
