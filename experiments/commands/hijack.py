"""``rlkit hijack``."""

from __future__ import annotations

from typing import Literal

from .options import EvaluationOptions, Output, PolicyOptions, at_least_one


def hijack(
    policy_options: PolicyOptions,
    evaluation_options: EvaluationOptions,
    output: Output,
    toward: str,
    epsilons: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0, 2.0),
    unit: Literal["std", "raw"] = "std",
    norm: Literal["inf", "2"] = "inf",
    points: int | None = None,
) -> int:
    """Make a policy do what an attacker wants, through its observations, and measure the attacker's own return.

    On the cart-pole the attacker wants the cart on one side with the pole up; on a grid world, another goal reached.
    Targeted attacks stand beside the natural play, noise and an untargeted attack on the same episodes.

    Example: rlkit hijack runs/cartpole/agent.safetensors --toward right --epsilons 0.1 0.5 1 --out runs/hijack

    Args:
        toward: left or right on CartPole-v1; on a grid world the letter of the tile where the episode shall end.
        epsilons: Sizes of the change.
        unit: Of epsilon: standard deviations of natural observations (std), or raw observation units (raw).
        norm: inf bounds every feature by itself, 2 all of them together.
        points: On CartPole-v1, beside the attacker's controller, its optimum on a lattice of so many points an axis
            (21 take half a minute).
    """
    from ..workflows.hijack import hijack as run_hijack

    at_least_one("episodes", evaluation_options.episodes)
    run = run_hijack(
        policy_options.open(),
        toward,
        epsilons,
        unit,
        norm,
        evaluation_options.episodes,
        evaluation_options.first_seed,
        points,
    )
    return output.finish(run)
