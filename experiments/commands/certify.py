"""``rlkit certify``."""

from __future__ import annotations

from typing import Annotated

from .options import Output, PolicyOptions, ThreatOptions, at_least_one, unset


def certify(
    policy: PolicyOptions,
    threat: ThreatOptions,
    output: Output,
    states: int = 200,
    max_boxes: int = 10_000,
    radius: bool = True,
    smoothing: Annotated[float | None, unset("SIGMA", "none")] = None,
    smoothing_episodes: int = 1_000,
    return_range: Annotated[tuple[float, float] | None, unset("LEAST MOST", "the task's")] = None,
) -> int:
    """Certify the decisions of a policy: at which states can no observation within epsilon change its action?

    The states are those of natural episodes. Verification splits the ball, with linear bounds, until every decision is
    certified or refuted by an observation; an undecided one is open. It covers fully connected networks with relu or
    tanh, of rlkit and of stable-baselines3, and floating observations.

    With --smoothing the command also certifies the return of the smoothed policy, which adds Gaussian noise to its
    observations, against attackers with one budget for a whole episode. Its table also shows an attack on this policy.

    Example: rlkit certify runs/ppo-CartPole-v1 --epsilons 0.05 0.1 --out runs/certificates

    Args:
        states: States per training seed.
        max_boxes: Maximum boxes per state; a state that needs more stays open.
        radius: Also enclose the distance to the nearest observation that changes the action.
        smoothing: Standard deviation of the Gaussian noise of the smoothed policy, in the unit of epsilon; epsilons are
            then also l2 budgets of a whole episode.
        smoothing_episodes: Natural episodes of the smoothed policy per training seed.
        return_range: Least and largest return of an episode, where the task's are not known.
    """
    from ..workflows.certify import certify as run_certify
    from ..workflows.smoothing import with_smoothing

    at_least_one("smoothing_episodes", smoothing_episodes)
    subject = policy.load()
    limits = threat.threat(subject)
    run = run_certify(subject, limits, states, max_boxes, radius)
    if smoothing is not None:
        run = with_smoothing(run, subject, limits, smoothing, smoothing_episodes, return_range)
    return output.finish(run)
