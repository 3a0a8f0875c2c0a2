"""``rlkit hijack``."""

from __future__ import annotations

from typing import Annotated, Literal

from .options import EvaluationOptions, Output, PolicyOptions, Unit, unset


def hijack(
    policy: PolicyOptions,
    evaluation: EvaluationOptions,
    output: Output,
    toward: str,
    epsilons: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0, 2.0),
    unit: Unit = None,
    norm: Literal["inf", "2"] = "inf",
    points: Annotated[int | None, unset("INT", "the controller alone")] = None,
) -> int:
    """Make a policy pursue an attacker's goal by changing its observations, and measure the attacker's return.

    On CartPole-v1 the attacker wants the cart on one side with the pole up; on a grid world it wants the episode to end
    on another tile. Targeted attacks are compared with no attack, noise, and an untargeted attack, on the same
    episodes.

    Example: rlkit hijack runs/dqn-CartPole-v1 --toward right --epsilons 0.1 0.5 1 --out runs/hijack

    Args:
        toward: The goal: left or right on CartPole-v1; on a grid world the letter of a tile that ends the episode.
        epsilons: Attack sizes.
        norm: Norm of the attack: inf bounds every feature separately; 2 bounds all features together.
        points: On CartPole-v1, also use the attacker's optimal policy, solved on a lattice with this number of points
            per axis (21 take half a minute).
    """
    from ..workflows.hijack import hijack as run_hijack

    evaluation.check()
    run = run_hijack(policy.load(), toward, epsilons, unit, norm, evaluation.episodes, evaluation.first_seed, points)
    return output.finish(run)
