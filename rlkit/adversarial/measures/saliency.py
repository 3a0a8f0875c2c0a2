"""Saliency: the derivative of a score by every feature of the observation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rlkit.arrays import Given
from rlkit.evaluation import walk
from rlkit.types import Env

from ..attacks.base import posed
from ..budget import Budget
from ..victims.base import Victim, as_victim, linearize


def saliency(victim: Victim, obs: Given, action: Given | None = None, budget: Budget | float | None = None) -> Tensor:
    """Return ``|d score_a / d x_i|`` of every feature i, ``[S, B, *observation]``.

    Args:
        victim: a victim with scores.
        obs: observations ``[S, B, *observation]``.
        action: a, ``[S, B]`` int64; None for the greedy one.
        budget: its scale makes derivatives by different features comparable, and its mask sets some to 0; None for raw
            units.

    Raises:
        ValueError: an action is not one of the victim's.

    Source: Simonyan, Vedaldi & Zisserman 2014, "Deep inside convolutional networks", section 3.
    """
    victim, obs, limit, _, action = posed(victim, obs, 0.0 if budget is None else budget, None, action)
    scores, pullback = linearize(victim, obs)
    num_actions = scores.shape[-1]
    chosen = scores.argmax(dim=-1) if action is None else action
    if (chosen >= num_actions).any():
        raise ValueError(f"actions must be 0 to {num_actions - 1}, got {chosen.flatten().tolist()}")
    grad = pullback(torch.nn.functional.one_hot(chosen, num_actions).to(scores.dtype)).abs()
    return grad if budget is None else grad * limit.extent(obs)


class SaliencyOfEpisode(NamedTuple):
    """One episode of T steps with the saliency at every step."""

    obs: Tensor  # [T, *observation]
    action: Tensor  # [T] int64
    saliency: Tensor  # [T, *observation]


@torch.no_grad()
def episode_saliencies(
    victim: Victim, env: Env, copy: int = 0, budget: Budget | float | None = None, max_steps: int | None = None
) -> tuple[SaliencyOfEpisode, ...]:
    """Compute the saliency of the greedy action over one natural episode of every row, S results.

    Args:
        victim: a victim with scores and S rows.
        env: a new environment; all copies are played.
        copy: copy whose episodes are returned.
        budget: see ``saliency``.
        max_steps: see ``rlkit.evaluation.rollout``.
    """
    victim = as_victim(victim)
    steps = [
        (
            step.running[:, copy],
            step.obs[:, copy],
            step.transition.action[:, copy],
            saliency(victim, step.obs[:, copy : copy + 1], budget=budget)[:, 0],
        )
        for step in walk(victim, env, max_steps)
    ]
    running, *fields = (torch.stack(field, dim=1) for field in zip(*steps, strict=True))  # [S, T, ...]
    return tuple(SaliencyOfEpisode(*(field[row][counted] for field in fields)) for row, counted in enumerate(running))


def episode_saliency(
    victim: Victim,
    env: Env,
    row: int = 0,
    copy: int = 0,
    budget: Budget | float | None = None,
    max_steps: int | None = None,
) -> SaliencyOfEpisode:
    """Return ``episode_saliencies`` of one ``row``; other arguments as in ``episode_saliencies``."""
    return episode_saliencies(victim, env, copy, budget, max_steps)[row]
