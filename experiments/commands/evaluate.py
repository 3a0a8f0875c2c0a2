"""``rlkit evaluate``."""

from __future__ import annotations

from .options import EvaluationOptions, Output, PolicyOptions


def evaluate(policy: PolicyOptions, evaluation: EvaluationOptions, output: Output, sampled: bool = False) -> int:
    """Evaluate the greedy policy of every training seed: mean return with an interval over seeds.

    Episode e starts from reset(seed=first_seed + e) for every policy, so evaluations are paired.

    Example: rlkit evaluate runs/dqn-CartPole-v1 --episodes 100

    Args:
        sampled: Sample actions instead of taking the greedy ones.
    """
    from ..workflows.evaluate import evaluate as run_evaluation

    evaluation.check()
    return output.finish(run_evaluation(policy.load(), evaluation.episodes, sampled, evaluation.first_seed))
