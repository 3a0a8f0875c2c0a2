"""Attacks on what a policy observes: how wrong its observations may be before it fails.

The threat is at run time: the attacker sees the true observation and what it is allowed to ask the policy, and shows
another observation within a budget. The environment's state, the rewards and the policy itself are untouched. An attack
that fails proves nothing: what is measured is what was tried. ``docs/adversarial.md`` says what each attack knows.
"""

from .adversary import AdversaryEnv, Ball, Directions, LearnedAttack, Moves, Provoke, corners
from .aliasing import aliasing_epsilon
from .attacked import AttackedPolicy
from .attacks import Attack, AttackResult, execute, perturb, sweep
from .budget import Budget
from .checklist import Checked, Examination, Warned, curve_warnings, examine, warnings_of
from .combine import BestOf, GridSearch
from .curve import CurvePoint, RobustnessCurve, robustness_curve
from .decision import Boundary
from .dimension import Coded, DimensionPoint, Rescaled, alignment, dimension_sweep, padded, rotated
from .distance import DistanceCurve, distance_curve
from .gradient import FGSM, PGD
from .hijack import Followed, TablePolicy, follow
from .lipschitz import first_order_flip, lipschitz_bound, margin_radius, steepness
from .minimum import DeepFool, Nearest, adversarial_distance
from .noise import Noise
from .objectives import OBJECTIVES, Objective, cross_entropy, expected_q, expected_q_of, kl, margin
from .saliency import SaliencyOfEpisode, episode_saliencies, episode_saliency, saliency
from .search import RandomSearch, Square
from .sections import Section, along_ray, cross_section
from .stacked import Stacked
from .states import visited
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
from .transfer import TransferMatrix, transfer_matrix
from .trees import DecisionTrees, grow, imitate
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
    "Checked",
    "Coded",
    "CriticalPoint",
    "CurvePoint",
    "DecisionTrees",
    "DeepFool",
    "DimensionPoint",
    "Directions",
    "DistanceCurve",
    "Every",
    "Examination",
    "Followed",
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
    "Rescaled",
    "RobustnessCurve",
    "SaliencyOfEpisode",
    "Section",
    "Square",
    "Stacked",
    "Strategic",
    "Substitute",
    "TablePolicy",
    "Timing",
    "Transfer",
    "TransferMatrix",
    "Universal",
    "ValueGuided",
    "Victim",
    "Warned",
    "adversarial_distance",
    "aliasing_epsilon",
    "alignment",
    "along_ray",
    "at_share",
    "attack_now",
    "corners",
    "cross_entropy",
    "cross_section",
    "curve_warnings",
    "dimension_sweep",
    "distance_curve",
    "distil",
    "episode_saliencies",
    "episode_saliency",
    "examine",
    "execute",
    "expected_q",
    "expected_q_of",
    "first_order_flip",
    "follow",
    "grow",
    "imitate",
    "kl",
    "lipschitz_bound",
    "margin",
    "margin_radius",
    "padded",
    "perturb",
    "preference_gap",
    "robustness_curve",
    "rotated",
    "saliency",
    "side_by_side",
    "steepness",
    "sweep",
    "transfer_matrix",
    "universal_offset",
    "visited",
    "warnings_of",
]
