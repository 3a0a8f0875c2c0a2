"""Errors and regrets of learned values and policies, measured against the exact optimum."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .evaluation import evaluate, evaluate_finite, verified_policy
from .operators import Array, Problem, as_table, verified_values
from .solution import FiniteHorizonSolution, Solution


def start_value(mdp: Problem, value: ArrayLike) -> Array:
    """Average a value function over first states, ``sum_s start(s) V(s)``: ``[..., N]`` -> ``[...]``.

    Raises:
        ValueError: ``mdp`` is no problem, or ``value`` has another shape.
    """
    table = as_table(mdp)
    return np.asarray(verified_values(table, value) @ table.start)


def q_error(q: ArrayLike, solution: Solution, weights: ArrayLike | None = None) -> Array:
    """Measure how far action values are from the optimal ones: ``[..., N, A]`` -> ``[...]``.

    Actions that a state does not have are left out. It is ``max_s max_a |q - q*|``, or with weights w ``[N]``, such as
    ``mdp.start``, ``sum_s w(s) max_a |q - q*|``. It is exact to within ``solution.width``. A policy that is greedy to q
    loses at most ``2 max|q - q*| / (1 - gamma)`` of value (Singh & Yee 1994).

    Raises:
        ValueError: shapes that disagree with the solution.
    """
    given: Array = np.asarray(q, dtype=np.float64)
    if given.shape[-2:] != solution.q.shape:
        raise ValueError(f"q has shape {given.shape}: expected [..., {solution.q.shape[0]}, {solution.q.shape[1]}]")
    available = ~np.isneginf(solution.q)
    error = np.abs(given - np.where(available, solution.q, 0.0)).max(axis=-1, where=available, initial=0.0)  # [..., N]
    if weights is None:
        return np.asarray(error.max(axis=-1))
    share: Array = np.asarray(weights, dtype=np.float64)
    if share.shape != solution.value.shape:
        raise ValueError(f"weights have shape {share.shape}: expected [{len(solution.value)}]")
    return np.asarray(error @ share)


def regret(mdp: Problem, policy: Any, solution: Solution | FiniteHorizonSolution) -> Array:
    """Compute the regret of a policy, ``sum_s start(s) (V*(s) - V^pi(s))``, exactly: ``[...]``.

    With a ``Solution`` values are discounted by its gamma. With a ``FiniteHorizonSolution`` they are those of episodes
    cut at its horizon.

    Args:
        mdp: the problem that ``solution`` solves.
        policy: as in ``evaluate``, integers ``[..., N]`` or floats ``[..., N, A]``.
        solution: the optimum.

    Raises:
        ValueError: an invalid policy.
    """
    return start_value(mdp, state_regret(mdp, policy, solution))


def state_regret(mdp: Problem, policy: Any, solution: Solution | FiniteHorizonSolution) -> Array:
    """Compute the regret of a policy from each state, ``V*(s) - V^pi(s)``, exactly: ``[..., N]``.

    It is ``regret`` without the average over first states. Arguments as in ``regret``.

    Raises:
        ValueError: an invalid policy.
    """
    if isinstance(solution, FiniteHorizonSolution):
        earned = evaluate_finite(mdp, policy, solution.horizon, solution.gamma)[..., 0, :]
        return np.asarray(solution.value[0] - earned)
    return solution.value - evaluate(mdp, policy, solution.gamma)


def suboptimal_probability(policy: ArrayLike, solution: Solution) -> Array:
    """Compute the probability that a policy takes an action that is not optimal: ``[..., N]``, one for each state.

    ``policy`` is as in ``evaluate``: integers ``[..., N]``, whose mistakes are 0 or 1, or floats ``[..., N, A]``. The
    optimal actions are ``solution.optimal_actions``, in which no optimal action is missing, so every counted mistake is
    certain.

    Raises:
        ValueError: an invalid policy.
    """
    given = verified_policy(solution.mdp, policy)
    if given.dtype.kind == "i":
        optimal = np.take_along_axis(
            np.broadcast_to(solution.optimal_actions, (*given.shape, solution.q.shape[1])), given[..., None], axis=-1
        )
        return np.asarray(~optimal[..., 0], dtype=np.float64)
    return np.asarray((given * ~solution.optimal_actions).sum(axis=-1))
