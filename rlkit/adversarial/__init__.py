"""Attacks on the observations of a policy, and measures of how large an error makes it fail.

Attacks act when a trained policy is used. The attacker sees the true observation, may ask the policy what its access
allows, and shows the policy another observation within a budget. The state of the environment, the rewards and the
policy itself do not change. An attack that fails proves nothing about other attacks.
``docs/reference/adversarial.md`` describes each attack.
"""

from .attacked_policy import AttackedPolicy
from .attacks.base import Attack, AttackResult, execute, perturb, sweep
from .attacks.best_of import BestOf
from .attacks.boundary import Boundary
from .attacks.deepfool import DeepFool, Nearest, adversarial_distance
from .attacks.gradient import FGSM, PGD
from .attacks.learned import AdversaryActions, AdversaryEnv, Ball, Directions, LearnedAttack, TargetAction, corners
from .attacks.noise import Noise
from .attacks.random_search import RandomSearch, Square
from .attacks.transfer import Substitute, Transfer, distill
from .attacks.universal import Universal, universal_offset
from .budget import Budget
from .defenses.adversarial_training import AdversarialTraining, GaussianAugmentation
from .defenses.applicability import APPLICABILITY, Applicability, applicability_table, make_defense
from .defenses.base import Curriculum, Defense
from .defenses.car_dqn import CARDQN, worst_bellman_error
from .defenses.distillation import Distillation
from .defenses.input_gradient import J1, J2, InputGradientPenalty, TwoLip
from .defenses.interval import interval_bounds, upper_leads
from .defenses.lipschitz_hinge import LipschitzHinge, table_lipschitz
from .defenses.radial import RADIAL, overlap, worst_logits
from .defenses.sa_dqn import SADQNHinge
from .defenses.sa_ppo import SAPPOKL
from .defenses.weight_decay import WeightDecay
from .defenses.wocar import provocable, worst_case_aware_action, worst_case_target
from .env_wrappers import AttackedObservation, AttackedVectorObservation, side_by_side
from .hijack import HijackedEpisodes, TablePolicy, hijack_rollout
from .measures.aliasing import aliasing_epsilon
from .measures.checklist import Checked, ChecklistResult, ChecklistWarning, curve_warnings, examine, warnings_of
from .measures.dimension import DimensionPoint, EncodedVictim, Rescaled, alignment, dimension_sweep, padded, rotated
from .measures.distance import DistanceCurve, distance_curve
from .measures.lipschitz import first_order_flip, lipschitz_bound, margin_radius, steepness
from .measures.robustness_curve import NATURAL, CurvePoint, RobustnessCurve, robustness_curve
from .measures.saliency import SaliencyOfEpisode, episode_saliencies, episode_saliency, saliency
from .measures.sections import Section, along_ray, cross_section
from .measures.transfer_matrix import TransferMatrix, transfer_matrix
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
from .victims.base import Access, LabelVictim, ModuleVictim, OneHot, Victim, scores_of
from .victims.decision_trees import DecisionTrees, grow, imitate
from .victims.stacked import Stacked
from .visited_states import visited

__all__ = [
    "APPLICABILITY",
    "CARDQN",
    "FGSM",
    "J1",
    "J2",
    "NATURAL",
    "OBJECTIVES",
    "PGD",
    "RADIAL",
    "SAPPOKL",
    "Access",
    "AdversarialTraining",
    "AdversaryActions",
    "AdversaryEnv",
    "Always",
    "Applicability",
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
    "ChecklistResult",
    "ChecklistWarning",
    "CriticalPoint",
    "Curriculum",
    "CurvePoint",
    "DecisionTrees",
    "DeepFool",
    "Defense",
    "DimensionPoint",
    "Directions",
    "DistanceCurve",
    "Distillation",
    "EncodedVictim",
    "Every",
    "GaussianAugmentation",
    "HijackedEpisodes",
    "InputGradientPenalty",
    "LabelVictim",
    "LearnedAttack",
    "LipschitzHinge",
    "ModuleVictim",
    "Nearest",
    "Noise",
    "Objective",
    "OneHot",
    "RandomSearch",
    "Rescaled",
    "RobustnessCurve",
    "SADQNHinge",
    "SaliencyOfEpisode",
    "Section",
    "Square",
    "Stacked",
    "Strategic",
    "Substitute",
    "TablePolicy",
    "TargetAction",
    "Timing",
    "Transfer",
    "TransferMatrix",
    "TwoLip",
    "Universal",
    "ValueGuided",
    "Victim",
    "WeightDecay",
    "adversarial_distance",
    "aliasing_epsilon",
    "alignment",
    "along_ray",
    "applicability_table",
    "at_share",
    "attack_now",
    "corners",
    "cross_entropy",
    "cross_section",
    "curve_warnings",
    "dimension_sweep",
    "distance_curve",
    "distill",
    "episode_saliencies",
    "episode_saliency",
    "examine",
    "execute",
    "expected_q",
    "expected_q_of",
    "first_order_flip",
    "grow",
    "hijack_rollout",
    "imitate",
    "interval_bounds",
    "kl",
    "lipschitz_bound",
    "make_defense",
    "margin",
    "margin_radius",
    "overlap",
    "padded",
    "perturb",
    "preference_gap",
    "provocable",
    "robustness_curve",
    "rotated",
    "saliency",
    "scores_of",
    "side_by_side",
    "steepness",
    "sweep",
    "table_lipschitz",
    "transfer_matrix",
    "universal_offset",
    "upper_leads",
    "visited",
    "warnings_of",
    "worst_bellman_error",
    "worst_case_aware_action",
    "worst_case_target",
    "worst_logits",
]
