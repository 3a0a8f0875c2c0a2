"""Sections: scores along a line or over a plane of observations around a state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from rlkit.arrays import Given, as_numbers, as_observations

from ..attacks.base import posed
from ..budget import Budget, as_budget
from ..objectives import MARGIN, margin, pose
from ..victims.base import Victim, scores_of, value_and_gradient


@torch.no_grad()
def along_ray(
    victim: Victim, obs: Given, direction: Given, budget: Budget | float, radii: Sequence[float] | float
) -> Tensor:
    """Return scores ``[L, S, B, A]`` at ``obs + radius direction`` for L radii.

    Args:
        victim: a victim with scores.
        obs: true observations ``[S, B, *observation]``.
        direction: offsets of the same shape in units of the budget's scale; they are scaled to length 1 in its norm.
        budget: norm, scale, mask and bounds; its epsilon is not used.
        radii: L numbers of either sign, in units of the budget's scale.

    Raises:
        ValueError: there is no radius, or one is not finite.

    Source: Goodfellow, Shlens & Szegedy 2015, "Explaining and harnessing adversarial examples", figure 4.
    """
    radii = as_numbers(radii, "radii")
    if not all(abs(radius) < torch.inf for radius in radii):
        raise ValueError(f"radii must be one or more finite numbers, got {list(radii)}")
    victim, obs, budget, _, _ = posed(victim, obs, replace(as_budget(budget), epsilon=1.0))
    unit = budget.along(obs, as_observations(direction, victim, "direction").to(obs.dtype))
    return torch.stack([scores_of(victim, budget.cut(obs + radius * unit)) for radius in radii])


class Section(NamedTuple):
    """Scores on a plane through every true observation: the steepest direction across, random signs up."""

    radii: Tensor  # [L] along both axes, in units of the budget's scale
    margin: Tensor  # [L up, L across, S, B], lead of the best other action; negative where the action is the same
    action: Tensor  # [L up, L across, S, B] int64
    scores: Tensor  # [L up, L across, S, B, A]


@torch.no_grad()
def cross_section(
    victim: Victim, obs: Given, budget: Budget | float, radii: Sequence[float] | float, u: Given
) -> Section:
    """Evaluate the victim on the plane of two directions: the steepest one of the margin, and random signs.

    If the margin changes much across and little up, attacks have an advantage over noise; if both look alike, they have
    none.

    Args:
        victim: a victim with scores, queried L^2 times at every state.
        obs: true observations ``[S, B, *observation]``.
        budget: norm, scale, mask and bounds; its epsilon is not used.
        radii: L numbers of either sign, in units of the budget's scale.
        u: uniforms ``[S, B, D]`` for the random signs.

    Raises:
        ValueError: see ``along_ray``.
    """
    radii = as_numbers(radii, "radii")
    victim, obs, unit, numbers, _ = posed(victim, obs, replace(as_budget(budget), epsilon=1.0), u)
    goal = pose(MARGIN, victim, obs, scores_of(victim, obs))
    across = unit.steepest(obs, value_and_gradient(victim, goal, obs)[1])
    assert numbers is not None
    up = unit.sample_signs(obs, numbers)
    own = victim.act(obs, True)
    scores = torch.stack(
        [along_ray(victim, unit.cut(obs + radius * up), unit.in_units(across), unit, radii) for radius in radii]
    )
    lead = margin(scores, own.expand(scores.shape[:-1]))
    return Section(torch.tensor(radii, dtype=torch.float32), lead, scores.argmax(dim=-1), scores)
