"""Evaluation of policies: rollouts, ``evaluate_policy``, and adapters for environments of other libraries."""

from .concat_env import ConcatEnv
from .env_adapters import EnvAdapter, Infos, Stepped
from .evaluate_policy import Predictor, Scores, evaluate_policy
from .limits import EVALUATION_SEED, STEP_CAP
from .perturbation import Perturb, Perturbation
from .rollout import Episodes, Step, as_batched_env, observation_std, rollout, walk

__all__ = [
    "EVALUATION_SEED",
    "STEP_CAP",
    "ConcatEnv",
    "EnvAdapter",
    "Episodes",
    "Infos",
    "Perturb",
    "Perturbation",
    "Predictor",
    "Scores",
    "Step",
    "Stepped",
    "as_batched_env",
    "evaluate_policy",
    "observation_std",
    "rollout",
    "walk",
]
