"""rlkit and stable-baselines3 with equal settings: the same returns, and what does a seed cost?"""

from .analysis import Comparison, compare, comparison_run, hyperparameter_table, sb3_subject
from .sb3_job import SB3Job, sb3_job_for
from .sb3_process import SB3Process, SB3Result, require_sb3

__all__ = [
    "Comparison",
    "SB3Job",
    "SB3Process",
    "SB3Result",
    "compare",
    "comparison_run",
    "hyperparameter_table",
    "require_sb3",
    "sb3_job_for",
    "sb3_subject",
]
