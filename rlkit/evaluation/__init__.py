"""Evaluation of policies: rollouts, ``evaluate_policy``, and adapters for environments of other libraries."""

from .concat_env import ConcatEnv
from .env_adapters import EnvAdapter, Infos, Stepped
from .evaluate_policy import Predictor, Scores, evaluate_policy
from .rollout import EVALUATION_SEED, STEP_CAP, Episodes, Perturb, Step, observation_std, rollout, walk

__all__ = [
    "EVALUATION_SEED",
    "STEP_CAP",
    "ConcatEnv",
    "EnvAdapter",
    "Episodes",
    "Infos",
    "Perturb",
    "Predictor",
    "Scores",
    "Step",
    "Stepped",
    "evaluate_policy",
    "observation_std",
    "rollout",
    "walk",
]
