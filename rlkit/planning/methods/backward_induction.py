"""Backward induction: the exact optimum under a step limit."""

from __future__ import annotations

import numpy as np

from ..discount import verified_discount
from ..evaluation import verified_horizon
from ..operators import Problem, as_table, extents, greedy, q_backup, rounding_bound
from ..solution import FiniteHorizonSolution


def backward_induction(mdp: Problem, horizon: int | None = None, gamma: float = 1.0) -> FiniteHorizonSolution:
    """Find the optimum of episodes cut after H steps: ``V_H = 0``, ``V_t = B V_{t+1}`` (Puterman 1994, section 4.5).

    The best policy depends on the steps left, and it can do better than the discounted optimum does under the same
    limit. ``horizon`` is ``mdp.max_steps`` unless given. Rounding is the only error, and
    ``error_bound`` bounds it (Bellman 1957).

    Raises:
        ValueError: no horizon, or gamma outside [0, 1].
    """
    gamma, mdp = verified_discount(gamma), as_table(mdp)
    steps = verified_horizon(mdp, horizon)
    size = extents(mdp)
    value = np.zeros((steps + 1, mdp.num_states))
    q = np.empty((steps, mdp.num_states, mdp.num_actions))
    error = 0.0
    for t in reversed(range(steps)):
        q[t] = q_backup(mdp, value[t + 1], gamma)
        value[t] = q[t].max(axis=1)
        carried = gamma * size.continuation_high * error
        error = float(np.nextafter((carried + rounding_bound(size, value[t + 1], gamma)) * (1 + 1e-15), np.inf))
    return FiniteHorizonSolution(value=value, q=q, policy=greedy(q), gamma=gamma, error_bound=error)
