"""Hijacking: making a policy follow another policy of the attacker's, through its observations.

At every step the attacker's policy chooses an action from the true observation, and a targeted attack tries to make
the victim choose the same action. The measure is the attacker's return, by a reward of the attacker's own.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from gymnasium import spaces
from numpy.typing import ArrayLike
from torch import Tensor

from rlkit.arrays import Given, as_observations, as_tensor
from rlkit.evaluation import Perturb, Perturbation, as_batched_env, walk
from rlkit.types import Env, Policy

from .victims.base import as_victim, isolated


class HijackedEpisodes(NamedTuple):
    """Results of one episode per copy of an environment with the attacker's reward."""

    returns: Tensor  # [S, B] float64, sum of the attacker's rewards
    lengths: Tensor  # [S, B] int64, number of steps
    followed: Tensor  # [S, B] int64, number of steps at which the victim chose the action of the attacker's policy


@torch.no_grad()
def hijack_rollout(
    policy: Policy,
    attacker: Policy,
    env: Env,
    perturb: Perturbation | Perturb | None = None,
    max_steps: int | None = None,
) -> HijackedEpisodes:
    """Play every copy of ``env`` once and count how often the victim follows the attacker's policy.

    To hijack, pass ``perturb=AttackedPolicy(policy, attack, budget, target=attacker.act)`` with an attack that takes
    targets. Without ``perturb``, or with noise, the result is the baseline.

    Args:
        policy: the victim, which acts greedily.
        attacker: the policy to follow, of true observations ``[S, B, *observation]``.
        env: environment whose reward is the attacker's.
        perturb: changes the observations of the victim; None shows the true ones.
        max_steps: see ``rlkit.evaluation.rollout``.

    Raises:
        ValueError: see ``rlkit.evaluation.walk``.
    """
    policy, attacker, env = as_victim(policy), isolated(attacker), as_batched_env(env)
    returns = torch.zeros(env.obs.shape[:2], dtype=torch.float64, device=env.obs.device)
    lengths = torch.zeros(returns.shape, dtype=torch.int64, device=returns.device)
    followed = torch.zeros_like(lengths)
    for step in walk(policy, env, max_steps, True, perturb):
        returns += torch.where(step.running, step.transition.reward.to(torch.float64), 0.0)
        lengths += step.running
        followed += step.running & (step.transition.action == attacker.act(step.obs, True))
    return HijackedEpisodes(returns, lengths, followed)


class TablePolicy:
    """A tabular policy of a finite problem that acts on observations: it looks up the nearest state.

    Args:
        observations: the observation of every state, ``[N, *observation]``, all different; indices ``[N]`` for Discrete
            observations.
        actions: the action in every state, ``[N]``.

    Raises:
        ValueError: the numbers of observations and actions differ.
    """

    def __init__(self, observations: ArrayLike, actions: ArrayLike) -> None:
        self.observations = as_tensor(observations, "observations", double=True).clone()
        self.actions = as_tensor(actions, "actions").to(torch.int64, copy=True)
        if self.actions.shape != self.observations.shape[:1]:
            raise ValueError(
                f"a table needs one action per observation, got {list(self.actions.shape)} actions for "
                f"{len(self.observations)} observations"
            )
        shape = self.observations.shape[1:]
        indices = spaces.Discrete(int(self.observations.max()) + 1) if not shape else None
        self.observation_space = indices or spaces.Box(-math.inf, math.inf, tuple(shape))

    def act(self, obs: Given, deterministic: bool = True) -> Tensor:
        """Return the action of the state nearest in the Euclidean norm: ``[S, B, *observation] -> [S, B]``."""
        states = self.observations.flatten(1) if self.observations.dim() > 1 else self.observations[:, None]  # [N, D]
        obs = as_observations(obs, self)
        seen = obs.reshape(*obs.shape[:2], -1).to(torch.float64)  # [S, B, D]
        nearest = torch.cdist(seen, states.to(seen).expand(len(seen), -1, -1)).argmin(dim=-1)
        return self.actions.to(obs.device)[nearest]
