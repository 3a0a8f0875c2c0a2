"""The worst case of a policy on a lattice of the cart-pole's states, as a source of attacks on the simulator."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rlkit.adversarial import PGD, Attack, Budget, TargetAction, ValueAware, Victim
from rlkit.envs import AdversaryDynamics, CartPole
from rlkit.envs.dynamics import noiseless_step
from rlkit.mdp import LatticeMDP
from rlkit.planning import solve

from .reference import Floats, cartpole_lattice

POINTS = 11  # of every axis
GAMMA = 0.99  # of the adversary
TOLERANCE = 1e-3  # of the lattice's solution, in steps; the error of the lattice is far larger
PROVOKE = PGD(10, every_action=False)


class LatticeWorstCase:
    """Action values of a victim on the cart-pole under the worst adversary that shows it observations from then on.

    The adversary's decision problem, minus the victim's reward, is solved on a lattice of states for every row. The
    solution is exact for the lattice and bounds nothing about the simulator: an attack that follows it may leave more
    or less than it predicts. It is called with true observations, which are the states of the cart-pole.

    Args:
        dynamics: the cart-pole.
        victims: one policy per row.
        budget: bounds the observations that are shown.
        provoke: the targeted attack that tells which actions can be caused at a point of the lattice.
        points: points of every axis.
    """

    def __init__(
        self,
        dynamics: CartPole,
        victims: list[Victim],
        budget: Budget,
        provoke: Attack = PROVOKE,
        points: int = POINTS,
    ) -> None:
        lattice = cartpole_lattice(dynamics, points)
        self.mdp = LatticeMDP(lattice, noiseless_step(dynamics), 2, f"cart-pole on {points}^4 points")
        self.value: Floats = np.stack([self._solved(dynamics, victim, budget, provoke) for victim in victims])  # [S, N]

    def _solved(self, dynamics: CartPole, victim: Victim, budget: Budget, provoke: Attack) -> Floats:
        """Return the victim's value of every point under the worst case, ``[N]``."""
        problem = AdversaryDynamics(dynamics, victim, TargetAction(provoke, 2), budget)
        adversary = LatticeMDP(self.mdp.lattice, noiseless_step(problem), 2, self.mdp.name)
        return -solve(adversary, GAMMA, TOLERANCE).value

    def __call__(self, obs: Tensor) -> Tensor:
        """Return the value of every action in states ``[S, B, 4]``: ``[S, B, 2]``."""
        states = obs.double().cpu().numpy()
        q = [self.mdp.q_at(value, state, GAMMA) for value, state in zip(self.value, states, strict=True)]
        return torch.from_numpy(np.stack(q)).to(obs.device)


def lattice_attack(dynamics: CartPole, victims: list[Victim], budget: Budget, points: int = POINTS) -> ValueAware:
    """Return the attack that causes the action of the lowest value on the lattice."""
    return ValueAware(LatticeWorstCase(dynamics, victims, budget, PROVOKE, points), PROVOKE, "value-aware, lattice")
