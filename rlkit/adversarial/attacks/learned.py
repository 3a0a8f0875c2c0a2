"""Learned adversaries: the attacker's choice of observations as a decision problem.

For a fixed victim, the environment with the victim inside is a Markov decision process of the attacker. The attacker
sees the true observation, its action decides which observation the victim receives, and its reward is minus the
victim's. An optimal policy of it is the strongest attack on observations within the budget. Any agent can be trained on
it; the harm that the trained adversary does is a lower bound of the possible harm.

An ``AdversaryActions`` defines the actions of the adversary: a direction of the offset (``Directions``), a point of the
budget's ball (``Ball``), or an action that the attack aims at (``TargetAction``).

Sources: Zhang et al. 2021, "Robust reinforcement learning on state observations with learned optimal adversary", for
perturbations; Sun et al. 2022, "Who is the strongest enemy? Towards optimal and efficient evasion attacks in deep RL",
for target actions.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import ArrayLike
from torch import Tensor

from rlkit.types import Policy

from ..budget import Budget, as_budget, per_feature
from ..checks import as_attack
from ..victims.base import Access, OneHot, Victim, as_victim, isolated
from .base import Attack, perturb

MANY_CORNERS = 10  # most features: a discrete action space should hold no more than 2^10 corners


class AdversaryActions(Protocol):
    """The meaning of an adversary's actions."""

    @property
    def action_space(self) -> spaces.Space[Any]:
        """Action space of the adversary."""
        ...

    @property
    def access(self) -> Access:
        """The access to the victim that ``show`` needs."""
        ...

    def show(self, victim: Victim, obs: Tensor, action: Tensor, budget: Budget) -> Tensor:
        """Return the observations that the victim is shown, ``[S, B, *observation]``.

        Args:
            victim: the policy under attack.
            obs: true observations ``[S, B, *observation]``.
            action: actions of the adversary, ``[S, B, ...]``.
            budget: bounds the difference between shown and true observations.
        """
        ...


@dataclass(frozen=True, eq=False)
class Directions:
    """Discrete actions: each spends the whole budget in one of M directions; a zero direction changes nothing.

    Args:
        directions: ``[M, *observation]``, in units of the budget's scale; their lengths do not matter.
        access: access to the victim that the directions need.

    Raises:
        ValueError: there is no direction, or one is not finite.
    """

    directions: ArrayLike
    access: Access = "nothing"

    def __post_init__(self) -> None:
        given = np.asarray(self.directions, dtype=np.float64)
        if given.ndim < 2 or len(given) == 0 or not np.isfinite(given).all():
            raise ValueError(f"directions must be finite numbers [M, *observation], got shape {given.shape}")

    @property
    def action_space(self) -> spaces.Discrete:
        """``Discrete(M)``."""
        return spaces.Discrete(len(np.asarray(self.directions)))

    def show(self, victim: Policy, obs: Tensor, action: Tensor, budget: Budget) -> Tensor:
        """Return ``obs`` plus the budget along direction ``action``; arguments as in ``AdversaryActions.show``."""
        z = torch.as_tensor(np.asarray(self.directions), dtype=obs.dtype, device=obs.device)[action]
        return budget.project(obs, obs + budget.along(obs, z))


def corners(num_features: int) -> Directions:
    """Return the zero direction and the directions to every corner of the box, ``1 + 2^D``.

    Raises:
        ValueError: num_features is below 1 or above 10.
    """
    if not 1 <= num_features <= MANY_CORNERS:
        raise ValueError(
            f"{num_features} features have 2^{num_features} corners: choose Directions of your own, Ball, or "
            "TargetAction"
        )
    return Directions([(0.0,) * num_features, *itertools.product((-1.0, 1.0), repeat=num_features)])


@dataclass(frozen=True)
class Ball:
    """Continuous actions: the offset in units of ``epsilon scale``, Box(-1, 1), projected into the budget.

    Args:
        shape: shape of an observation.
        access: access to the victim that the offset needs.
    """

    shape: tuple[int, ...]
    access: Access = "nothing"

    @property
    def action_space(self) -> spaces.Box:
        """``Box(-1, 1, shape)``."""
        return spaces.Box(-1.0, 1.0, self.shape, np.float32)

    def show(self, victim: Policy, obs: Tensor, action: Tensor, budget: Budget) -> Tensor:
        """Return ``obs + epsilon scale action``, projected; arguments as in ``AdversaryActions.show``."""
        epsilon = torch.as_tensor(budget.epsilon, dtype=obs.dtype, device=obs.device).expand(obs.shape[:2])
        offset = per_feature(epsilon, obs) * budget.extent(obs) * action.to(obs.dtype)
        return budget.project(obs, obs + offset)


@dataclass(frozen=True)
class TargetAction:
    """Discrete(A + 1): a targeted attack tries to make the victim choose action a < A; action A changes nothing.

    Args:
        attack: the targeted attack, without random numbers, such as FGSM or PGD without restarts.
        num_actions: number of actions A of the victim.
    """

    attack: Attack
    num_actions: int

    def __post_init__(self) -> None:
        as_attack(self.attack)

    @property
    def access(self) -> Access:
        """That of the attack."""
        return self.attack.access

    @property
    def action_space(self) -> spaces.Discrete:
        """``Discrete(A + 1)``."""
        return spaces.Discrete(self.num_actions + 1)

    def show(self, victim: Victim, obs: Tensor, action: Tensor, budget: Budget) -> Tensor:
        """Return the attack's observations for target ``action [S, B]``; arguments as in ``AdversaryActions.show``."""
        leave = action == self.num_actions
        shown = perturb(self.attack, victim, obs, budget, target=action.masked_fill(leave, 0))
        return torch.where(per_feature(leave, obs), obs, shown)


class AdversaryEnv(gymnasium.Env[Any, Any]):
    """The attacker's decision problem against a fixed victim: true observations, ``moves``, and minus the reward.

    It accepts any gymnasium environment with discrete actions. Agents of rlkit train on it as
    ``PPO(lambda: AdversaryEnv(gymnasium.make(id), victim, moves, budget))``, those of stable-baselines3 directly. For
    dynamics of rlkit, ``rlkit.envs.AdversaryDynamics`` is the same problem with batched copies. ``info`` holds
    ``shown``, the observation that the victim saw, and ``victim_action``.

    Args:
        env: environment of the victim.
        victim: policy with S = 1, or one that accepts any S; it acts greedily.
        moves: meaning of the adversary's actions.
        budget: bounds the difference between shown and true observations.

    Raises:
        ValueError: at ``reset``, the observations do not fit the budget.
        gymnasium.error.ResetNeeded: ``step`` is called before the first ``reset``.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], victim: Victim, moves: AdversaryActions, budget: Budget | float
    ) -> None:
        self.env, self.victim, self.moves, self.budget = env, as_victim(victim), moves, as_budget(budget)
        self.observation_space = env.observation_space
        self.action_space = moves.action_space
        self.metadata, self.render_mode = env.metadata, env.render_mode
        self._true: Tensor | None = None  # [1, 1, *observation]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode of the victim's environment and return (true observation, info)."""
        super().reset(seed=seed)
        obs, info = self.env.reset(seed=seed, options=options)
        self._true = self._encoded(obs)
        self.budget.check(self._true)
        return obs, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Let the victim act on the observation of ``action``; return (true observation, -reward, flags, info)."""
        if self._true is None:
            raise gymnasium.error.ResetNeeded("no episode has begun: call reset() first")
        shown = self.moves.show(self.victim, self._true, torch.as_tensor(np.asarray(action))[None, None], self.budget)
        victim_action = self.victim.act(shown.clone(), True)[0, 0].item()
        obs, reward, terminated, truncated, info = self.env.step(victim_action)
        self._true = self._encoded(obs)
        told = {**info, "shown": shown[0, 0].cpu().numpy(), "victim_action": victim_action}
        return obs, -float(reward), terminated, truncated, told

    def render(self) -> Any:
        """Render the victim's environment."""
        return self.env.render()

    def close(self) -> None:
        """Close the victim's environment."""
        self.env.close()

    def _encoded(self, obs: Any) -> Tensor:
        """Convert an observation to the victim's, ``[1, 1, *observation]``."""
        tensor = torch.as_tensor(np.array(obs), device=getattr(self.victim, "device", None))[None, None]
        return self.victim.encode(tensor) if isinstance(self.victim, OneHot) else tensor


@dataclass(frozen=True, eq=False)
class LearnedAttack:
    """A trained adversary as an attack, for ``robustness_curve`` and all other functions.

    Args:
        adversary: policy of true observations, for example an agent trained on ``AdversaryEnv``.
        moves: meaning of its actions, as in its training.
        name: name in reports.
    """

    adversary: Policy
    moves: AdversaryActions
    name: str = "learned adversary"

    @property
    def access(self) -> Access:
        """That of ``moves``."""
        return self.moves.access

    def noise_width(self, num_features: int) -> int:
        """Return 0: the adversary acts greedily."""
        return 0

    def propose(
        self, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None = None, target: Tensor | None = None
    ) -> Tensor:
        """Return the observations that the adversary shows; arguments as in ``Attack.propose``.

        Raises:
            ValueError: a target is given; the adversary pursues its own reward.
        """
        if target is not None:
            raise ValueError("a learned adversary pursues its own reward and takes no target: use a targeted attack")
        return self.moves.show(victim, obs, isolated(self.adversary).act(obs, True), budget)
