"""Goals of an attacker, and the policies that it would follow if it could act itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from rlkit.adversarial import TablePolicy
from rlkit.envs import CartPole, Dynamics, GridWorld, RewardOverride, find_dynamics
from rlkit.mdp import TabularMDP
from rlkit.planning import solve
from rlkit.types import Policy

from .cartpole.reference import GreedyPolicy, solved
from .policies import Subject

GAMMA = 0.99  # discount of the attacker
SET_POINT = 1.5  # m from the middle, where the controller wants the cart
ENOUGH = 1.0  # m from the middle, the least distance that is rewarded
GAINS = (0.2, 0.5, 4.0, 0.8)  # of the controller, on (x - set point, x', theta, theta')
SIDES = {"left": -1.0, "right": 1.0}
TOLERANCE = 1e-6  # of the lattice's optimum, whose error is far larger


class AttackerGoal(NamedTuple):
    """A goal of an attacker, with its policies and its reward."""

    description: str
    policies: Mapping[str, Policy]  # one or more of the attacker's, by name
    dynamics: Dynamics  # the victim's environment with the attacker's reward
    most: float | None  # largest return of an episode; the least is 0

    @property
    def policy(self) -> Policy:
        """The first policy."""
        return next(iter(self.policies.values()))


class SetPoint:
    """Push towards a place with the pole up: right where ``gains . (x - place, x', theta, theta') > 0``."""

    def __init__(self, place: float) -> None:
        self.gains = torch.tensor(GAINS)
        self.origin = torch.tensor([place, 0.0, 0.0, 0.0])

    def act(self, obs: torch.Tensor, deterministic: bool = True) -> torch.Tensor:
        """``[S, B, 4] -> [S, B]``."""
        return ((obs - self.origin.to(obs)) @ self.gains.to(obs) > 0).long()


def attacker_goal_of(subject: Subject, toward: str, points: int | None = None) -> AttackerGoal:
    """The attacker's problem in the environment of ``subject``.

    Args:
        subject: the victims.
        toward: ``left`` or ``right`` on the cart-pole, the letter of a tile that ends the episode on a grid.
        points: adds to the cart-pole's controller the greedy policy of the attacker's optimum on a lattice of
            ``points^4`` states; None for the controller alone.

    Raises:
        ValueError: another environment, an unknown goal, or ``points`` on a grid.
    """
    dynamics = find_dynamics(subject.env, env_kwargs=dict(subject.env_kwargs))
    if isinstance(dynamics, CartPole):
        return _side_of_the_track(dynamics, toward, points)
    if points is not None:
        raise ValueError(
            "--points is for the lattice of the cart-pole; on a grid the attacker's policy is exact: leave it out"
        )
    if isinstance(dynamics, GridWorld):
        return _goal_of_the_grid(dynamics, toward)
    raise ValueError(f"hijacking works on CartPole-v1 and rlkit/GridWorld-v0, not on {subject.env}")


def _side_of_the_track(pole: CartPole, toward: str, points: int | None) -> AttackerGoal:
    if toward not in SIDES:
        raise ValueError(f"--toward must be left or right on the cart-pole, got {toward!r}")
    side = SIDES[toward]

    def reward(state: Any, action: Any, next_state: Any, terminated: Any) -> Any:
        return 1.0 * ((side * next_state[..., 0] >= ENOUGH) & ~terminated)

    description = f"steps with the pole up and the cart at least {ENOUGH:g} m to the {toward}"
    world = RewardOverride(pole, reward)
    policies: dict[str, Policy] = {"controller": SetPoint(side * SET_POINT)}
    if points is not None:
        policies["lattice"] = GreedyPolicy(solved(pole, points, GAMMA, TOLERANCE, paid_by=world))
    most = None if pole.max_steps is None else float(pole.max_steps)
    return AttackerGoal(description, policies, world, most)


def _goal_of_the_grid(grid: GridWorld, toward: str) -> AttackerGoal:
    ends = grid.mdp.terminated & (grid.mdp.probability > 0)
    letters = grid.letters[tuple(grid.tile_of.T)]  # [N]
    wanted = ends & (letters == toward)[grid.mdp.successor]  # [N, A, K]
    if not wanted.any():
        known = sorted(set(letters[grid.mdp.successor[ends]].tolist()))
        raise ValueError(f"--toward must be a tile that ends the episode, {', '.join(known)}, got {toward!r}")
    old = grid.mdp
    description = TabularMDP(old.successor, old.probability, wanted, old.terminated, old.start, old.max_steps, old.name)
    targets = letters == toward  # [N]

    def reward(state: Any, action: Any, next_state: Any, terminated: Any) -> Any:
        tile = next_state[..., 0]
        reached = targets if isinstance(tile, np.ndarray) else torch.as_tensor(targets, device=tile.device)
        return 1.0 * (reached[tile] & terminated)

    policy = TablePolicy(grid.observations().copy(), solve(description, GAMMA).policy)
    share = f"share of episodes that end at {toward}"
    return AttackerGoal(share, {"optimum": policy}, RewardOverride(grid, reward), 1.0)
