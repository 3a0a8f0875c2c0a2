"""Random offsets: the baseline of every attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from torch import Tensor

from rlkit.types import Policy

from ..budget import Budget
from ..victims.base import Access

NoiseKind = Literal["sign", "uniform", "gaussian"]


@dataclass(frozen=True)
class Noise:
    """Random offsets, without a query of the victim.

    The squared cosine of a random direction with a fixed one has mean 1/D; therefore noise needs about sqrt(D) times
    the budget of a gradient attack in the norm "2".

    Args:
        kind: "sign" spends the full budget on random signs, "gaussian" on a Gaussian direction; "uniform" draws
            uniformly from the ball.

    Raises:
        ValueError: the kind is unknown.
    """

    kind: NoiseKind = "sign"
    access: ClassVar[Access] = "nothing"

    def __post_init__(self) -> None:
        if self.kind not in get_args(NoiseKind):
            raise ValueError(f"kind must be one of {', '.join(get_args(NoiseKind))}, got {self.kind!r}")

    @property
    def name(self) -> str:
        """For example ``sign noise``."""
        return f"{self.kind} noise"

    def noise_width(self, num_features: int) -> int:
        """Return D for a direction, D + 1 for a point of the ball."""
        return num_features + 1 if self.kind == "uniform" else num_features

    def propose(
        self, victim: Policy, obs: Tensor, budget: Budget, u: Tensor | None, target: Tensor | None = None
    ) -> Tensor:
        """Return ``obs`` plus a random offset, for any target; arguments as in ``Attack.propose``."""
        assert u is not None
        if self.kind == "sign":
            return obs + budget.sample_signs(obs, u)
        return obs + (budget.sample_gaussian(obs, u) if self.kind == "gaussian" else budget.sample(obs, u))
