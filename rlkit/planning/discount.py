"""Checks of the discount gamma."""

from __future__ import annotations

import math

from .operators import Extents

LARGEST_VALUE = 1e300  # values beyond this could overflow in a backup


def verified_contraction(method: str, gamma: float, size: Extents) -> float:
    """Gamma in float64; a ValueError unless, with these rows and rewards, it makes a backup a contraction."""
    gamma = float(gamma)
    if not 0 <= gamma < 1:
        raise ValueError(
            f"gamma {gamma}: {method} needs 0 <= gamma < 1, where a backup contracts; without discounting use "
            "backward_induction under a step limit, interval_iteration or evaluate where episodes are sure to end"
        )
    modulus = gamma * size.continuation_high
    if not modulus < 1 - 1e-15:
        raise ValueError(
            f"gamma {gamma} times the largest row sum {size.continuation_high:.17g} is not below 1: divide the rows by "
            "their sums, or lower gamma"
        )
    if not math.isfinite(size.reward) or size.reward / (1 - modulus) > LARGEST_VALUE:
        raise ValueError(f"rewards up to {size.reward:g} overflow float64 at gamma {gamma}: scale them down")
    return gamma


def verified_discount(gamma: float) -> float:
    """Gamma in float64; a ValueError unless it lies in [0, 1]."""
    gamma = float(gamma)
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma {gamma}: a discount lies between 0 and 1")
    return gamma
