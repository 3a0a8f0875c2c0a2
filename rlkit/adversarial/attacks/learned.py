"""An adversary that is learned: attacking as a decision problem of its own.

For a fixed victim the environment with the victim in it is a Markov decision process of the attacker's: it observes
the true observation, its action decides what the victim is shown, and its reward is minus the victim's. Its optimum is
the worst that observations can do to the victim, and any agent can be trained on it; the harm that this agent does is
what was found, and a better one may do more.

An ``AdversaryActions`` defines the adversary's action: a direction to spend the budget in (``Directions``), a point of
the budget's ball (``Ball``), or an action that the victim is made to choose (``TargetAction``).

Sources: Zhang et al. 2021, "Robust reinforcement learning on state observations with learned optimal adversary", for
perturbations; Sun et al. 2022, "Who is the strongest enemy? Towards optimal and efficient evasion attacks in deep RL",
for the action to provoke.
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
from ..victims.base import Access, OneHot, Victim, as_victim, isolated
from .base import Attack, perturb

MANY_CORNERS = 10  # features: 2^10 corners are as many as a discrete action space should hold


class AdversaryActions(Protocol):
    """What an adversary's action does."""

    @property
    def action_space(self) -> spaces.Space[Any]:
        """Of the adversary."""
        ...

    @property
    def access(self) -> Access:
        """The most that is asked of the victim."""
        ...

    def show(self, victim: Victim, obs: Tensor, action: Tensor, budget: Budget) -> Tensor:
        """What the victim is shown for true ``obs [S, B, *observation]`` and ``action [S, B, ...]``."""
        ...


@dataclass(frozen=True, eq=False)
class Directions:
    """A discrete action spends the whole budget in one of M directions; a direction of zeros shows the truth.

    Args:
        directions: ``[M, *observation]``, in units of the budget's scale; their lengths do not matter.

    Raises:
        ValueError: no direction, or one that is not finite.
    """

    directions: ArrayLike
    access: Access = "nothing"

    def __post_init__(self) -> None:
        given = np.asarray(self.directions, dtype=np.float64)
        if given.ndim < 2 or len(given) == 0 or not np.isfinite(given).all():
            raise ValueError(f"directions must be finite numbers [M, *observation], got shape {given.shape}")

    @property
    def action_space(self) -> spaces.Discrete:
        """Discrete(M)."""
        return spaces.Discrete(len(np.asarray(self.directions)))

    def show(self, victim: Policy, obs: Tensor, action: Tensor, budget: Budget) -> Tensor:
        """``obs`` and the budget along direction ``action [S, B]``."""
        z = torch.as_tensor(np.asarray(self.directions), dtype=obs.dtype, device=obs.device)[action]
        return budget.project(obs, obs + budget.along(obs, z))


def corners(num_features: int) -> Directions:
    """The truth and every corner of the box: ``1 + 2^D`` directions, the truth first.

    Raises:
        ValueError: more than 10 features.
    """
    if not 1 <= num_features <= MANY_CORNERS:
        raise ValueError(
            f"{num_features} features have 2^{num_features} corners: choose Directions of your own, Ball, or "
            "TargetAction"
        )
    return Directions([(0.0,) * num_features, *itertools.product((-1.0, 1.0), repeat=num_features)])


@dataclass(frozen=True)
class Ball:
    """A continuous action is the offset itself, in units of ``epsilon scale``: Box(-1, 1), projected into the budget.

    Args:
        shape: of an observation.
    """

    shape: tuple[int, ...]
    access: Access = "nothing"

    @property
    def action_space(self) -> spaces.Box:
        """Box(-1, 1, shape)."""
        return spaces.Box(-1.0, 1.0, self.shape, np.float32)

    def show(self, victim: Policy, obs: Tensor, action: Tensor, budget: Budget) -> Tensor:
        """``obs + epsilon scale action``, action ``[S, B, *observation]``."""
        epsilon = torch.as_tensor(budget.epsilon, dtype=obs.dtype, device=obs.device).expand(obs.shape[:2])
        offset = per_feature(epsilon, obs) * budget.extent(obs) * action.to(obs.dtype)
        return budget.project(obs, obs + offset)


@dataclass(frozen=True)
class TargetAction:
    """Discrete(A + 1): action a < A is one that a targeted attack tries to provoke, action A shows the truth.

    Args:
        attack: executes the decision; one without random numbers, such as FGSM or PGD without restarts.
        num_actions: A, of the victim.
    """

    attack: Attack
    num_actions: int

    @property
    def access(self) -> Access:
        """The attack's."""
        return self.attack.access

    @property
    def action_space(self) -> spaces.Discrete:
        """Discrete(A + 1)."""
        return spaces.Discrete(self.num_actions + 1)

    def show(self, victim: Victim, obs: Tensor, action: Tensor, budget: Budget) -> Tensor:
        """What the attack shows for target ``action [S, B]``; ``obs`` where it is A."""
        leave = action == self.num_actions
        shown = perturb(self.attack, victim, obs, budget, target=action.masked_fill(leave, 0))
        return torch.where(per_feature(leave, obs), obs, shown)


class AdversaryEnv(gymnasium.Env[Any, Any]):
    """The attacker's problem against a fixed victim: the true observation, actions of ``moves``, minus the reward.

    Any gymnasium environment with discrete actions; agents of ours train on it as
    ``PPO(lambda: AdversaryEnv(gymnasium.make(id), victim, moves, budget))`` and stable-baselines3's as they are. For
    dynamics of ours ``rlkit.envs.AdversaryDynamics`` is the same problem, many copies at once. ``info`` holds
    ``shown``, what the victim saw, and ``victim_action``.

    Args:
        env: the victim's environment.
        victim: S = 1 or of any S; acts greedily.
        moves: what an action does.
        budget: what it may spend.

    Raises:
        ValueError: observations that the budget does not fit, at ``reset``.
        gymnasium.error.ResetNeeded: a step before the first reset.
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
        """Begin an episode of the victim's environment."""
        super().reset(seed=seed)
        obs, info = self.env.reset(seed=seed, options=options)
        self._true = self._encoded(obs)
        self.budget.check(self._true)
        return obs, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Show the victim what ``action`` says and let it act: (true observation, -reward, flags, info)."""
        if self._true is None:
            raise gymnasium.error.ResetNeeded("no episode has begun: call reset() first")
        shown = self.moves.show(self.victim, self._true, torch.as_tensor(np.asarray(action))[None, None], self.budget)
        victim_action = self.victim.act(shown.clone(), True)[0, 0].item()
        obs, reward, terminated, truncated, info = self.env.step(victim_action)
        self._true = self._encoded(obs)
        told = {**info, "shown": shown[0, 0].cpu().numpy(), "victim_action": victim_action}
        return obs, -float(reward), terminated, truncated, told

    def render(self) -> Any:
        """What the victim's environment renders."""
        return self.env.render()

    def close(self) -> None:
        """Close the victim's environment."""
        self.env.close()

    def _encoded(self, obs: Any) -> Tensor:
        """An observation as the victim's, ``[1, 1, *observation]``."""
        tensor = torch.as_tensor(np.array(obs), device=getattr(self.victim, "device", None))[None, None]
        return self.victim.encode(tensor) if isinstance(self.victim, OneHot) else tensor


@dataclass(frozen=True, eq=False)
class LearnedAttack:
    """A trained adversary as an attack, beside all others in ``robustness_curve``.

    Args:
        adversary: chooses moves by true observations, for example an agent trained on ``AdversaryEnv``.
        moves: those that it was trained with.
        name: how reports call it.
    """

    adversary: Policy
    moves: AdversaryActions
    name: str = "learned adversary"

    @property
    def access(self) -> Access:
        """That of the moves."""
        return self.moves.access

    def noise_width(self, num_features: int) -> int:
        """None needed: the adversary acts greedily."""
        return 0

    def propose(
        self, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None = None, target: Tensor | None = None
    ) -> Tensor:
        """What the adversary shows; a target is refused, it pursues its own reward.

        Raises:
            ValueError: a target.
        """
        if target is not None:
            raise ValueError("a learned adversary pursues its own reward and takes no target: use a targeted attack")
        return self.moves.show(victim, obs, isolated(self.adversary).act(obs, True), budget)
