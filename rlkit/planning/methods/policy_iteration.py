"""Policy iteration: exact evaluation, and improvements that exceed its proven error."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlkit.mdp import TabularMDP

from ..bounds import doubt, macqueen_shifts, shifted, widest
from ..certify import problem_bytes
from ..chain import policy_chain
from ..discount import verified_contraction, verified_discount
from ..evaluation import discounted_sums, never_ending, reward_process, state_value, verified_policy
from ..operators import Array, Extents, Problem, as_table, choices, extents, greedy, highest, q_backup, rounding_bound
from ..solution import Solution


def policy_iteration(mdp: Problem, gamma: float, initial_policy: ArrayLike | None = None) -> Solution:
    """Find the optimum by exact evaluation and greedy improvement (Howard 1960).

    An action is changed only if the new one is better by more than the evaluation's proven error. The value of each
    policy is then greater than that of the last one, so no policy can return, and ties cannot cycle.

    With gamma = 1 it starts from a policy that ends surely and finds the best among those that do (Bertsekas &
    Tsitsiklis 1991). A residual proves no upper bound there: ``upper`` and ``policy_loss_bound`` are infinite, and
    ``optimal_actions`` are those that tie with the best up to the evaluation's error. ``interval_iteration`` has upper
    bounds.

    Args:
        mdp: a ``TabularMDP``, ``GridMDP`` or ``LatticeMDP``.
        gamma: discount, in [0, 1].
        initial_policy: actions ``[N]`` to start from; with gamma = 1 they must end every episode.

    Raises:
        ValueError: gamma outside [0, 1]; an invalid ``initial_policy``; with gamma = 1, a state from which
            no policy can end an episode, or rewards that can be collected for ever (the message names the state).
        RuntimeError: a policy's linear system is too ill-conditioned for float64 to bound the error of its solution.
    """
    began = time.perf_counter()
    gamma = verified_discount(gamma)
    mdp = as_table(mdp)
    size = extents(mdp)
    if gamma < 1:
        verified_contraction("policy_iteration", gamma, size)
    if initial_policy is not None:
        policy = verified_actions(mdp, initial_policy)
    else:
        policy = greedy(mdp.expected_reward) if gamma < 1 else ending_policy(mdp)
    iterations = 0
    while True:
        iterations += 1
        value, error = value_and_error(mdp, size, policy, gamma)
        q = q_backup(mdp, value, gamma)  # [N, A]
        margin = 2 * (error + rounding_bound(size, value, gamma))
        better = q.max(axis=1) - state_value(q, policy) > margin  # [N]
        if not better.any():
            break
        policy = np.where(better, greedy(q), policy)
    best = highest(q)  # [N]
    lower, upper = np.minimum(np.nextafter(value - error, -np.inf), best), np.full(mdp.num_states, np.inf)
    if gamma < 1:
        _, above = shifted(value, macqueen_shifts(size, value, best, gamma))
        upper = np.maximum(above, best)
        margin = doubt(size, value, lower, upper, gamma)
    _, _, optimal = choices(mdp, value, gamma, margin)
    return Solution(
        value=best,
        ahead=value,
        policy=policy,
        optimal_actions=optimal,
        lower=lower,
        upper=upper,
        policy_loss_bound=widest(lower, upper),
        iterations=iterations,
        seconds=time.perf_counter() - began,
        converged=True,
        gamma=gamma,
        tolerance=None,
        mdp=mdp,
        method="policy iteration",
        bytes=problem_bytes(mdp) + 2 * q.nbytes + optimal.nbytes + 6 * value.nbytes,
    )


def verified_actions(mdp: TabularMDP, policy: ArrayLike) -> NDArray[np.int64]:
    """Actions ``[N]`` of one policy, else a ValueError."""
    actions = verified_policy(mdp, policy)
    if actions.dtype.kind != "i" or actions.ndim != 1:
        raise ValueError(f"initial_policy has shape {actions.shape} of {actions.dtype}: give one action per state")
    return actions


def value_and_error(mdp: TabularMDP, size: Extents, policy: NDArray[np.int64], gamma: float) -> tuple[Array, float]:
    """The value of ``policy [N]``, ``[N]``, and a bound on its error in any state.

    The error is at most the residual times the largest entry of ``t = (I - gamma P)^-1 1``, the expected discounted
    number of steps. If the computed t leaves a residual of at most 1/2, the true t is at most twice as large, as the
    inverse has no negative entry.
    """
    process = policy_chain(mdp, policy)
    if gamma == 1:
        stuck = np.flatnonzero(never_ending(reward_process(mdp, policy)))
        if stuck.size:
            raise ValueError(
                f"from state {stuck[0]} rewards can be collected for ever: undiscounted, the optimum is infinite; "
                "give gamma < 1, or a step limit (backward_induction)"
            )
    ones = np.ones(mdp.num_states)
    value, steps = discounted_sums(process.continuation, np.stack([process.reward, ones], axis=1), gamma).T  # [N] each
    left_over = np.abs(ones + gamma * (process.continuation @ steps) - steps).max(axis=0)
    if not left_over <= 0.25:
        raise RuntimeError(
            f"the value of a policy could not be bounded: its episodes last about {steps.max(axis=0):.3g} steps, too "
            "many for float64; lower gamma, or use backward_induction under a step limit"
        )
    own = state_value(q_backup(mdp, value, gamma), policy)  # [N]
    residual = float(np.abs(own - value).max(axis=0)) + rounding_bound(size, value, gamma)
    return value, 2 * float(steps.max(axis=0)) * residual * (1 + 1e-9)


def ending_policy(mdp: TabularMDP) -> NDArray[np.int64]:
    """A policy under which every episode ends surely, ``[N]``, found backwards from the transitions that end one.

    Each state takes an action that may end the episode, or may enter a state already found; a finite chain in which
    the end can be reached from everywhere reaches it surely.

    Raises:
        ValueError: a state from which no action sequence can end an episode.
    """
    may_end = mdp.available & ((mdp.probability > 0) & mdp.terminated).any(axis=2)  # [N, A]
    found = np.asarray(may_end.any(axis=1))  # [N]
    policy = greedy(may_end.astype(np.float64))
    while not found.all():
        leads = mdp.available & (mdp.continuation @ found.astype(np.float64) > 0).reshape(may_end.shape)  # [N, A]
        fresh = leads.any(axis=1) & ~found
        if not fresh.any():
            raise ValueError(
                f"from state {np.flatnonzero(~found)[0]} no action sequence ends an episode: gamma = 1 needs one; give "
                "gamma < 1, or mark the transitions that end an episode"
            )
        policy[fresh] = leads[fresh].argmax(axis=1)
        found |= fresh
    return policy
