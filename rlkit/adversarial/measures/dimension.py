"""Dimension: how the number of features changes the budget that an attack needs, for the same task.

The victim sees codes of its observations instead of the observations. Codes with orthonormal rows preserve Euclidean
distances; they change how the norm "inf" measures the step across a boundary. Along a gradient w of n features an
attack gains ``epsilon |w|_1``, up to ``sqrt(n)`` times ``|w|_2``, and random signs gain ``epsilon |w|_2``, because
their squared cosine with w has mean 1/n. Codes that pad with zeros change neither gain. Hence n alone does not make a
victim weaker, but spreading its gradient over n features does.
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
    """A victim that sees codes ``obs @ encoding`` and decodes them, differentiably.

    Args:
        victim: a victim of flat observations ``[S, B, D]``.
        encoding: ``[D, n]`` with orthonormal rows.

    Raises:
        ValueError: the encoding has another shape, or its rows are not orthonormal.
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
        """Encode observations, ``[S, B, D] -> [S, B, n]``."""
        return as_observations(obs, self) @ self.encoding

    def scores(self, obs: Given) -> Tensor:
        """Return the victim's scores ``[S, B, A]`` of codes ``[S, B, n]``."""
        return self.victim.scores(as_observations(obs, self) @ self.encoding.mT)

    def act(self, obs: Given, deterministic: bool = True) -> Tensor:
        """Return the victim's actions ``[S, B]`` for codes ``[S, B, n]``."""
        return self.victim.act(as_observations(obs, self) @ self.encoding.mT, deterministic)


class Rescaled:
    """A victim that sees observations in other units, ``obs / scale``.

    Args:
        victim: a victim of flat observations ``[S, B, D]``.
        scale: size of one unit of every feature, ``[D]``, for example standard deviations.

    Raises:
        ValueError: the scale is not positive and finite.
    """

    def __init__(self, victim: Victim, scale: Tensor) -> None:
        if not bool((scale.isfinite() & (scale > 0)).all()):
            raise ValueError(f"scale must be positive and finite, got {scale.tolist()}")
        self.victim: Victim = as_victim(victim)
        self.scale = scale
        self.num_seeds: int | None = getattr(self.victim, "num_seeds", None)

    def scores(self, obs: Given) -> Tensor:
        """Return the victim's scores ``[S, B, A]`` of observations ``[S, B, D]`` in these units."""
        return self.victim.scores(as_observations(obs, self) * self.scale)

    def act(self, obs: Given, deterministic: bool = True) -> Tensor:
        """Return the victim's actions ``[S, B]`` for observations ``[S, B, D]`` in these units."""
        return self.victim.act(as_observations(obs, self) * self.scale, deterministic)


def padded(num_features: int, n: int) -> Tensor:
    """Return the encoding that appends n - D zeros to D features, ``[D, n]``.

    Raises:
        ValueError: n is below D.
    """
    _check(num_features, n)
    return torch.eye(num_features, n, dtype=torch.float32)


def rotated(num_features: int, n: int, normal: Tensor) -> Tensor:
    """Draw an encoding that spreads every feature over all n, ``[D, n]``: uniform among those with orthonormal rows.

    Args:
        num_features: D.
        n: length of the codes.
        normal: standard normal numbers ``[n, D]``.

    Raises:
        ValueError: n is below D, or ``normal`` has another shape.
    """
    _check(num_features, n)
    if normal.shape != (n, num_features):
        raise ValueError(f"normal must have shape {[n, num_features]}, got {list(normal.shape)}")
    q, r = torch.linalg.qr(normal.to(torch.float64))
    rotation: Tensor = (q * r.diagonal().sign()).mT.to(torch.float32)
    return rotation


def alignment(direction: Tensor, offset: Tensor) -> Tensor:
    """Return the squared cosine of two vectors, ``[..., n], [..., n] -> [...]``; NaN where one is zero.

    Its mean is 1/n if one of them has a uniformly random direction.
    """
    direction, offset = direction.to(torch.float64), offset.to(torch.float64)
    inner = (direction * offset).sum(dim=-1)
    return inner**2 / ((direction**2).sum(dim=-1) * (offset**2).sum(dim=-1))


class DimensionPoint(NamedTuple):
    """Results for one length of codes, per row of S."""

    n: int  # length of the codes
    measured: (
        Tensor  # [S] median over states of the epsilon that changes the action; infinite if most cannot be changed
    )
    predicted: Tensor  # [S] the same for the linearized victim
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
    """Measure the epsilon that changes the action in every encoding, with its prediction and the alignment of noise.

    Args:
        attack: an attack without random numbers.
        victim: a victim of flat observations.
        obs: true observations ``[S, B, D]``.
        encodings: ``[D, n]`` each, of ``padded`` or ``rotated``.
        budget: its norm and its epsilon, the largest one tried; scale 1, no mask, no bounds.
        u: for every encoding, uniforms ``[S, B, n]`` for the signs.
        halvings: see ``adversarial_distance``.

    Raises:
        ValueError: the budget has a scale, mask or bounds, the numbers of encodings and of ``u`` differ, or
            ``adversarial_distance`` refuses an argument.
    """
    victim, obs, budget, _, _ = posed(victim, obs, budget)
    if bool((torch.as_tensor(budget.scale) != 1).any()) or budget.mask is not None or budget.bounded:
        raise ValueError(
            "codes mix features, so the budget of a dimension sweep has no scale, mask or bounds: bring the victim and "
            "its observations to units of the scale first (Rescaled)"
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
