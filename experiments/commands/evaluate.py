"""``rlkit evaluate``."""

from __future__ import annotations

from .options import Episodes, Output, PolicyFile


def evaluate(
    player: PolicyFile,
    judging: Episodes,
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

    return output.finish(run_evaluation(player.open(), judging.episodes, sampled, judging.first_seed))
