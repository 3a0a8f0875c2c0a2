"""Undiscounted total reward, enclosed from both sides."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from rlkit.mdp import TabularMDP

from ..bounds import widest
from ..certify import two_digits_up
from ..chain import strong_components
from ..operators import Array, Problem, as_table, extents, highest, q_backup, rounding_bound
from ..solution import NotConverged, Solution, SolverInterrupted
from .policy_iteration import policy_iteration

BACKUPS = 100_000  # the default limit


def interval_iteration(mdp: Problem, tolerance: float = 1e-6, max_iterations: int = BACKUPS) -> Solution:
    """Find the optimum of the total reward, gamma = 1, with bounds at most ``tolerance`` apart.

    The lower bound is the return of the best policy of ``policy_iteration``, with its proven error. The upper bound
    starts above the optimum and falls by backups, rounded upwards, that keep it above (Haddad & Monmege 2018; Baier et
    al. 2017). A small change of values proves nothing here: backups have many fixed points where the agent can stay for
    ever without reward (an end component). In such a component all states have the same value, that of the best exit
    it, or nothing; taking that maximum after every backup makes the optimum the only fixed point, and the bounds meet.

    Rewards may have both signs, as long as no positive one can be collected for ever. Such problems are stochastic
    shortest paths, where continuing for ever has value 0 in a component without rewards, and minus infinity
    elsewhere (Bertsekas & Tsitsiklis 1991). ``iterations`` counts backups of the upper bound.

    Args:
        mdp: a ``TabularMDP``, ``GridMDP`` or ``LatticeMDP``.
        tolerance: largest distance of the bounds, in units of return.
        max_iterations: maximum number of backups of the upper bound.

    Raises:
        ValueError: positive rewards that can be collected for ever, whatever they cost; a state from which no action
            sequence ends an episode or comes to where nothing is paid; episodes of more than 100,000 steps where some
            gain; a tolerance that is not positive, or below what rounding allows.
        NotConverged: ``max_iterations`` backups were not enough; its ``solution`` holds valid bounds.
        SolverInterrupted: Ctrl-C came between backups; its ``solution`` holds valid bounds.
    """
    began = time.perf_counter()
    if not 0 < tolerance < np.inf:
        raise ValueError(f"tolerance {tolerance}: give a positive number, the largest upper - lower to accept")
    if max_iterations < 1:
        raise ValueError(f"max_iterations {max_iterations}: give a positive integer")
    table = as_table(mdp)
    happens = table.probability > 0
    gains, costs = ((happens & sign).any(axis=2) for sign in (table.reward > 0, table.reward < 0))  # [N, A] each
    gainless: NDArray[np.bool_] = ~np.asarray(gains)
    free: NDArray[np.bool_] = ~np.asarray(gains | costs)  # actions that pay nothing
    _, staying = end_components(table, np.ones_like(free))
    gaining = np.flatnonzero((staying & ~gainless).any(axis=1))
    if gaining.size:
        raise ValueError(
            f"from state {gaining[0]} positive rewards can be collected for ever: undiscounted, the optimum may be "
            "infinite; give gamma < 1, or a step limit (backward_induction)"
        )
    component, inside = end_components(table, free)
    best = policy_iteration(_with_stops(table, component), 1.0)
    size = extents(table)
    upper = _start_above(table, *end_components(table, gainless))
    iterations, stuck = 0, False
    width = widest(best.lower, upper)
    interrupt: KeyboardInterrupt | None = None
    try:
        while width > tolerance and not stuck and iterations < max_iterations:
            iterations += 1
            q = q_backup(table, upper, 1.0) + 2 * rounding_bound(size, upper, 1.0)  # [N, A]
            lowered = np.minimum(upper, _leaving(q, component, inside))
            stuck = bool((lowered == upper).all())
            upper = lowered
            width = widest(best.lower, upper)
    except KeyboardInterrupt as came:
        interrupt, stuck = came, False
        width = widest(best.lower, upper)
    if width > tolerance and stuck:
        raise ValueError(
            f"tolerance {tolerance:g} is below what rounding allows: the smallest that interval_iteration can certify "
            f"for this problem is {two_digits_up(width)}"
        )
    ahead = q_backup(table, upper, 1.0) + rounding_bound(size, upper, 1.0)
    q = q_backup(table, best.ahead, 1.0)  # [N, A], without the stop
    stay = (inside & table.available).argmax(axis=1)  # where stopping is best: any action that stays
    solution = replace(
        best,
        mdp=table,
        value=highest(q),
        policy=np.where(best.policy == table.num_actions, stay, best.policy),
        upper=np.maximum(upper, highest(q)),
        optimal_actions=ahead >= best.lower[:, None],
        policy_loss_bound=width,
        iterations=iterations,
        seconds=time.perf_counter() - began,
        converged=width <= tolerance,
        tolerance=float(tolerance),
        method="interval iteration",
    )
    if interrupt is not None:
        raise SolverInterrupted(solution) from interrupt
    if width > tolerance:
        raise NotConverged(
            f"the bounds are {width:.3g} apart after {iterations} backups, more than the tolerance {tolerance:g}: "
            "allow more iterations or a larger tolerance (the solution so far is in .solution)",
            solution,
        )
    return solution


def _with_stops(mdp: TabularMDP, component: NDArray[np.int64]) -> TabularMDP:
    """The table with one more action, the last: in the components it ends the episode for nothing, as staying there for
    ever pays nothing; elsewhere it repeats the first action. Every policy worth taking now ends surely."""

    def more(array: NDArray[Any], stop: float) -> NDArray[Any]:
        last = array[:, :1].copy()  # [N, 1, K]
        last[component >= 0] = stop
        return np.concatenate([array, last], axis=1)

    probability = more(mdp.probability, 0.0)
    probability[component >= 0, -1, 0] = 1.0
    available = np.concatenate([mdp.available, mdp.available[:, :1] | (component >= 0)[:, None]], axis=1)
    successor, reward, terminated = more(mdp.successor, 0), more(mdp.reward, 0.0), more(mdp.terminated, True)
    return TabularMDP(successor, probability, reward, terminated, available=available)


def end_components(mdp: TabularMDP, allowed: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Maximal end components of the ``allowed [N, A]`` actions: sets of states that some policy never leaves.

    Returns each state's component ``[N]``, -1 for none, and the actions that stay inside it, ``[N, A]``. By removing
    actions that leave their strongly connected component until none does (de Alfaro 1997, algorithm 3.1).
    """
    going_on = mdp.arrival < mdp.num_states  # [N, A, K]
    happens = mdp.probability > 0
    inside = allowed & ~(happens & ~going_on).any(axis=2)  # [N, A]
    state = np.broadcast_to(np.arange(mdp.num_states)[:, None, None], going_on.shape)
    while True:
        edges = going_on & inside[:, :, None]
        graph = sparse.csr_array(
            (np.ones(np.count_nonzero(edges)), (state[edges], mdp.arrival[edges])), shape=(mdp.num_states,) * 2
        )
        label = strong_components(graph)  # [N]
        target = label[np.where(going_on, mdp.arrival, 0)]  # [N, A, K]
        leaves = (going_on & (target != label[:, None, None])).any(axis=2)  # [N, A]
        kept = inside & ~leaves
        if (kept == inside).all():
            break
        inside = kept
    component = np.where(inside.any(axis=1), label, -1).astype(np.int64)
    return component, inside


def _leaving(q: Array, component: NDArray[np.int64], inside: NDArray[np.bool_]) -> Array:
    """The backup in which every component is one state: ``[N, A] -> [N]``."""
    member = component >= 0
    outward = np.where(inside, -np.inf, q)  # [N, A]
    value = highest(np.where(member[:, None], outward, q))  # [N]
    shared = np.zeros(int(component.max(initial=-1)) + 1)  # staying for ever is worth 0
    np.maximum.at(shared, component[member], value[member])
    value[member] = shared[component[member]]
    return value


def _start_above(mdp: TabularMDP, component: NDArray[np.int64], inside: NDArray[np.bool_]) -> Array:
    """A value function above the optimum, ``[N]``, given the components of actions that never gain.

    Zero where rewards are at most 0. Else twice the largest reward of a step, R, times t with ``C t <= t + 1/2``, C the
    backup of steps that pay 1 each: ``R + P (2 R t) <= 2 R (C t - 1/2) <= 2 R t``, and what a backup does not raise is
    above the fixed point. To move within a component costs no step and gains nothing. Sweeps from t = 0 come to such a
    t, as every component has been left for good.
    """
    if float(mdp.reward[mdp.probability > 0].max(initial=0.0)) <= 0:
        return np.zeros(mdp.num_states)
    steps = np.zeros(mdp.num_states)
    for _ in range(BACKUPS):
        ahead = 1 + (mdp.continuation @ steps).reshape(mdp.num_states, mdp.num_actions)
        counted = _leaving(ahead, component, inside)
        if float((counted - steps).max(axis=0)) <= 0.4:
            return np.asarray(2 * extents(mdp).reward * (1 + 1e-9) * steps)
        steps = counted
    raise ValueError(
        f"episodes last more than {BACKUPS} steps: no upper bound was found; give gamma < 1, or a step limit "
        "(backward_induction)"
    )
