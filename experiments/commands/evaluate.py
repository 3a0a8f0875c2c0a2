"""``rlkit evaluate``."""

from __future__ import annotations

from .options import EvaluationOptions, Output, PolicyOptions


def evaluate(
    policy_options: PolicyOptions,
    evaluation_options: EvaluationOptions,
    output: Output,
    sampled: bool = False,
) -> int:
    """Play a saved policy and give its return with an interval over training seeds.

    Episode e starts from reset(seed=first_seed + e), whatever the policy: two evaluations are paired.

    Example: rlkit evaluate runs/cartpole/agent.safetensors --episodes 100

    Args:
        sampled: Sample actions instead of taking the greedy ones.
    """
    from ..workflows.evaluate import evaluate as run_evaluation

    return output.finish(
        run_evaluation(policy_options.open(), evaluation_options.episodes, sampled, evaluation_options.first_seed)
    )
