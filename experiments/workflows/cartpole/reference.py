"""The cart-pole on a lattice of its states: the optimum, its greedy policy, and the states that can be balanced."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from rlkit.envs import CartPole, Dynamics
from rlkit.envs.dynamics import noiseless_step
from rlkit.mdp import Lattice, LatticeMDP
from rlkit.planning import Solution, solve

Floats = NDArray[np.float64]

CART_SPEED = 4.0  # m/s, where the lattice ends
POLE_SPEED = 3.5  # rad/s
MOST_BRANCHES = 2**11  # sequences of pushes that are followed from one state


class LatticeReference(NamedTuple):
    """The cart-pole's optimum on a lattice."""

    dynamics: CartPole
    mdp: LatticeMDP
    solution: Solution

    def value_at(self, state: ArrayLike) -> Floats:
        """V of states ``[..., 4]``, ``[...]``: interpolated."""
        return self.mdp.lattice.value_at(self.solution.value, state)

    def q_at(self, state: ArrayLike) -> Floats:
        """Q of states ``[..., 4]``, ``[..., 2]``: a true step, then V interpolated."""
        return self.mdp.q_at(self.solution.value, state, self.solution.gamma)


class GreedyPolicy:
    """The pushes that a reference values most, as a ``Policy``."""

    def __init__(self, reference: LatticeReference) -> None:
        self.reference = reference

    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        """``[S, B, 4] -> [S, B]``."""
        best = self.reference.q_at(obs.double().cpu().numpy()).argmax(axis=-1)
        return torch.from_numpy(best).to(obs.device)


def cartpole_lattice(dynamics: CartPole, points: int) -> Lattice:
    """``points`` of every axis, ``[points^4]`` in all.

    The box ends where episodes do, and at speeds beyond which nothing is saved: a pole that falls at 3.5 rad/s is not
    stopped between -12 and 12 degrees, nor a cart at 4 m/s on 4.8 m of track by a pole that leans 12 degrees. Speeds
    are dense around zero: the k-th of 2 n + 1 lies at ``(k / n)^2`` of the way.
    """
    even = np.linspace(-1, 1, points)
    dense = even * np.abs(even)
    return Lattice([dynamics.x_limit * even, CART_SPEED * dense, dynamics.theta_limit * even, POLE_SPEED * dense])


def solved(
    dynamics: CartPole,
    points: int = 15,
    gamma: float = 0.99,
    tolerance: float = 1e-9,
    device: str | None = None,
    paid_by: Dynamics | None = None,
) -> LatticeReference:
    """The optimum on a lattice; on a torch ``device`` without a table.

    Args:
        dynamics: the cart-pole.
        points: points of every axis.
        gamma: discount.
        tolerance: tolerance of the lattice's optimum.
        device: torch device; None for numpy.
        paid_by: the same cart-pole with another reward (``rlkit.envs.RewardOverride``); None for its own.

    Raises:
        ValueError: fewer than two points, and whatever ``rlkit.planning.solve`` refuses.
    """
    if points < 2:
        raise ValueError(f"points {points}: an axis needs two or more")
    name = f"cart-pole on {points}^4 points"
    step = noiseless_step(dynamics if paid_by is None else paid_by)
    mdp = LatticeMDP(cartpole_lattice(dynamics, points), step, 2, name)
    return LatticeReference(dynamics, mdp, solve(mdp, gamma, tolerance, device=device))


def standard_starts(per_axis: int) -> Floats:
    """A grid over the box +-0.05 in which episodes start, its 16 corners included, ``[per_axis^4, 4]``."""
    return Lattice([np.linspace(-0.05, 0.05, per_axis)] * 4).points()


def steps_balanced(reference: LatticeReference, start: Floats, limit: int = 500) -> NDArray[np.int64]:
    """Steps that the greedy policy takes from ``start [M, 4]`` until it fails, at most ``limit``, ``[M]``."""
    step = noiseless_step(reference.dynamics)
    state, steps = start.copy(), np.full(len(start), limit)
    up = np.arange(len(start))  # those still up
    for t in range(1, limit + 1):
        state, _, terminated = step(state, reference.q_at(state).argmax(axis=-1))
        steps[up[terminated]] = t
        state, up = state[~terminated], up[~terminated]
        if not len(up):
            break
    return steps


def steps_left(dynamics: CartPole, start: Floats, limit: int = 60) -> NDArray[np.int64]:
    """Steps after which every sequence of pushes from ``start [M, 4]`` has failed, ``[M]``: found by trying them all.

    0 where that is not known: some sequence lasts longer than ``limit``, or too many have to be followed.
    """
    step = noiseless_step(dynamics)
    found = np.zeros(len(start), np.int64)
    for first in range(0, len(start), 256):
        origin = np.arange(first, min(first + 256, len(start)))
        state = start[origin]
        for t in range(1, limit + 1):
            tried = [step(state, np.full(len(state), push)) for push in (0, 1)]
            up = np.concatenate([~terminated for _, _, terminated in tried])
            before, origin = origin, np.concatenate([origin, origin])[up]
            state = np.concatenate([after for after, _, _ in tried])[up]
            found[np.setdiff1d(before, origin)] = t
            many = np.flatnonzero(np.bincount(origin, minlength=1) > MOST_BRANCHES)
            followed = ~np.isin(origin, many)
            origin, state = origin[followed], state[followed]
            if not len(origin):
                break
    return found
