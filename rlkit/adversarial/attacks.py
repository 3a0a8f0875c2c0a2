"""Attacks on observations.

An attack proposes; ``execute`` projects the proposal into the budget and asks the victim again, so no attack can
overspend or claim a success that is not there (the contract of Foolbox, Rauber et al. 2017). Randomness is data: an
attack says how many uniform numbers it needs per example and is a pure function of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor

from ..types import Policy
from .budget import Budget
from .victim import OBJECTIVES, ObjectiveName, Victim, observation_gradient

NoiseKind = Literal["sign", "uniform"]


class Attack(Protocol):
    """A way to spend a budget."""

    @property
    def name(self) -> str:
        """How reports call it."""
        ...

    @property
    def queries(self) -> int:
        """How often ``propose`` asks the victim about every example."""
        ...

    def noise_width(self, num_features: int) -> int:
        """How many uniform numbers ``propose`` needs per example of D features."""
        ...

    def propose(self, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None) -> Tensor:
        """What to show instead of ``obs [S, B, *observation]``, given uniforms u ``[S, B, noise_width]`` on [0, 1)."""
        ...


class AttackResult(NamedTuple):
    """What an attack achieved on every example."""

    obs: Tensor  # [S, B, *observation], within the budget
    success: Tensor  # [S, B] bool, the victim's greedy action at it is another one
    queries: int  # how often the victim was asked about every example, the two questions of success included


@dataclass(frozen=True)
class Noise:
    """Random offsets, the yardstick of every other attack; asks the victim nothing.

    "sign" spends the full budget on random signs, "uniform" draws uniformly from the ball. A random direction's
    cosine with any fixed one has mean square 1/D, which is why noise needs about sqrt(D) times the budget of a
    gradient in the norm 2.

    Raises:
        ValueError: an unknown kind.
    """

    kind: NoiseKind = "sign"
    queries = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(NoiseKind):
            raise ValueError(f"kind must be one of {', '.join(get_args(NoiseKind))}, got {self.kind!r}")

    @property
    def name(self) -> str:
        """``sign noise`` or ``uniform noise``."""
        return f"{self.kind} noise"

    def noise_width(self, num_features: int) -> int:
        """D for signs, D + 1 for a point of the ball."""
        return num_features if self.kind == "sign" else num_features + 1

    def propose(self, victim: Policy, obs: Tensor, budget: Budget, u: Tensor | None) -> Tensor:
        """``obs`` plus a random offset of the ball."""
        assert u is not None
        return obs + (budget.sample_signs(obs, u) if self.kind == "sign" else budget.sample(obs, u))


@dataclass(frozen=True)
class FGSM:
    """The fast gradient sign method: one step of the whole budget along the steepest direction.

    ``x + epsilon scale sign(grad J)`` for the norm "inf", ``x + epsilon scale (scale grad J) / |scale grad J|_2`` for
    "2", where J is the objective at the victim's own greedy action. It maximises J where J is linear.

    Raises:
        ValueError: an unknown objective.

    Source: Goodfellow, Shlens & Szegedy 2015, "Explaining and harnessing adversarial examples", section 4; on
    policies: Huang et al. 2017, "Adversarial attacks on neural network policies".
    """

    objective: ObjectiveName = "margin"
    queries = 1

    @property
    def name(self) -> str:
        """``FGSM``, with the objective if it is not the default."""
        return "FGSM" if self.objective == "margin" else f"FGSM {self.objective}"

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {self.objective!r}")

    def noise_width(self, num_features: int) -> int:
        """None needed."""
        return 0

    def propose(self, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None = None) -> Tensor:
        """``obs`` plus the steepest offset."""
        gradient, _ = observation_gradient(victim, OBJECTIVES[self.objective], obs)
        return obs + budget.steepest(obs, gradient)


def perturb(attack: Attack, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None = None) -> Tensor:
    """What the attack shows, within the budget: ``[S, B, *observation]`` of the true ones.

    Args:
        attack: proposes.
        victim: the policy under attack; attacks without queries only need it to be a ``Policy``.
        obs: true observations ``[S, B, *observation]``.
        budget: what may be spent.
        u: uniforms on [0, 1) ``[S, B, attack.noise_width(D)]``; None for an attack that needs none.

    Raises:
        ValueError: observations that the budget does not fit (``Budget.check``), u of another shape, or a policy
            without scores under an attack that asks for them.
    """
    budget.check(obs)
    if attack.queries > 0 and not hasattr(victim, "scores"):
        raise ValueError(
            f"{attack.name} needs the victim's scores(obs), which {type(victim).__name__} has not: add the method, or "
            "use Noise, which needs actions only"
        )
    width = attack.noise_width(math.prod(obs.shape[2:]))
    if (width > 0 or u is not None) and (u is None or u.shape != (*obs.shape[:2], width)):
        raise ValueError(
            f"{attack.name} needs uniform numbers of shape {[*obs.shape[:2], width]}, got "
            f"{'none' if u is None else list(u.shape)}: draw them from Stream(seeds, 'attack', width, copies)"
        )
    return budget.project(obs, attack.propose(victim, obs, budget, u))


@torch.no_grad()
def execute(attack: Attack, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None = None) -> AttackResult:
    """Attack every observation once and ask the victim whether its greedy action changed.

    Arguments and errors are those of ``perturb``.
    """
    shown = perturb(attack, victim, obs, budget, u)
    success = victim.act(shown, True) != victim.act(obs, True)
    return AttackResult(shown, success, attack.queries + 2)
