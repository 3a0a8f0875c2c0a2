"""Attacks on what a policy observes: how wrong its observations may be before it fails.

The threat is at run time: the attacker sees the true observation and what it is allowed to ask the policy, and shows
another observation within a budget. The environment's state, the rewards and the policy itself are untouched. An attack
that fails proves nothing: what is measured is what was tried. ``docs/adversarial.md`` says what each attack knows.
"""

from .adversary import AdversaryEnv, Ball, Directions, LearnedAttack, Moves, Provoke, corners
from .attacked import AttackedPolicy
from .attacks import Attack, AttackResult, execute, perturb, sweep
from .budget import Budget
from .combine import BestOf, GridSearch
from .curve import CurvePoint, RobustnessCurve, robustness_curve
from .decision import Boundary
from .gradient import FGSM, PGD
from .minimum import DeepFool, Nearest, adversarial_distance
from .noise import Noise
from .objectives import OBJECTIVES, Objective, cross_entropy, expected_q, expected_q_of, kl, margin
from .search import RandomSearch, Square
from .substitute import Substitute, Transfer, distil
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
from .universal import Universal, universal_offset
from .victim import Access, LabelVictim, ModuleVictim, OneHot, Victim
from .wrapper import AttackedObservation, AttackedVectorObservation, side_by_side

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
    "AttackedObservation",
    "AttackedPolicy",
    "AttackedVectorObservation",
    "Ball",
    "BestOf",
    "Boundary",
    "Budget",
    "CriticalPoint",
    "CurvePoint",
    "DeepFool",
    "Directions",
    "Every",
    "GridSearch",
    "LabelVictim",
    "LearnedAttack",
    "ModuleVictim",
    "Moves",
    "Nearest",
    "Noise",
    "Objective",
    "OneHot",
    "Provoke",
    "RandomSearch",
    "RobustnessCurve",
    "Square",
    "Strategic",
    "Substitute",
    "Timing",
    "Transfer",
    "Universal",
    "ValueGuided",
    "Victim",
    "adversarial_distance",
    "at_share",
    "attack_now",
    "corners",
    "cross_entropy",
    "distil",
    "execute",
    "expected_q",
    "expected_q_of",
    "kl",
    "margin",
    "perturb",
    "preference_gap",
    "robustness_curve",
    "side_by_side",
    "sweep",
    "universal_offset",
]
