"""Random offsets: the yardstick of every attack."""

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
    """Random offsets; asks the victim nothing.

    "sign" spends the full budget on random signs, "gaussian" on a Gaussian direction, "uniform" draws uniformly from
    the ball. A random direction's cosine with any fixed one has mean square 1/D, which is why noise needs about
    sqrt(D) times the budget of a gradient in the norm 2.

    Raises:
        ValueError: an unknown kind.
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
        """D for a direction, D + 1 for a point of the ball."""
        return num_features + 1 if self.kind == "uniform" else num_features

    def propose(
        self, victim: Policy, obs: Tensor, budget: Budget, u: Tensor | None, target: Tensor | None = None
    ) -> Tensor:
        """``obs`` plus a random offset of the ball, whatever the target."""
        assert u is not None
        if self.kind == "sign":
            return obs + budget.sample_signs(obs, u)
        return obs + (budget.sample_gaussian(obs, u) if self.kind == "gaussian" else budget.sample(obs, u))
