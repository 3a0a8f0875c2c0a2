"""Random search: attacks that see scores but no gradients.

Both attacks start at random signs of full budget and change some features per round. A change is kept if the objective
does not decrease. The share of features that change falls from round to round, from large moves to small corrections.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..budget import Budget, per_feature
from ..objectives import Objective, ObjectiveName, find_objective, named, pose
from ..victims.base import Access, Victim, scores_of
from .best import Best

MOST_PLANES = 32  # one uniform number gives the signs of at most this many planes
# the share is halved after these parts of the rounds (Andriushchenko et al. 2020, section 4.1)
HALVINGS = (0.001, 0.005, 0.02, 0.1, 0.2, 0.4, 0.6, 0.8)


def share(initial: float, round: int, rounds: int) -> float:
    """Return the share of features that change in a round."""
    return initial * 0.5 ** sum(round >= part * rounds for part in HALVINGS)


@dataclass(frozen=True)
class RandomSearch:
    """Random search that changes blocks of features.

    The search starts at random signs of full budget. A block consists of every feature whose uniform number is below
    the present share (at least 2 / D), and always of the feature with the lowest number. For "inf" and "1", each
    feature of the block changes to another of -1, 0 and 1. For "2" it gets a value between -1 and 1. The offset is then
    scaled to the full budget.

    Args:
        queries: number of queries after the one at the true observation.
        initial: share of features that change in the first rounds.
        objective: what to increase.

    Raises:
        ValueError: queries is below 2, initial is outside (0, 1], or the objective is unknown.
    """

    queries: int = 200
    initial: float = 0.5
    objective: ObjectiveName | Objective = "margin"
    access: ClassVar[Access] = "scores"

    def __post_init__(self) -> None:
        _check(self.queries, self.initial, self.objective)

    @property
    def name(self) -> str:
        """For example ``random search 200``."""
        return named(f"random search {self.queries}", self.objective)

    def noise_width(self, num_features: int) -> int:
        """Return D for the first signs and D per round."""
        return self.queries * num_features

    def propose(
        self, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None, target: Tensor | None = None
    ) -> Tensor:
        """Return the best point visited; arguments as in ``Attack.propose``."""
        assert u is not None
        first, *rounds = u.chunk(self.queries, dim=-1)  # [S, B, D] each

        def changed(z: Tensor, numbers: Tensor, part: float) -> Tensor:
            lowest = numbers.amin(dim=-1, keepdim=True)
            threshold = lowest.clamp(min=max(part, 2.0 / numbers.shape[-1]))
            block = (numbers <= threshold).reshape(obs.shape)
            again = (numbers / threshold).reshape(obs.shape)  # uniform on [0, 1) within the block
            if budget.norm == "2":
                return torch.where(block, 2.0 * again - 1.0, z)
            return torch.where(block, (z + torch.where(again < 0.5, 2.0, 3.0).to(z.dtype)) % 3.0 - 1.0, z)

        start = signs(first).reshape(obs.shape).to(u.dtype)
        return climb(self, victim, obs, budget, target, start, changed, rounds)


@dataclass(frozen=True)
class Square:
    """Square attack: random search that changes the signs of squares of image planes, for the norm "inf".

    Observations are ``[C, H, W]``. The search starts from vertical stripes of full budget, with one random sign per
    plane and column. Every round draws a square, whose area is the present share of the image, and sets it to full
    budget with one random sign per plane.

    Args:
        queries: number of queries after the one at the true observation.
        initial: share of the image that the square covers in the first rounds.
        objective: what to increase.

    Raises:
        ValueError: queries is below 2, initial is outside (0, 1], or the objective is unknown; during an attack, the
            norm is not "inf" or the observations are not planes.

    Source: Andriushchenko, Croce, Flammarion & Hein 2020, "Square attack: a query-efficient black-box adversarial
    attack via random search", algorithms 1 and 2.
    """

    queries: int = 300
    initial: float = 0.8
    objective: ObjectiveName | Objective = "margin"
    access: ClassVar[Access] = "scores"

    def __post_init__(self) -> None:
        _check(self.queries, self.initial, self.objective)

    @property
    def name(self) -> str:
        """For example ``Square 300``."""
        return named(f"Square {self.queries}", self.objective)

    def noise_width(self, num_features: int) -> int:
        """Return D for the stripes and three per round: row, column and the signs of all planes."""
        return num_features + (self.queries - 1) * 3

    def propose(
        self, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None, target: Tensor | None = None
    ) -> Tensor:
        """Return the best point visited; arguments as in ``Attack.propose``."""
        assert u is not None
        if budget.norm != "inf":
            raise ValueError(f"Square is for the norm 'inf', got {budget.norm!r}: use RandomSearch")
        if obs.dim() != 5 or obs.shape[2] > MOST_PLANES:
            raise ValueError(
                f"Square needs planes [C, H, W] with C up to {MOST_PLANES}, got observations of shape "
                f"{list(obs.shape[2:])}: use RandomSearch"
            )
        planes, height, width = obs.shape[2:]
        stripes, rounds = u[..., : planes * width], u[..., planes * height * width :].chunk(self.queries - 1, dim=-1)
        rows, columns = (torch.arange(n, device=obs.device) for n in (height, width))
        powers = 2.0 ** torch.arange(planes, dtype=torch.float32, device=obs.device)  # [C]

        def changed(z: Tensor, numbers: Tensor, part: float) -> Tensor:
            side = min(max(round(math.sqrt(part * height * width)), 1), height, width)
            top, left = (
                (u * (n - side + 1)).floor() for u, n in zip(numbers.unbind(-1), (height, width), strict=False)
            )
            inside = between(rows, top, side)[..., :, None] & between(columns, left, side)[..., None, :]  # [S, B, H, W]
            bits = numbers[..., 2, None] * powers  # [S, B, C]
            return torch.where(inside[:, :, None], signs(bits.frac())[..., None, None], z)

        start = signs(stripes).reshape(*obs.shape[:3], 1, width).expand(obs.shape)
        return climb(self, victim, obs, budget, target, start, changed, rounds)


def climb(
    search: RandomSearch | Square,
    victim: Victim,
    obs: Tensor,
    budget: Budget,
    target: Tensor | None,
    z: Tensor,
    change: Callable[[Tensor, Tensor, float], Tensor],
    rounds: Sequence[Tensor],
) -> Tensor:
    """Search directions of full budget at random and return the best observation, ``[S, B, *observation]``.

    Args:
        search: gives the objective and the initial share of features.
        victim: queried at the true observation, at the start and once per round.
        obs: true observations ``[S, B, *observation]``.
        budget: bounds the difference between shown and true observations.
        target: actions that the attack aims at; None for any other than its own.
        z: direction to start from, ``[S, B, *observation]``.
        change: (direction, numbers of a round, share of features) -> the direction to try.
        rounds: the uniform numbers of every round.
    """
    own_scores = scores_of(victim, obs)
    goal = pose(find_objective(search.objective), victim, obs, own_scores, target)

    def show(z: Tensor) -> Tensor:
        return budget.project(obs, obs + budget.along(obs, z.to(obs.dtype)))

    value = goal.value(scores_of(victim, show(z)))
    for i, numbers in enumerate(rounds):
        candidate = change(z, numbers, share(search.initial, i, len(rounds)))
        other = goal.value(scores_of(victim, show(candidate)))
        z = torch.where(per_feature(other >= value, z), candidate, z)
        value = torch.maximum(value, other)
    return Best(obs, goal.value(own_scores)).or_else(show(z), value).obs


def signs(u: Tensor) -> Tensor:
    """Convert uniform numbers to -1 or 1."""
    return torch.where(u < 0.5, -1.0, 1.0).to(torch.float32)


def between(index: Tensor, first: Tensor, length: int) -> Tensor:
    """Find which of ``index [n]`` are among the ``length`` from ``first [S, B]`` on, ``[S, B, n]``."""
    return (index >= first[..., None]) & (index < first[..., None] + length)


def _check(queries: int, initial: float, objective: ObjectiveName | Objective) -> None:
    find_objective(objective)
    if queries < 2:
        raise ValueError(f"queries must be at least 2, got {queries}")
    if not 0 < initial <= 1:
        raise ValueError(f"initial must be a share in (0, 1], got {initial}")
