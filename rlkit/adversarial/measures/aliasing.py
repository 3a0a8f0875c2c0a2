"""From which epsilon on one state can be made to look exactly like another.

In a finite problem whose states are told apart by their observations, an attacker who can move an observation by half
the distance of two states can show one and the same thing in both: no policy can then act rightly in each. That is a
limit of the task and says nothing about a policy.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from rlkit.arrays import Given, as_tensor, refuse_nonfinite

from ..budget import Budget, as_budget


@torch.no_grad()
def aliasing_epsilon(observations: Given, budget: Budget | float) -> float:
    """Half the smallest distance between two different states' observations, in units of the budget's scale.

    Zero where two states look alike from the start. Masked features do not count, as they cannot be moved: states that
    differ in one of them are told apart for ever, and where all are so the answer is infinite.

    Args:
        observations: of every state, ``[N, *observation]``.
        budget: norm, scale and mask; its epsilon and bounds are not used.

    Raises:
        ValueError: fewer than two states, integers, or numbers that are not finite.
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
