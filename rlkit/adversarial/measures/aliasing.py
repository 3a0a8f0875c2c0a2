"""Aliasing: the smallest epsilon at which two states can be shown as the same observation.

An attacker who can move observations by half the distance between those of two states can show the same observation in
both. Then no policy can act optimally in both, if their optimal actions differ. This is a limit of the task; it does
not depend on a policy.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from rlkit.arrays import Given, as_tensor, refuse_nonfinite

from ..budget import Budget, as_budget


@torch.no_grad()
def aliasing_epsilon(observations: Given, budget: Budget | float) -> float:
    """Return half the smallest distance between the observations of two states, in units of the budget's scale.

    It is 0 if two states have equal observations. States that differ in a masked feature cannot be confused; if this
    holds for all pairs, the result is infinite.

    Args:
        observations: the observation of every state, ``[N, *observation]``.
        budget: norm, scale and mask; its epsilon and bounds are not used.

    Raises:
        ValueError: there are fewer than two states, or the observations are integers or not finite.
    """
    observations, budget = as_tensor(observations, "observations"), as_budget(budget)
    if observations.dim() < 2:
        raise ValueError(f"observations must be [N, *observation], got shape {list(observations.shape)}")
    if len(observations) < 2:
        raise ValueError(f"observations must hold at least two states, got {len(observations)}")
    if not observations.is_floating_point():
        raise ValueError(f"observations must be floating, got {observations.dtype}: encode the states first")
    refuse_nonfinite(observations, "observations")
    free, least = replace(budget, epsilon=0.0), torch.inf
    for i, one in enumerate(observations[:-1], start=1):
        others = observations[i:]
        distance = free.distance(one.expand_as(others)[None], others[None])  # [1, N - i]
        least = min(least, float(distance.amin(dim=(0, 1))))
    return least / 2
