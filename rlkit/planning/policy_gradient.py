"""The exact policy gradient of a finite MDP, and every trajectory with its probability.

Policies are softmax of a table of logits theta ``[N, A]``, so ``d log pi(a|s) / d theta(s, b) = 1[a = b] - pi(b|s)``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .discount import verified_discount
from .evaluation import (
    discounted_sums,
    evaluate,
    evaluate_finite,
    never_ending,
    reward_process,
    state_value,
    verified_horizon,
    verified_policy,
)
from .operators import Array, Problem, as_table, q_backup

LARGEST_ENUMERATION = 1_000_000


def policy_gradient(
    mdp: Problem, policy: ArrayLike, gamma: float, horizon: int | None = None, discount_states: bool = True
) -> Array:
    """Compute ``d(s) pi(a|s) (Q(s, a) - V(s))``, the derivative by the logits, ``[N, A]``.

    It is the policy gradient theorem (Sutton et al. 2000, theorem 1).

    With ``discount_states`` d(s) = sum_t gamma^t P(s_t = s), and this is the gradient of the discounted return from
    the start. Without, d(s) = sum_t P(s_t = s), the direction that estimators without the factor gamma^t estimate; for
    gamma < 1 it is the gradient of no function (Nota & Thomas 2020).

    Args:
        mdp: the problem.
        policy: probabilities ``[N, A]``, softmax of the logits.
        gamma: discount.
        horizon: steps of an episode; None for no limit (``mdp.max_steps`` is not read).
        discount_states: see above.

    Raises:
        ValueError: gamma outside [0, 1], an invalid policy, or an infinite sum: gamma = 1, or no
            ``discount_states``, where the policy may go on for ever.
    """
    gamma, mdp = verified_discount(gamma), as_table(mdp)
    pi = verified_probabilities(mdp, policy)
    process = reward_process(mdp, pi)
    state_gamma = gamma if discount_states else 1.0
    if horizon is None:
        stuck = never_ending(process)
        if state_gamma == 1 and stuck.any():
            raise ValueError(
                f"from state {np.flatnonzero(stuck)[0]} the policy never ends, so it visits states infinitely often: "
                "give a horizon, or gamma < 1 and discount_states=True"
            )
        visits = discounted_sums(process.continuation.T.tocsr(), mdp.start, state_gamma)  # [N]
        q = q_backup(mdp, evaluate(mdp, pi, gamma), gamma)
        advantage = np.where(mdp.available, q, 0.0) - state_value(q, pi)[:, None]
        return np.asarray(visits[:, None] * pi * advantage)
    steps = verified_horizon(mdp, horizon)
    value = evaluate_finite(mdp, pi, steps, gamma)  # [H + 1, N]
    gradient, visits = np.zeros_like(pi), mdp.start.copy()
    for t in range(steps):
        q = np.where(mdp.available, q_backup(mdp, value[t + 1], gamma), 0.0)
        advantage = q - value[t][:, None]
        gradient += visits[:, None] * pi * advantage
        visits = state_gamma * (process.continuation.T @ visits)
    return gradient


def verified_probabilities(mdp: Problem, policy: ArrayLike) -> Array:
    """The probabilities ``[N, A]`` of one policy, else a ValueError."""
    pi = verified_policy(mdp, np.asarray(policy, dtype=np.float64))
    if pi.ndim != 2:
        raise ValueError(f"policy has shape {pi.shape}: expected {(mdp.num_states, mdp.num_actions)}, one policy")
    return np.asarray(pi)


class Trajectories(NamedTuple):
    """n trajectories of at most H steps; what stands after an end is zero."""

    probability: Array  # [n], sums to one
    state: NDArray[np.int64]  # [n, H]
    action: NDArray[np.int64]  # [n, H]
    reward: Array  # [n, H]
    next_state: NDArray[np.int64]  # [n, H]
    terminated: NDArray[np.bool_]  # [n, H]
    taken: NDArray[np.bool_]  # [n, H], whether the step was taken at all


def trajectories(mdp: Problem, policy: ArrayLike, horizon: int | None = None) -> Trajectories:
    """List every trajectory that a policy ``[N, A]`` can produce in H steps, with its probability.

    Expectations over episodes become finite sums: bias and variance of an estimator are exact.

    Args:
        mdp: a ``TabularMDP``, ``GridMDP`` or ``LatticeMDP``.
        policy: probabilities ``[N, A]``.
        horizon: number of steps H; None for ``mdp.max_steps``.

    Raises:
        ValueError: no horizon, an invalid policy, or more than a million trajectories.
    """
    mdp = as_table(mdp)
    steps, pi = verified_horizon(mdp, horizon), verified_probabilities(mdp, policy)
    chance = pi[:, :, None] * mdp.probability  # [N, A, K]
    state = np.flatnonzero(mdp.start)
    probability, alive = mdp.start[state], np.ones(len(state), np.bool_)
    columns: list[list[NDArray[np.generic]]] = []  # of every step: state, action, reward, next state, terminated, taken
    for _ in range(steps):
        # every living trajectory branches into its possible outcomes; a finished one goes on as it is
        mass = np.where(alive[:, None, None], chance[state], 0.0)
        mass[~alive, 0, 0] = 1.0
        origin, action, k = np.nonzero(mass)
        if len(origin) > LARGEST_ENUMERATION:
            raise ValueError(f"more than {LARGEST_ENUMERATION:,} trajectories in {steps} steps: lower the horizon")
        outcome = (state[origin], action, k)
        entered = mdp.successor[outcome].astype(np.int64)
        taken = alive[origin]
        ended = taken & mdp.terminated[outcome]
        columns = [[column[origin] for column in step] for step in columns]
        columns.append(
            [np.where(taken, values, 0) for values in (state[origin], action, mdp.reward[outcome], entered)]
            + [ended, taken]
        )
        probability = probability[origin] * mass[origin, action, k]
        state, alive = np.where(taken, entered, state[origin]), taken & ~ended
    fields = [np.stack(field, axis=1) for field in zip(*columns, strict=True)]
    return Trajectories(probability, *fields)
