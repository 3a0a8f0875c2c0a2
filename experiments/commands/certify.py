"""``rlkit certify``."""

from __future__ import annotations

from .options import Output, PolicyOptions, ThreatOptions


def certify(
    policy: PolicyOptions,
    threat: ThreatOptions,
    output: Output,
    states: int = 200,
    max_boxes: int = 10_000,
    radius: bool = True,
) -> int:
    """Certify the decisions of a policy: at which states can no observation within epsilon change its action?

    The states are those of natural episodes. Every decision is certified, open, or refuted by an observation, by
    splitting the ball with linear bounds until it is decided. It covers fully connected networks with relu or tanh, of
    rlkit and of stable-baselines3, and floating observations.

    Example: rlkit certify runs/ppo-CartPole-v1 --epsilons 0.05 0.1 --out runs/certificates

    Args:
        states: States per training seed.
        max_boxes: Maximum boxes per state; a state that needs more stays open.
        radius: Also enclose the distance to the nearest observation of another action.
    """
    from ..workflows.certify import certify as run_certify

    subject = policy.load()
    return output.finish(run_certify(subject, threat.threat(subject), states, max_boxes, radius))
