"""Attacks on what a policy observes: how wrong its observations may be before it fails.

The threat is white-box and at run time: the attacker sees the policy and the true observation, and shows another one
within a budget. The environment's state, the rewards and the policy itself are untouched. An attack that fails proves
nothing: what is measured is what was tried.
"""

from .attacked import AttackedPolicy
from .attacks import FGSM, Attack, AttackResult, Noise, execute, perturb
from .budget import Budget
from .curve import CurvePoint, RobustnessCurve, robustness_curve
from .victim import OBJECTIVES, Victim, cross_entropy, margin, observation_gradient

__all__ = [
    "FGSM",
    "OBJECTIVES",
    "Attack",
    "AttackResult",
    "AttackedPolicy",
    "Budget",
    "CurvePoint",
    "Noise",
    "RobustnessCurve",
    "Victim",
    "cross_entropy",
    "execute",
    "margin",
    "observation_gradient",
    "perturb",
    "robustness_curve",
]
