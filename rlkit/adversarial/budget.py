"""How far an observation may be from the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor

Norm = Literal["inf", "2"]
DUAL = {"inf": 1, "2": 2}  # the order of the norm dual to each
PRINTED = 12  # numbers that ``describe`` prints one by one
SMALLEST_UNIFORM = 2.0**-54  # keeps the normal quantile of u = 0 finite

Numbers = ArrayLike | Tensor  # one number, or one per feature


@dataclass(frozen=True, eq=False)
class Budget:
    """The set of observations that an attacker may show instead of x: ``x' = x + scale * z``, ``|z|_p <= epsilon``.

    ``epsilon`` is a number or a tensor that broadcasts to ``[S, B]`` (one per example: several epsilons in one call,
    side by side along the copies). ``scale`` is the unit of epsilon, a number or one per feature: 1 for raw units,
    standard deviations measured on natural rollouts (``rlkit.evaluation.observation_std``) for a budget that means
    the same on every feature. ``mask`` is true where the attacker may touch; a masked feature, like one of scale 0,
    never moves. Observations stay within ``low`` and ``high``; by default they are not bounded, and in particular not
    to [0, 1].

    Args:
        epsilon: 0 or more, in units of ``scale``.
        norm: "inf", each feature by itself, or "2", all features together.
        scale: 0 or more, finite; broadcasts to the observation's shape.
        mask: booleans that broadcast to the observation's shape; None for all features.
        low: lower bound of what can be shown, broadcasts to the observation's shape.
        high: upper bound.
        unit: what ``scale`` is, for ``describe``; None describes the numbers.

    Raises:
        ValueError: epsilon or scale negative, NaN or infinite, an unknown norm, low above high or NaN.
    """

    epsilon: float | Tensor
    norm: Norm = "inf"
    scale: Numbers = 1.0
    mask: Numbers | None = None
    low: Numbers = -math.inf
    high: Numbers = math.inf
    unit: str | None = None

    def __post_init__(self) -> None:
        for name in ("epsilon", "scale"):
            number = torch.as_tensor(getattr(self, name), dtype=torch.float64)
            wrong = ~(number.isfinite() & (number >= 0))
            if wrong.any():
                raise ValueError(f"{name} must be finite and not negative, got {number[wrong][0].item()}")
        if self.norm not in DUAL:
            raise ValueError(f"norm must be one of {', '.join(DUAL)}, got {self.norm!r}")
        low, high = (torch.as_tensor(bound, dtype=torch.float64) for bound in (self.low, self.high))
        if not (low <= high).all():
            raise ValueError(f"low must not be above high, got low={self.low}, high={self.high}")

    def to(self, obs: Tensor) -> Budget:
        """The same budget with its numbers beside ``obs``: same device and dtype, so that using it copies nothing."""
        return replace(
            self,
            epsilon=_beside(self.epsilon, obs),
            scale=_beside(self.scale, obs),
            mask=None if self.mask is None else torch.as_tensor(self.mask, dtype=torch.bool, device=obs.device),
            low=_beside(self.low, obs),
            high=_beside(self.high, obs),
        )

    def extent(self, obs: Tensor) -> Tensor:
        """What one unit of epsilon is on every feature, ``[*observation]``: the scale, 0 where masked."""
        extent = _beside(self.scale, obs).expand(obs.shape[2:])
        if self.mask is None:
            return extent
        return torch.where(torch.as_tensor(self.mask, dtype=torch.bool, device=obs.device), extent, 0.0)

    @cached_property
    def bounded(self) -> bool:
        """Whether ``low`` or ``high`` cuts anything off."""
        low, high = (torch.as_tensor(bound, dtype=torch.float64) for bound in (self.low, self.high))
        return bool((low > -math.inf).any() or (high < math.inf).any())

    def check(self, obs: Tensor) -> None:
        """Refuse observations ``[S, B, *observation]`` that this budget cannot be spent on.

        Raises:
            ValueError: not floating point, outside [low, high], or of a shape that scale or mask do not fit.
        """
        if not obs.is_floating_point():
            raise ValueError(
                f"observations of {obs.dtype} cannot be attacked: integers have no gradient and no small changes. Make "
                "the environment with floating observations, such as observation='onehot' or 'coordinates', or "
                "plane_dtype='float32', and train the policy on them"
            )
        try:
            self.extent(obs)
        except RuntimeError as error:
            raise ValueError(
                f"scale or mask do not fit observations of shape {tuple(obs.shape[2:])}: {error}"
            ) from None
        if self.bounded:
            outside = (obs < _beside(self.low, obs)) | (obs > _beside(self.high, obs))
            if outside.any():
                raise ValueError(
                    f"the observation {obs[outside][0].item():g} lies outside the budget's bounds "
                    f"[{_printed(self.low)}, {_printed(self.high)}]: widen them to the environment's"
                )

    def project(self, obs: Tensor, perturbed: Tensor) -> Tensor:
        """An allowed observation for one that may not be, ``[S, B, *observation]`` all.

        For "inf" the nearest one: each feature is cut at the box. For "2" the offset is shortened to the ball, then
        cut at the bounds, which cannot lengthen it because the bounds hold ``obs``. What is allowed stays as it is, up
        to the rounding of ``obs + offset``; at epsilon 0 the result is ``obs`` exactly.
        """
        extent, epsilon = self.extent(obs), self._per_example(obs)
        offset = torch.where(extent > 0, perturbed - obs, 0.0)
        if self.norm == "inf":
            limit = epsilon * extent
            offset = torch.minimum(torch.maximum(offset, -limit), limit)
        else:
            length = _length(offset / torch.where(extent > 0, extent, 1.0))
            offset = offset * torch.where(length > epsilon, epsilon / length, 1.0)
        allowed = obs + offset
        if not self.bounded:
            return allowed
        return torch.minimum(torch.maximum(allowed, _beside(self.low, obs)), _beside(self.high, obs))

    def steepest(self, obs: Tensor, gradient: Tensor) -> Tensor:
        """The offset ``[S, B, *observation]`` of the ball that increases a linear function most.

        ``argmax <gradient, offset>``: ``epsilon scale sign(g)`` for "inf", ``epsilon scale (scale g) / |scale g|_2``
        for "2". It gains ``epsilon dual_norm(gradient)``. Bounds are not looked at: project afterwards.
        """
        extent = self.extent(obs)
        return extent * self._farthest(obs, extent * gradient)

    def dual_norm(self, gradient: Tensor) -> Tensor:
        """The gain per epsilon of the steepest offset, ``|scale * gradient|_q`` with 1/p + 1/q = 1, ``[S, B]``."""
        scaled = (self.extent(gradient) * gradient).flatten(2)
        gain: Tensor = torch.linalg.vector_norm(scaled, ord=DUAL[self.norm], dim=-1)
        return gain

    def sample(self, obs: Tensor, u: Tensor) -> Tensor:
        """An offset ``[S, B, *observation]`` uniform in the ball, of uniforms u ``[S, B, D + 1]`` on [0, 1).

        D numbers give the direction and one the radius, ``epsilon u^(1/D)`` for the D features that may move; the
        norm "inf" has no use for the last. Bounds are not looked at: project afterwards.
        """
        extent, epsilon = self.extent(obs), self._per_example(obs)
        u, radius = u[..., :-1].reshape(obs.shape), u[..., -1].reshape(_per_example_shape(obs))
        if self.norm == "inf":
            return extent * epsilon * (2.0 * u - 1.0).to(obs.dtype)
        free = extent > 0
        normal = torch.special.ndtri(u.clamp(min=SMALLEST_UNIFORM)) * free
        shrink = radius ** (1.0 / free.flatten().sum(dim=0).clamp(min=1))
        return extent * self._farthest(obs, normal.to(obs.dtype)) * shrink.to(obs.dtype)

    def sample_signs(self, obs: Tensor, u: Tensor) -> Tensor:
        """An offset ``[S, B, *observation]`` of full budget and random signs, of uniforms u ``[S, B, D]`` on [0, 1).

        A random corner of the box for "inf"; for "2" the same ``epsilon / sqrt(D)`` on each of the D features that
        may move.
        """
        extent = self.extent(obs)
        signs = torch.where(u.reshape(obs.shape) < 0.5, -1.0, 1.0).to(obs.dtype) * (extent > 0)
        return extent * self._farthest(obs, signs)

    def describe(self) -> str:
        """The budget in words, for example ``epsilon 0.1 (norm inf, in standard deviations), 2 features masked``."""
        words = f"epsilon {_printed(self.epsilon)} (norm {self.norm}, in {self.unit or self._described_scale()})"
        if self.mask is not None:
            words += f", {int((~torch.as_tensor(self.mask, dtype=torch.bool)).flatten().sum(dim=0))} features masked"
        return words + (f", within [{_printed(self.low)}, {_printed(self.high)}]" if self.bounded else "")

    def _described_scale(self) -> str:
        raw = bool((torch.as_tensor(self.scale) == 1).all())
        return "raw observation units" if raw else f"units of {_printed(self.scale)}"

    def _farthest(self, obs: Tensor, direction: Tensor) -> Tensor:
        """The z of norm epsilon that goes farthest along ``direction``; 0 where there is no direction."""
        epsilon = self._per_example(obs)
        if self.norm == "inf":
            return epsilon * direction.sign()
        # by the largest entry first: the squares of a tiny gradient would vanish
        largest = direction.abs().flatten(2).amax(dim=-1).reshape(_per_example_shape(obs))
        direction = direction / torch.where(largest > 0, largest, 1.0)
        length = _length(direction)
        return epsilon * direction / torch.where(length > 0, length, 1.0)

    def _per_example(self, obs: Tensor) -> Tensor:
        """Epsilon with the observation's axes appended, ``[S, B, 1, ...]``."""
        return _beside(self.epsilon, obs).expand(obs.shape[:2]).reshape(_per_example_shape(obs))


def _beside(number: Numbers, obs: Tensor) -> Tensor:
    return torch.as_tensor(number, dtype=obs.dtype, device=obs.device)


def _per_example_shape(obs: Tensor) -> tuple[int, ...]:
    """``[S, B, 1, ...]``: one number per example beside observations ``[S, B, *observation]``."""
    return (*obs.shape[:2], *(1,) * (obs.dim() - 2))


def _length(z: Tensor) -> Tensor:
    """Euclidean norm of every example, ``[S, B, 1, ...]``."""
    length: Tensor = torch.linalg.vector_norm(z.flatten(2), dim=-1)
    return length.reshape(_per_example_shape(z))


def _printed(number: Numbers) -> str:
    """A number or a few of them; the range of many."""
    values = torch.as_tensor(number, dtype=torch.float64).flatten()
    if len(values) > PRINTED:
        return f"{values.amin(dim=0).item():.4g} to {values.amax(dim=0).item():.4g}"
    return ", ".join(f"{value:.4g}" for value in values.tolist())
