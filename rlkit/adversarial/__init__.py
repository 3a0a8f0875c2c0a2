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
from .attacks.linear_adversary import LinearAdversary, linear_adversary
from .attacks.noise import Noise
from .attacks.random_search import RandomSearch, Square
from .attacks.transfer import Substitute, Transfer, distill
from .attacks.tree_search import TreeSearch
from .attacks.universal import Universal, universal_offset
from .attacks.value_aware import ActionValues, ValueAware
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
from .env_wrappers import AttackedObservation, AttackedVectorObservation, side_by_side
from .exact import (
    CLEAN,
    AttackedValue,
    Bracket,
    FallBounds,
    MemoryProblem,
    ProvokableChoices,
    RobustOptimum,
    WorstCase,
    WorstCaseAdversary,
    WorstCaseAttack,
    WorstCaseTiming,
    attacked_value,
    bracket,
    choices_of_actions,
    choices_of_distributions,
    choices_of_intervals,
    choices_of_neighbors,
    fall_bounds,
    frame_stack,
    induced_mdp,
    known_draw,
    known_draw_within,
    memory_problem,
    neighbors_within,
    observation_cells,
    robust_optimum,
    worst_case,
)
from .hijack import HijackedEpisodes, TablePolicy, hijack_rollout
from .measures.aliasing import aliasing_epsilon
from .measures.checklist import Checked, ChecklistResult, ChecklistWarning, curve_warnings, examine, warnings_of
from .measures.dimension import DimensionPoint, EncodedVictim, Rescaled, alignment, dimension_sweep, padded, rotated
from .measures.distance import DistanceCurve, distance_curve
from .measures.lipschitz import first_order_flip, lipschitz_bound, margin_radius, steepness
from .measures.policy_smoothing import SmoothedReturn, even_thresholds, shifted_probability, smoothed_return
from .measures.robustness_curve import NATURAL, CurvePoint, RobustnessCurve, robustness_curve
from .measures.saliency import SaliencyOfEpisode, episode_saliencies, episode_saliency, saliency
from .measures.sections import Section, along_ray, cross_section
from .measures.strongest import STRONGEST, strongest
from .measures.transfer_matrix import TransferMatrix, transfer_matrix
from .objectives import OBJECTIVES, Objective, cross_entropy, expected_q, expected_q_of, kl, margin
from .threat import SELECTION_SEED, Threat, committed_threat, committed_threats
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
from .verification.local_lipschitz import local_lipschitz_bound, local_margin_radius
from .verification.probabilities import ProbabilityBounds, probability_bounds
from .verification.radius import CertifiedRadius, CertifiedRates, certified_action_rate, certified_radius
from .verification.reachable import ReachableActions, reachable_actions
from .victims.base import Access, LabelVictim, ModuleVictim, OneHot, Victim, scores_of
from .victims.carrl import CARRL
from .victims.decision_trees import DecisionTrees, grow, imitate
from .victims.smoothed import SmoothedPolicy
from .victims.stacked import Stacked
from .visited_states import visited

__all__ = [
    "APPLICABILITY",
    "CARDQN",
    "CARRL",
    "CLEAN",
    "FGSM",
    "J1",
    "J2",
    "NATURAL",
    "OBJECTIVES",
    "PGD",
    "RADIAL",
    "SAPPOKL",
    "SELECTION_SEED",
    "STRONGEST",
    "Access",
    "ActionValues",
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
    "AttackedValue",
    "AttackedVectorObservation",
    "Ball",
    "BestOf",
    "Boundary",
    "Bracket",
    "Budget",
    "CertifiedRadius",
    "CertifiedRates",
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
    "FallBounds",
    "GaussianAugmentation",
    "HijackedEpisodes",
    "InputGradientPenalty",
    "LabelVictim",
    "LearnedAttack",
    "LinearAdversary",
    "LipschitzHinge",
    "MemoryProblem",
    "ModuleVictim",
    "Nearest",
    "Noise",
    "Objective",
    "OneHot",
    "ProbabilityBounds",
    "ProvokableChoices",
    "RandomSearch",
    "ReachableActions",
    "Rescaled",
    "RobustOptimum",
    "RobustnessCurve",
    "SADQNHinge",
    "SaliencyOfEpisode",
    "Section",
    "SmoothedPolicy",
    "SmoothedReturn",
    "Square",
    "Stacked",
    "Strategic",
    "Substitute",
    "TablePolicy",
    "TargetAction",
    "Threat",
    "Timing",
    "Transfer",
    "TransferMatrix",
    "TreeSearch",
    "TwoLip",
    "Universal",
    "ValueAware",
    "ValueGuided",
    "Victim",
    "WeightDecay",
    "WorstCase",
    "WorstCaseAdversary",
    "WorstCaseAttack",
    "WorstCaseTiming",
    "adversarial_distance",
    "aliasing_epsilon",
    "alignment",
    "along_ray",
    "applicability_table",
    "at_share",
    "attack_now",
    "attacked_value",
    "bracket",
    "certified_action_rate",
    "certified_radius",
    "choices_of_actions",
    "choices_of_distributions",
    "choices_of_intervals",
    "choices_of_neighbors",
    "committed_threat",
    "committed_threats",
    "corners",
    "cross_entropy",
    "cross_section",
    "curve_warnings",
    "dimension_sweep",
    "distance_curve",
    "distill",
    "episode_saliencies",
    "episode_saliency",
    "even_thresholds",
    "examine",
    "execute",
    "expected_q",
    "expected_q_of",
    "fall_bounds",
    "first_order_flip",
    "frame_stack",
    "grow",
    "hijack_rollout",
    "imitate",
    "induced_mdp",
    "interval_bounds",
    "kl",
    "known_draw",
    "known_draw_within",
    "linear_adversary",
    "lipschitz_bound",
    "local_lipschitz_bound",
    "local_margin_radius",
    "make_defense",
    "margin",
    "margin_radius",
    "memory_problem",
    "neighbors_within",
    "observation_cells",
    "overlap",
    "padded",
    "perturb",
    "preference_gap",
    "probability_bounds",
    "reachable_actions",
    "robust_optimum",
    "robustness_curve",
    "rotated",
    "saliency",
    "scores_of",
    "shifted_probability",
    "side_by_side",
    "smoothed_return",
    "steepness",
    "strongest",
    "sweep",
    "table_lipschitz",
    "transfer_matrix",
    "universal_offset",
    "upper_leads",
    "visited",
    "warnings_of",
    "worst_bellman_error",
    "worst_case",
    "worst_logits",
]
