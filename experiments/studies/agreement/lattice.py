"""How often policies of the cart-pole choose the best action of a lattice, in states they visit and elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rlkit.adversarial import visited
from rlkit.agents import Agent
from rlkit.envs import CartPole
from rlkit.envs.dynamics import noiseless_step
from rlkit.types import Policy

from ...workflows.cartpole.reference import GreedyPolicy, LatticeReference, solved

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

POLE = CartPole()
POINTS = 15  # of every axis of the lattice
MARGIN = 1.0  # of the lattice's two action values, from which on the action matters: the reward of one step
EPISODES, VISITED = 10, 500  # greedy episodes of each policy, and as many of their states
RANDOM_ACTIONS = 10  # between a visited state and a perturbed one
DRAWN = 2000  # uniform states, the same for all policies; those that the lattice's policy balances are compared
LIMIT = 500  # steps of an episode


class LatticeShares(NamedTuple):
    """How often a policy's action is the lattice's where the action matters; None where it matters in no state."""

    visited: float | None  # states of greedy episodes
    perturbed: float | None  # ten uniform random actions later, if the pole is still up
    everywhere: float | None  # uniformly in the box of the lattice
    balanced: (
        float  # of the uniform states from which the lattice's policy balances the pole, those where this one does
    )


@cache
def reference() -> LatticeReference:
    """Return the optimum of the lattice at gamma 0.99."""
    return solved(POLE, POINTS)


@cache
def random_states() -> Floats:
    """Return the uniform states in the box of the lattice from which its policy balances the pole, ``[M, 4]``."""
    axes = reference().mdp.lattice.axes
    low, high = ([axis[end] for axis in axes] for end in (0, -1))
    state = np.random.default_rng(0).uniform(low, high, (1, DRAWN, len(axes)))
    return state[balances(GreedyPolicy(reference()), state)]


def lattice_shares(agent: Agent) -> list[LatticeShares]:
    """Return the shares of every seed."""
    seen = visited(agent, agent.evaluation_env(EPISODES), VISITED).double().cpu().numpy()  # [S, VISITED, 4]
    moved, up = after_random_actions(seen, agent.seeds)
    anywhere = np.broadcast_to(random_states(), (agent.num_seeds, *random_states().shape))
    shares = share_alike(agent, seen), share_alike(agent, moved, up), share_alike(agent, anywhere)
    balanced = balances(agent, anywhere).mean(axis=1).tolist()
    return [LatticeShares(*row) for row in zip(*shares, balanced, strict=True)]


def share_alike(policy: Policy, state: Floats, counted: Bools | None = None) -> list[float | None]:
    """Return the share of states ``[S, n, 4]`` in which the policy's action is the lattice's, by row.

    Only states in which the action matters and, if given, that are ``counted [S, n]``.
    """
    q = reference().q_at(state)  # [S, n, 2]
    matters = np.abs(q[..., 1] - q[..., 0]) >= MARGIN
    if counted is not None:
        matters &= counted
    alike = actions(policy, state) == q.argmax(axis=-1)
    return [float(same[of].mean()) if of.any() else None for same, of in zip(alike, matters, strict=True)]


def after_random_actions(state: Floats, seeds: Sequence[int]) -> tuple[Floats, Bools]:
    """Return where ten uniform random actions lead from states ``[S, n, 4]``, and whether the pole is still up.

    The actions of a row depend on its seed alone.
    """
    step, up = noiseless_step(POLE), np.ones(state.shape[:2], np.bool_)
    pushes = np.stack(
        [np.random.default_rng(seed).integers(2, size=(RANDOM_ACTIONS, state.shape[1])) for seed in seeds]
    )
    for push in pushes.swapaxes(0, 1):  # [S, n]
        state, _, terminated = step(state, push)
        up &= ~np.asarray(terminated)
    return state, up


def balances(policy: Policy, state: Floats) -> Bools:
    """Return whether a policy balances the pole for LIMIT steps from states ``[S, n, 4]``, ``[S, n]``."""
    step, up = noiseless_step(POLE), np.ones(state.shape[:2], np.bool_)
    for _ in range(LIMIT):
        state, _, terminated = step(state, actions(policy, state))
        up &= ~np.asarray(terminated)
        state = np.where(up[..., None], state, 0.0)  # the rest of a fall is of no interest and would overflow
    return up


def actions(policy: Policy, state: Floats) -> NDArray[np.int64]:
    """Return the greedy actions in states ``[S, n, 4]``."""
    return np.asarray(policy.act(torch.from_numpy(state.astype(np.float32))).cpu().numpy())
