"""Which defense serves which agent, as data."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import NamedTuple

from rlkit.types import Term

from ..budget import Budget
from .adversarial_training import AdversarialTraining, GaussianAugmentation
from .base import ByRow, Curriculum
from .car_dqn import CARDQN
from .distillation import Distillation
from .input_gradient import J1, J2, TwoLip
from .lipschitz_hinge import LipschitzHinge
from .radial import RADIAL
from .sa_dqn import SADQNHinge
from .sa_ppo import SAPPOKL
from .weight_decay import WeightDecay


class Applicability(NamedTuple):
    """A defense and the agents that it serves."""

    defense: type
    values: bool  # DQN
    policies: bool  # A2C, PPO, REINFORCE
    any_network: bool  # convolutions and radial bases too, else fully connected layers only
    adds: str  # to the loss L
    source: str


APPLICABILITY: dict[str, Applicability] = {
    row.defense.name: row  # type: ignore[attr-defined]
    for row in (
        Applicability(J1, True, True, True, "epsilon mean |grad_x L|_1", "Lyu et al. 2015"),
        Applicability(J2, True, True, True, "epsilon mean |grad_x L|_2", "Lyu et al. 2015"),
        Applicability(TwoLip, True, True, True, "J2 + lambda max |grad_x L|_2", "Finlay et al. 2018"),
        Applicability(LipschitzHinge, True, True, False, "max(Lip(f) - L0, 0)", "Gouk et al. 2021"),
        Applicability(SADQNHinge, True, False, False, "mean max(lead over a*, -c)", "Zhang et al. 2020"),
        Applicability(SAPPOKL, False, True, True, "mean max KL(pi(x), pi(x'))", "Zhang et al. 2020"),
        Applicability(RADIAL, True, True, False, "overlap of bounds, or L at worst logits", "Oikarinen et al. 2021"),
        Applicability(CARDQN, True, False, False, "worst Bellman error in place of L", "Li et al. 2024"),
        Applicability(AdversarialTraining, True, True, True, "L(x') in place of a share of L", "Madry et al. 2018"),
        Applicability(GaussianAugmentation, True, True, True, "L(x + noise) in place of a share of L", "Bishop 1995"),
        Applicability(Distillation, True, True, True, "T^2 mean KL(teacher, learner)", "Papernot et al. 2016"),
        Applicability(WeightDecay, True, True, True, "|theta|^2 / 2", "Krogh & Hertz 1992"),
    )
}


def make_defense(
    name: str,
    budget: Budget | ByRow,
    strength: ByRow | None = None,
    curriculum: Curriculum | None = None,
    **numbers: ByRow,
) -> Term:
    """Make a defense by its name in ``APPLICABILITY``.

    Args:
        name: name of the defense.
        budget: as in ``Defense``; its norm becomes that of the defense where this has one.
        strength: weight; None for the default of the defense.
        curriculum: how epsilon grows over training; None for all of it from the start.
        **numbers: further numbers of the defense, such as ``limit`` of the Lipschitz hinge.

    Raises:
        ValueError: an unknown name, a defense that needs a teacher, weight decay without a strength, or numbers that
            the defense does not have or refuses.
    """
    if name not in APPLICABILITY:
        raise ValueError(f"defense must be one of {', '.join(APPLICABILITY)}, got {name!r}")
    defense = APPLICABILITY[name].defense
    if defense is Distillation:
        raise ValueError("distillation needs a teacher: pass terms=[Distillation(teacher)] to the agent")
    known = {each.name for each in fields(defense)} - {"budget", "strength", "curriculum"}
    for number in numbers:
        if number not in known:
            raise ValueError(f"{name} has no number {number!r}: it has {', '.join(sorted(known)) or 'none'}")
    if defense is WeightDecay:
        if strength is None:
            raise ValueError("weight_decay needs a strength, such as 1e-4")
        return WeightDecay(strength)
    if isinstance(budget, Budget) and hasattr(defense, "norm"):
        budget = replace(budget, norm=defense.norm)
    settings = numbers if strength is None else {"strength": strength, **numbers}
    made: Term = defense(budget, curriculum=curriculum, **settings)
    return made


def applicability_table() -> str:
    """Return ``APPLICABILITY`` as a table in Markdown."""
    agents = ("DQN", "A2C", "PPO", "REINFORCE")
    lines = [
        f"| defense | {' | '.join(agents)} | convolutions, radial basis | adds to the loss L | source |",
        f"| --- |{' --- |' * (len(agents) + 3)}",
    ]
    for row in APPLICABILITY.values():
        served = [row.values, *[row.policies] * 3, row.any_network]
        marks = " | ".join("yes" if each else "no" for each in served)
        adds = row.adds.replace("|", "\\|")
        lines.append(f"| `{row.defense.__name__}` | {marks} | `{adds}` | {row.source} |")
    return "\n".join(lines)
