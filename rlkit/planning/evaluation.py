"""The exact value of a given policy: a linear system, or a recursion under a step limit."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from rlkit.mdp import TabularMDP

from .chain import strong_components
from .discount import verified_contraction, verified_discount
from .operators import Array, Problem, as_table, extents, q_backup, verified_problem

PROBABILITY_TOLERANCE = 1e-6  # float32 softmax outputs sum to one only this well


class RewardProcess(NamedTuple):
    """The Markov chain with rewards that a policy makes of an MDP, ``V = r + gamma P V``."""

    reward: Array  # [N], mean reward of a step
    continuation: sparse.csr_array  # [N, N], probability of going on to each state
    ends: NDArray[np.bool_]  # [N], whether a step may end the episode
    pays: NDArray[np.bool_]  # [N], whether a step may have a reward other than zero


def evaluate(mdp: Problem, policy: ArrayLike, gamma: float) -> Array:
    """Compute the value ``V = (I - gamma P)^-1 r`` of one policy or many, by sparse LU: ``[..., N]``.

    Leading axes are kept: the greedy policies of S seeds, ``q.argmax(axis=-1)`` of ``q [S, N, A]``, give values
    ``[S, N]``.

    With gamma = 1 this is the expected total reward (Puterman 1994, chapter 7). It exists if the policy collects
    no reward in states where it can continue for ever; those states have value 0.

    Args:
        mdp: a ``TabularMDP``, ``GridMDP`` or ``LatticeMDP``.
        policy: actions, integers ``[..., N]``, or probabilities, floats ``[..., N, A]``.
        gamma: discount, in [0, 1].

    Raises:
        ValueError: gamma outside [0, 1]; a policy of another shape, with an action that a state does not have, or with
            probabilities that do not sum to 1; gamma = 1 where an episode may go on for ever and collect rewards (the
            message names a state).
    """
    gamma, mdp = verified_discount(gamma), as_table(mdp)
    if gamma < 1:
        verified_contraction("evaluate", gamma, extents(mdp))
    policies = verified_policy(mdp, policy)
    own_axes = 1 if policies.dtype.kind == "i" else 2
    leading = policies.shape[: policies.ndim - own_axes]
    value = np.empty((*leading, mdp.num_states))
    for index in np.ndindex(leading):
        value[index] = process_value(reward_process(mdp, policies[index]), gamma)
    return value


def evaluate_finite(
    mdp: Problem, policy: ArrayLike, horizon: int | None = None, gamma: float = 1.0, per_step: bool = False
) -> Array:
    """Compute the value of one policy or many when H steps are allowed: ``[..., H + 1, N]``, index t after t steps.

    ``V_H = 0`` and ``V_t(s) = sum_a pi_t(a|s) sum p (r + gamma (1 - terminated) V_{t+1}(s'))``, so ``[..., 0, :]`` is
    the value of whole episodes. ``policy`` is as in ``evaluate``: integers ``[..., N]`` or floats
    ``[..., N, A]``. With ``per_step`` it has a time axis as well, ``[..., H, N]`` or ``[..., H, N, A]``, as the policy
    of ``backward_induction``. ``horizon`` is ``mdp.max_steps`` unless given.

    Raises:
        ValueError: no horizon, gamma outside [0, 1], an invalid policy.
    """
    gamma, mdp = verified_discount(gamma), as_table(mdp)
    steps = verified_horizon(mdp, horizon)
    policies = verified_policy(mdp, policy)
    own_axes = (1 if policies.dtype.kind == "i" else 2) + per_step
    if policies.ndim < own_axes or (per_step and policies.shape[-own_axes] != steps):
        raise ValueError(f"policy has shape {policies.shape}: a policy per step needs a time axis of {steps} steps")
    leading = policies.shape[: policies.ndim - own_axes]
    value = np.zeros((steps + 1, *leading, mdp.num_states))
    for t in reversed(range(steps)):
        now = policies[(slice(None),) * len(leading) + (t,)] if per_step else policies
        value[t] = state_value(q_backup(mdp, value[t + 1], gamma), now)
    return np.moveaxis(value, 0, -2)  # [..., H + 1, N]


def state_value(q: Array, policy: NDArray[Any]) -> Array:
    """``V(s) = sum_a pi(a|s) q(s, a)``: q ``[..., N, A]``, policy ``[..., N]`` integers or ``[..., N, A]`` floats."""
    if policy.dtype.kind == "i":
        return np.asarray(np.take_along_axis(q, policy[..., None], axis=-1)[..., 0])
    taken = np.where(np.isneginf(q), 0.0, q)  # unavailable actions have probability 0
    return np.asarray((policy * taken).sum(axis=-1))


def reward_process(mdp: TabularMDP, policy: NDArray[Any]) -> RewardProcess:
    """The chain that ``policy``, verified, ``[N]`` integers or ``[N, A]`` floats, makes of the MDP."""
    states, num_actions = np.arange(mdp.num_states), mdp.num_actions
    if policy.dtype.kind == "i":
        weights, columns = np.ones(mdp.num_states), states * num_actions + policy
        rows = np.arange(mdp.num_states + 1)
    else:
        chosen = policy > 0  # [N, A]
        weights, columns = policy[chosen], np.flatnonzero(chosen)
        rows = np.concatenate([[0], np.cumsum(np.count_nonzero(chosen, axis=1))])
    shape = (mdp.num_states, mdp.num_states * num_actions)
    choice = sparse.csr_array((weights, columns, rows), shape=shape)
    happens = mdp.probability > 0  # [N, A, K]
    may_end = (happens & mdp.terminated).any(axis=2).ravel()  # [N * A]
    may_pay = (happens & (mdp.reward != 0)).any(axis=2).ravel()  # [N * A]
    return RewardProcess(
        reward=choice @ mdp.expected_reward.ravel(),
        continuation=(choice @ mdp.continuation).tocsr(),
        ends=choice @ may_end.astype(np.float64) > 0,
        pays=choice @ may_pay.astype(np.float64) > 0,
    )


def process_value(process: RewardProcess, gamma: float) -> Array:
    """``V = r + gamma P V``, ``[N]``; with gamma = 1 a ValueError unless the total reward is finite."""
    if gamma < 1:
        return discounted_sums(process.continuation, process.reward, gamma)
    stuck = never_ending(process)  # [N]
    paying = np.flatnonzero(stuck & process.pays)
    if paying.size:
        raise ValueError(
            f"from state {paying[0]} the policy never ends and keeps collecting rewards: without discounting it has no "
            "value; give gamma < 1, a step limit (evaluate_finite), or mark the transitions that end an episode"
        )
    moving = sparse.diags_array((~stuck).astype(np.float64))
    return discounted_sums((moving @ process.continuation).tocsr(), np.where(stuck, 0.0, process.reward), gamma)


def discounted_sums(continuation: sparse.csr_array, amount: Array, gamma: float) -> Array:
    """``(I - gamma P)^-1 x`` by sparse LU: the expected discounted sum of ``amount`` x, ``[N]`` or ``[N, C]``.

    No row's diagonal entry is smaller than the sum of the others, so elimination in any order, by pivots on the
    diagonal, is stable; the order is that of least fill for neighbors that point at each other, as on maps.
    """
    from scipy.sparse.linalg import splu

    matrix = (sparse.diags_array(np.ones(len(amount))) - gamma * continuation).tocsc()
    factors = splu(
        matrix,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        relax=4,  # small supernodes, one column at a time: on maps two thirds of the time of SuperLU's defaults
        panel_size=1,
        options={"SymmetricMode": True},
    )
    return np.asarray(factors.solve(amount))


def never_ending(process: RewardProcess) -> NDArray[np.bool_]:
    """Whether a state belongs to a class that is never left and where no step may end the episode, ``[N]``.

    The recurrent classes of the chain: strongly connected, without an edge that leaves them.
    """
    label = strong_components(process.continuation)  # [N]
    source, target = (label[ends] for ends in process.continuation.nonzero())
    left = np.zeros(label.max(axis=0) + 1, np.bool_)
    left[source[source != target]] = True
    left[label[process.ends]] = True
    return np.asarray(~left[label])


def verified_policy(mdp: Problem, policy: ArrayLike) -> NDArray[Any]:
    """``policy`` as int64 ``[..., N]`` or as float64 ``[..., N, A]`` whose rows sum to one, else a ValueError."""
    mdp, given = verified_problem(mdp), np.asarray(policy)
    num_states, num_actions = mdp.num_states, mdp.num_actions
    if given.dtype.kind in "iu":
        if given.ndim < 1 or given.shape[-1] != num_states:
            raise ValueError(
                f"policy of integers has shape {given.shape}: actions are [..., {num_states}]; give probabilities "
                f"[..., {num_states}, {num_actions}] as floats"
            )
        wrong = (given < 0) | (given >= num_actions)
        if wrong.any():
            index = np.argwhere(wrong)[0]
            raise ValueError(
                f"policy takes action {given[tuple(index)]} in state {index[-1]}: actions lie between 0 and "
                f"{num_actions - 1}"
            )
        actions = given.astype(np.int64)
        if isinstance(mdp, TabularMDP) and not mdp.available.all():
            taken = mdp.available[np.arange(num_states), actions]  # [..., N]
            _verify_taken(taken, actions)
        return actions
    if given.dtype.kind != "f" or given.ndim < 2 or given.shape[-2:] != (num_states, num_actions):
        raise ValueError(
            f"policy has dtype {given.dtype} and shape {given.shape}: give actions as integers [..., {num_states}] or "
            f"probabilities as floats [..., {num_states}, {num_actions}]"
        )
    probabilities = given.astype(np.float64)
    total = probabilities.sum(axis=-1)  # [..., N]
    wrong = ~(np.abs(total - 1) <= PROBABILITY_TOLERANCE) | (probabilities < 0).any(axis=-1)
    if wrong.any():
        index = np.argwhere(wrong)[0]
        raise ValueError(
            f"policy in state {index[-1]} has probabilities {probabilities[tuple(index)]}: they must not be negative "
            "and must sum to one"
        )
    if isinstance(mdp, TabularMDP):
        taken = mdp.available | (probabilities == 0)  # [..., N, A]
        _verify_taken(taken.all(axis=-1), taken.argmin(axis=-1))
    return np.asarray(probabilities / total[..., None])


def _verify_taken(available: NDArray[np.bool_], actions: NDArray[np.int64]) -> None:
    """Raise ValueError at the first of ``actions [..., N]`` that is not ``available [..., N]``."""
    if not available.all():
        index = tuple(np.argwhere(~available)[0])
        raise ValueError(f"policy takes action {actions[index]} in state {index[-1]}, which does not have it")


def verified_horizon(mdp: TabularMDP, horizon: int | None) -> int:
    """The horizon, or else the MDP's step limit; a ValueError where there is neither."""
    steps = mdp.max_steps if horizon is None else horizon
    if steps is None:
        raise ValueError("the problem has no step limit: give horizon, or use value_iteration with gamma < 1")
    if isinstance(steps, bool) or int(steps) != steps or steps < 1:
        raise ValueError(f"horizon {steps!r}: give a positive integer")
    return int(steps)
