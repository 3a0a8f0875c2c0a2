"""The same task in more dimensions: what a larger observation does to the budget that an attack needs.

A victim is given codes of its observations instead of the observations themselves. Codes with orthonormal rows keep
every Euclidean distance; what they change is how the norm "inf" measures the step across a boundary. A direction w of n
features gains ``epsilon |w|_1`` from an attack, up to ``sqrt(n)`` times its length, and ``epsilon |w|_2`` from random
signs, whose cosine with w has mean square 1/n. Codes that pad with zeros change neither of the two gains: n alone does
not make a victim weak, spreading what it looks at over n features does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rlkit.arrays import Given, as_observations, as_tensor

from ..attacks.base import Attack, posed
from ..attacks.deepfool import adversarial_distance
from ..budget import Budget
from ..objectives import MARGIN, pose
from ..victims.base import Victim, as_victim, scores_of, value_and_gradient
from .lipschitz import first_order_flip


class EncodedVictim:
    """A victim of codes ``obs @ encoding`` in place of its observations, which it decodes in the graph.

    Args:
        victim: of flat observations ``[S, B, D]``.
        encoding: ``[D, n]`` with orthonormal rows.

    Raises:
        ValueError: another shape, or rows that are not orthonormal.
    """

    def __init__(self, victim: Victim, encoding: Tensor) -> None:
        if encoding.dim() != 2:
            raise ValueError(f"encoding must be [D, n], got shape {list(encoding.shape)}")
        identity = torch.eye(len(encoding), dtype=encoding.dtype, device=encoding.device)
        if not torch.allclose(encoding @ encoding.mT, identity, atol=1e-5):
            raise ValueError("encoding must have orthonormal rows: use padded or rotated")
        self.victim: Victim = as_victim(victim)
        self.encoding = encoding
        self.num_seeds: int | None = getattr(self.victim, "num_seeds", None)

    def encode(self, obs: Given) -> Tensor:
        """``[S, B, D] -> [S, B, n]``."""
        return as_observations(obs, self) @ self.encoding

    def scores(self, obs: Given) -> Tensor:
        """The victim's scores of what the codes ``[S, B, n]`` stand for."""
        return self.victim.scores(as_observations(obs, self) @ self.encoding.mT)

    def act(self, obs: Given, deterministic: bool = True) -> Tensor:
        """The victim's actions, of codes ``[S, B, n]``."""
        return self.victim.act(as_observations(obs, self) @ self.encoding.mT, deterministic)


class Rescaled:
    """A victim of observations in other units, ``obs / scale`` in place of obs.

    Args:
        victim: of flat observations ``[S, B, D]``.
        scale: what one unit of every feature is, ``[D]``, for example standard deviations.

    Raises:
        ValueError: a scale that is not positive and finite.
    """

    def __init__(self, victim: Victim, scale: Tensor) -> None:
        if not bool((scale.isfinite() & (scale > 0)).all()):
            raise ValueError(f"scale must be positive and finite, got {scale.tolist()}")
        self.victim: Victim = as_victim(victim)
        self.scale = scale
        self.num_seeds: int | None = getattr(self.victim, "num_seeds", None)

    def scores(self, obs: Given) -> Tensor:
        """The victim's scores of what ``obs [S, B, D]`` stand for."""
        return self.victim.scores(as_observations(obs, self) * self.scale)

    def act(self, obs: Given, deterministic: bool = True) -> Tensor:
        """The victim's actions, of observations in these units."""
        return self.victim.act(as_observations(obs, self) * self.scale, deterministic)


def padded(num_features: int, n: int) -> Tensor:
    """The encoding that appends n - D features which mean nothing, ``[D, n]``.

    Raises:
        ValueError: n below D.
    """
    _check(num_features, n)
    return torch.eye(num_features, n, dtype=torch.float32)


def rotated(num_features: int, n: int, normal: Tensor) -> Tensor:
    """The encoding that spreads every feature over all n, ``[D, n]``: orthonormal rows, uniform among those.

    Args:
        num_features: D.
        n: length of the codes.
        normal: standard normal numbers ``[n, D]``.

    Raises:
        ValueError: n below D, or numbers of another shape.
    """
    _check(num_features, n)
    if normal.shape != (n, num_features):
        raise ValueError(f"normal must have shape {[n, num_features]}, got {list(normal.shape)}")
    q, r = torch.linalg.qr(normal.to(torch.float64))
    rotation: Tensor = (q * r.diagonal().sign()).mT.to(torch.float32)
    return rotation


def alignment(direction: Tensor, offset: Tensor) -> Tensor:
    """The squared cosine of two vectors, ``[..., n], [..., n] -> [...]``; NaN where one is zero.

    Its mean is 1/n where one of them points anywhere alike.
    """
    direction, offset = direction.to(torch.float64), offset.to(torch.float64)
    inner = (direction * offset).sum(dim=-1)
    return inner**2 / ((direction**2).sum(dim=-1) * (offset**2).sum(dim=-1))


class DimensionPoint(NamedTuple):
    """One length of codes, by row of S."""

    n: int
    measured: Tensor  # [S] median over states of the epsilon at which the attack flips; infinite if it mostly does not
    predicted: Tensor  # [S] the same of the linearized victim
    noise: Tensor  # [S] mean squared cosine of random signs with the gradient of the margin; 1/n is expected


@torch.no_grad()
def dimension_sweep(
    attack: Attack,
    victim: Victim,
    obs: Given,
    encodings: Sequence[Tensor],
    budget: Budget | float,
    u: Sequence[Given],
    halvings: int = 10,
) -> tuple[DimensionPoint, ...]:
    """The flip epsilon in every encoding, beside its prediction and the alignment of noise.

    Args:
        attack: one that needs no random numbers.
        victim: of flat observations.
        obs: true observations ``[S, B, D]``.
        encodings: ``[D, n]`` each, of ``padded`` or ``rotated``.
        budget: its norm and its epsilon, the largest that is tried; the scale is 1, and there is no mask or bound.
        u: for every encoding, uniforms ``[S, B, n]`` for the signs.
        halvings: of the interval, see ``adversarial_distance``.

    Raises:
        ValueError: a budget with a scale, mask or bounds, numbers for another number of encodings, or what
            ``adversarial_distance`` refuses.
    """
    victim, obs, budget, _, _ = posed(victim, obs, budget)
    if bool((torch.as_tensor(budget.scale) != 1).any()) or budget.mask is not None or budget.bounded:
        raise ValueError(
            "codes mix features: the budget of a dimension sweep has no scale, mask or bounds. Put the victim and its "
            "observations into units of the scale first (Rescaled)"
        )
    points = []
    for encoding, numbers in zip(encodings, u, strict=True):
        coded = EncodedVictim(victim, encoding)
        codes = coded.encode(obs)
        flip = adversarial_distance(attack, coded, codes, budget, halvings).distance
        _, gradient = value_and_gradient(coded, pose(MARGIN, coded, codes, scores_of(coded, codes)), codes)
        signs = budget.sample_signs(codes, as_tensor(numbers, "u", codes.device, double=True))
        points.append(
            DimensionPoint(
                encoding.shape[1],
                flip.median(dim=1).values,
                first_order_flip(coded, codes, budget).median(dim=1).values,
                alignment(gradient, signs).nanmean(dim=1),
            )
        )
    return tuple(points)


def _check(num_features: int, n: int) -> None:
    if n < num_features:
        raise ValueError(f"codes of {num_features} features need at least as many numbers, got {n}")
