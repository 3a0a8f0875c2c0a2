"""Attacks on what a policy observes: how wrong its observations may be before it fails.

The threat is at run time: the attacker sees the true observation and what it is allowed to ask the policy, and shows
another observation within a budget. The environment's state, the rewards and the policy itself are untouched. An attack
that fails proves nothing: what is measured is what was tried. ``docs/adversarial.md`` says what each attack knows.
"""

from .adversary import AdversaryEnv, Ball, Directions, LearnedAttack, Moves, Provoke, corners
from .attacked import AttackedPolicy
from .attacks import Attack, AttackResult, execute, perturb, sweep
from .budget import Budget
from .curve import CurvePoint, RobustnessCurve, robustness_curve
from .gradient import FGSM, PGD
from .noise import Noise
from .objectives import OBJECTIVES, Objective, cross_entropy, expected_q, expected_q_of, kl, margin
from .timing import (
    Always,
    AtRandom,
    CriticalPoint,
    Every,
    Strategic,
    Timing,
    ValueGuided,
    at_share,
    attack_now,
    preference_gap,
)
from .victim import Access, LabelVictim, ModuleVictim, OneHot, Victim

__all__ = [
    "FGSM",
    "OBJECTIVES",
    "PGD",
    "Access",
    "AdversaryEnv",
    "Always",
    "AtRandom",
    "Attack",
    "AttackResult",
    "AttackedPolicy",
    "Ball",
    "Budget",
    "CriticalPoint",
    "CurvePoint",
    "Directions",
    "Every",
    "LabelVictim",
    "LearnedAttack",
    "ModuleVictim",
    "Moves",
    "Noise",
    "Objective",
    "OneHot",
    "Provoke",
    "RobustnessCurve",
    "Strategic",
    "Timing",
    "ValueGuided",
    "Victim",
    "at_share",
    "attack_now",
    "corners",
    "cross_entropy",
    "execute",
    "expected_q",
    "expected_q_of",
    "kl",
    "margin",
    "perturb",
    "preference_gap",
    "robustness_curve",
    "sweep",
]
