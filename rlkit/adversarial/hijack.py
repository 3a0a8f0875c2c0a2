"""Hijacking: making a policy follow another one, of the attacker's choosing, through what it observes.

At every step the attacker's own policy is asked about the true observation, and a targeted attack tries to make the
victim choose that action. What counts is the attacker's return: how much of its own reward it gets out of a world
in which it cannot act.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from gymnasium import spaces
from numpy.typing import ArrayLike
from torch import Tensor

from rlkit.arrays import Given, as_observations, as_tensor
from rlkit.evaluation import Perturb, Perturbation, walk
from rlkit.types import Env, Policy

from .victims.base import as_victim, isolated


class HijackedEpisodes(NamedTuple):
    """One episode per copy of an environment that pays the attacker's reward."""

    returns: Tensor  # [S, B] float64, the attacker's
    lengths: Tensor  # [S, B] int64, steps
    followed: Tensor  # [S, B] int64, steps at which the victim did what the attacker's policy does


@torch.no_grad()
def hijack_rollout(
    policy: Policy,
    attacker: Policy,
    env: Env,
    perturb: Perturbation | Perturb | None = None,
    max_steps: int | None = None,
) -> HijackedEpisodes:
    """Play every copy of ``env`` once and count how often the victim does the attacker's bidding.

    Without ``perturb``, or with noise, this is what the attacker gets by doing nothing clever. A hijacking passes
    ``AttackedPolicy(policy, attack, budget, target=attacker.act)``, an attack that takes targets.

    Args:
        policy: the victim; greedy.
        attacker: what it shall do, by true observations ``[S, B, *observation]``.
        env: pays the attacker's reward.
        perturb: what the victim is shown.
        max_steps: see ``rlkit.evaluation.rollout.rollout``.

    Raises:
        ValueError: see ``rlkit.evaluation.rollout.walk``.
    """
    policy, attacker = as_victim(policy), isolated(attacker)
    returns = torch.zeros(env.obs.shape[:2], dtype=torch.float64, device=env.obs.device)
    lengths = torch.zeros(returns.shape, dtype=torch.int64, device=returns.device)
    followed = torch.zeros_like(lengths)
    for step in walk(policy, env, max_steps, True, perturb):
        returns += torch.where(step.running, step.transition.reward.to(torch.float64), 0.0)
        lengths += step.running
        followed += step.running & (step.transition.action == attacker.act(step.obs, True))
    return HijackedEpisodes(returns, lengths, followed)


class TablePolicy:
    """A policy of a finite problem as a table, asked by observations: the action of the state that looks most alike.

    Args:
        observations: of every state ``[N, *observation]``, all different; indices ``[N]`` for Discrete observations.
        actions: of every state ``[N]``.

    Raises:
        ValueError: another number of observations than actions.
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
        """The nearest state's action, in the Euclidean norm: ``[S, B, *observation] -> [S, B]``."""
        states = self.observations.flatten(1) if self.observations.dim() > 1 else self.observations[:, None]  # [N, D]
        obs = as_observations(obs, self)
        seen = obs.reshape(*obs.shape[:2], -1).to(torch.float64)  # [S, B, D]
        nearest = torch.cdist(seen, states.to(seen).expand(len(seen), -1, -1)).argmin(dim=-1)
        return self.actions.to(obs.device)[nearest]
