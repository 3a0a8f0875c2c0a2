"""Timings of attacks by name; every rule attacks the same share of natural steps, so that rules are comparable."""

from __future__ import annotations

from typing import Literal

from rlkit.adversarial import Always, AtRandom, CriticalPoint, Every, Strategic, Timing, ValueGuided, at_share
from rlkit.envs import CartPole, find_dynamics
from rlkit.evaluation import EVALUATION_SEED

from .policies import Subject

TimingName = Literal["always", "every", "random", "strategic", "value", "critical"]
SHARE_EPISODES = 20  # natural episodes per seed that thresholds are measured on


def timing_of(name: TimingName, share: float, temperature: float | None, subject: Subject) -> Timing:
    """Make the rule that attacks about ``share`` of the steps, with a threshold measured on natural episodes.

    Raises:
        ValueError: a share outside (0, 1], a temperature for a rule without one, or a policy or environment without
            what the rule needs.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"--share must be above 0 and at most 1, got {share}")
    if temperature is not None and name != "strategic":
        raise ValueError(f"--temperature is for --timing strategic; {name} has none: leave it out")
    if name == "always":
        return Always()
    if name == "every":
        return Every(round(1.0 / share))
    if name == "random":
        return AtRandom(share)
    if name == "strategic" and temperature is None and subject.policy.scores_are_values:
        raise ValueError("--timing strategic of action values needs --temperature, in units of return")
    env = subject.make_env(SHARE_EPISODES, EVALUATION_SEED)
    if name == "strategic":
        return at_share(Strategic(0.0, temperature), share, subject.policy, env)
    if name == "value":
        return at_share(ValueGuided(0.0), share, subject.policy, env)
    return at_share(_critical_point(subject), share, subject.policy, env)


def _critical_point(subject: Subject) -> CriticalPoint:
    """The critical point of the cart-pole: its equations are the model, the angle of the pole is the danger."""
    dynamics = find_dynamics(subject.env, env_kwargs=dict(subject.env_kwargs))
    if not isinstance(dynamics, CartPole):
        raise ValueError(
            f"--timing critical needs a model that predicts observations, and {subject.env} has none here (CartPole-v1 "
            "has): use rlkit.adversarial.CriticalPoint with your own model"
        )
    return CriticalPoint(
        0.0,
        model=lambda obs, action: dynamics.observe(dynamics.transition(obs, action, None)[0]),
        danger=lambda obs: obs[..., 2].abs(),
    )
