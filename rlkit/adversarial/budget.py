"""Budgets: how far a shown observation may lie from the true one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from rlkit.arrays import Given, as_observations, as_tensor

Norm = Literal["inf", "2", "1"]
ORDER: dict[str, float] = {"inf": math.inf, "2": 2.0, "1": 1.0}
DUAL: dict[str, float] = {"inf": 1.0, "2": 2.0, "1": math.inf}  # the order of the norm dual to each
PRINTED = 12  # most numbers that ``describe`` prints one by one
SMALLEST_UNIFORM = 2.0**-54  # keeps the normal quantile of u = 0 finite
SMALLEST_STEP = 2.0**-53  # keeps the logarithm of 1 - |2 u - 1| finite at u = 0

Numbers = ArrayLike | Tensor  # one number, or one per feature


@dataclass(frozen=True, eq=False)
class Budget:
    """The set of observations that an attacker may show instead of x: ``x' = x + scale * z``, ``|z|_p <= epsilon``.

    A feature that ``mask`` excludes and a feature of scale 0 never change. By default observations have no bounds; in
    particular they are not clipped to [0, 1].

    Args:
        epsilon: 0 or more, in units of ``scale``. A number, or a tensor that broadcasts to ``[S, B]``: one epsilon per
            example, so that one call holds several.
        norm: "inf" is the largest absolute value, "2" the Euclidean norm, "1" the sum of absolute values.
        scale: unit of epsilon, 0 or more and finite; a number, or one per feature. 1 means raw units. Standard
            deviations on natural rollouts (``rlkit.evaluation.observation_std``) make features comparable.
        mask: booleans that broadcast to the observation's shape, true where the attacker may change it; None for all
            features.
        low: lower bound of shown observations; broadcasts to the observation's shape.
        high: upper bound of shown observations, likewise.
        unit: name of the unit, for ``describe``; None prints the numbers of ``scale``.

    Raises:
        ValueError: epsilon or scale is empty, negative, NaN or infinite; norm is unknown; mask, low or high is empty;
            low is above high or NaN.
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
            number = as_tensor(getattr(self, name), name, double=True).to(torch.float64)
            if number.numel() == 0:
                raise ValueError(f"{name} must hold at least one number, got none")
            wrong = ~(number.isfinite() & (number >= 0))
            if wrong.any():
                raise ValueError(f"{name} must be finite and not negative, got {number[wrong][0].item()}")
        if self.norm not in DUAL:
            raise ValueError(f"norm must be one of {', '.join(map(repr, DUAL))}, got {self.norm!r}")
        bounds = {name: as_tensor(getattr(self, name), name, double=True).to(torch.float64) for name in ("low", "high")}
        mask = {} if self.mask is None else {"mask": as_tensor(self.mask, "mask")}
        for name, number in (bounds | mask).items():
            if number.numel() == 0:
                raise ValueError(f"{name} must hold at least one number, got none")
        try:
            fits = bool((bounds["low"] <= bounds["high"]).all())
        except RuntimeError as error:
            raise ValueError(f"low and high have shapes that do not fit each other: {error}") from None
        if not fits:
            raise ValueError(f"low must not be above high, got low={self.low}, high={self.high}")

    def to(self, obs: Tensor) -> Budget:
        """Return the budget with its numbers on the device and in the dtype of ``obs``; later use copies nothing."""
        return replace(
            self,
            epsilon=_beside(self.epsilon, obs),
            scale=_beside(self.scale, obs),
            mask=None if self.mask is None else torch.as_tensor(self.mask, dtype=torch.bool, device=obs.device),
            low=_beside(self.low, obs),
            high=_beside(self.high, obs),
        )

    def extent(self, obs: Tensor) -> Tensor:
        """Return the size of one unit of epsilon, ``[*observation]``: the scale, and 0 where masked."""
        extent = _beside(self.scale, obs).expand(obs.shape[2:])
        if self.mask is None:
            return extent
        return torch.where(torch.as_tensor(self.mask, dtype=torch.bool, device=obs.device), extent, 0.0)

    def in_units(self, offset: Tensor) -> Tensor:
        """Convert offsets ``[S, B, *observation]`` to units of the scale; masked features give 0."""
        extent = self.extent(offset)
        return torch.where(extent > 0, offset / torch.where(extent > 0, extent, 1.0), 0.0)

    @cached_property
    def bounded(self) -> bool:
        """Whether ``low`` or ``high`` is finite for some feature."""
        low, high = (torch.as_tensor(bound, dtype=torch.float64) for bound in (self.low, self.high))
        return bool((low > -math.inf).any() or (high < math.inf).any())

    def check(self, obs: Given) -> None:
        """Refuse observations ``[S, B, *observation]`` that do not fit this budget.

        Raises:
            ValueError: there is no observation, or they are not floating point, lie outside [low, high], or have a
                shape that epsilon, scale or mask cannot be broadcast to.
        """
        obs = as_observations(obs)
        if obs.shape[0] == 0 or obs.shape[1] == 0:
            raise ValueError(f"obs must hold at least one observation, got shape {list(obs.shape)}")
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
        try:
            self.per_example(obs)
        except RuntimeError as error:
            raise ValueError(f"epsilon does not fit {list(obs.shape[:2])} observations: {error}") from None
        if self.bounded:
            try:
                outside = (obs < _beside(self.low, obs)) | (obs > _beside(self.high, obs))
            except RuntimeError as error:
                raise ValueError(
                    f"low or high do not fit observations of shape {tuple(obs.shape[2:])}: {error}"
                ) from None
            if outside.any():
                raise ValueError(
                    f"the observation {obs[outside][0].item():g} lies outside the budget's bounds "
                    f"[{_printed(self.low)}, {_printed(self.high)}]: widen them to the environment's"
                )

    def project(self, obs: Given, perturbed: Given) -> Tensor:
        """Project ``perturbed`` into the budget around ``obs``; both and the result are ``[S, B, *observation]``.

        First the observation is clipped to the bounds. Then the nearest point of the ball is taken, with Euclidean
        distance in units of ``scale``: clipping of each feature for "inf", scaling of the offset for "2", soft
        thresholding for "1". The second step moves towards ``obs``, so it cannot leave the bounds.

        Without bounds, and always for "inf", the result is the allowed observation nearest to ``perturbed``. With
        bounds it is the one nearest to the clipped observation. An allowed observation stays as it is, up to the
        rounding of ``obs + offset``. At epsilon 0 the result is ``obs`` exactly.

        Source: for "1", Duchi et al. 2008, "Efficient projections onto the l1-ball", figure 1.
        """
        obs, perturbed = as_observations(obs), as_observations(perturbed, name="perturbed")
        extent = self.extent(obs)
        offset = torch.where(extent > 0, self.cut(perturbed) - obs, 0.0)
        if self.norm == "inf":
            limit = self.per_example(obs) * extent
            return self.cut(obs + torch.minimum(torch.maximum(offset, -limit), limit))
        epsilon = self.per_example(obs)
        z = self.in_units(offset)
        length = _length(z, self.norm)
        if self.norm == "2":
            nearest = offset * (epsilon / length)
        else:
            kept = z.sign() * (z.abs() - _threshold(z, epsilon)).clamp(min=0.0)
            # the difference of two large numbers may be too large by more than its own rounding
            kept_length = _length(kept, "1")
            nearest = extent * kept * torch.where(kept_length > epsilon, epsilon / kept_length, 1.0)
        return self.cut(obs + torch.where(length > epsilon, nearest, offset))

    def cut(self, shown: Tensor) -> Tensor:
        """Clip ``shown [S, B, *observation]`` to the bounds; epsilon plays no part."""
        if not self.bounded:
            return shown
        return torch.minimum(torch.maximum(shown, _beside(self.low, shown)), _beside(self.high, shown))

    def movable(self, shown: Tensor, gradient: Tensor) -> Tensor:
        """Return the gradient ``[S, B, *observation]``, with 0 where following it would leave the bounds."""
        if not self.bounded:
            return gradient
        up, down = shown < _beside(self.high, shown), shown > _beside(self.low, shown)
        return torch.where(torch.where(gradient > 0, up, down), gradient, 0.0)

    def distance(self, obs: Given, shown: Given) -> Tensor:
        """Return the epsilon needed to show ``shown`` for ``obs``, ``[S, B]``; infinite if a masked feature differs."""
        obs, shown = as_observations(obs), as_observations(shown, name="shown")
        offset = shown - obs
        forbidden = ((self.extent(obs) == 0) & (offset != 0)).flatten(2).any(dim=-1)  # [S, B]
        length = _length(self.in_units(offset), self.norm).reshape(obs.shape[:2])
        return torch.where(forbidden, math.inf, length)

    def steepest(self, obs: Tensor, gradient: Tensor) -> Tensor:
        """Return the offset of the ball that increases a linear function most, ``[S, B, *observation]``.

        It is ``argmax <gradient, offset>``: ``epsilon scale sign(g)`` for "inf", ``epsilon scale (scale g) / |scale
        g|_2`` for "2", all of epsilon on the feature of the largest ``|scale g|`` for "1". The function grows by
        ``epsilon dual_norm(gradient)``. Bounds are ignored: project the result.
        """
        extent, epsilon = self.extent(obs), self.per_example(obs)
        direction = extent * gradient
        if self.norm == "inf":
            return extent * epsilon * direction.sign()
        # divide by the largest entry first: the squares of a tiny gradient would underflow
        size, largest = direction.abs().flatten(2).max(dim=-1)
        size = per_feature(size, obs)
        if self.norm == "1":
            only = torch.nn.functional.one_hot(largest, direction[0, 0].numel()).reshape(obs.shape)
            return extent * epsilon * direction.sign() * only
        direction = direction / torch.where(size > 0, size, 1.0)
        length = _length(direction, "2")
        return extent * epsilon * direction / torch.where(length > 0, length, 1.0)

    def dual_norm(self, gradient: Tensor) -> Tensor:
        """Return the gain of ``steepest`` per epsilon, ``|scale * gradient|_q`` with 1/p + 1/q = 1, ``[S, B]``."""
        scaled = (self.extent(gradient) * gradient).flatten(2)
        gain: Tensor = torch.linalg.vector_norm(scaled, ord=DUAL[self.norm], dim=-1)
        return gain

    def sample(self, obs: Tensor, u: Tensor) -> Tensor:
        """Draw an offset uniformly from the ball, ``[S, B, *observation]``, from uniforms u ``[S, B, D + 1]``.

        For "2" D numbers give the direction and the last one the radius, ``epsilon u^(1/D)``, with D the number of
        features that may change. For "1" the offset is ``epsilon e / (sum |e| + e')`` of D Laplace variables e and one
        exponential variable e'. For "inf" the last number is not used. Bounds are ignored: project the result.

        Source: Barthe et al. 2005, "A probabilistic approach to the geometry of the l_p^n-ball", theorem 1.
        """
        extent, epsilon = self.extent(obs), self.per_example(obs)
        last = per_feature(u[..., -1], obs)
        u = u[..., :-1].reshape(obs.shape)
        free = extent > 0
        if self.norm == "inf":
            z = 2.0 * u - 1.0
        elif self.norm == "2":
            normal = _normal(u) * free
            count = free.flatten().sum(dim=0).clamp(min=1).to(torch.float32)
            z = normal * last ** (1.0 / count) / _length(normal, "2").clamp(min=SMALLEST_UNIFORM)
        else:
            side = 2.0 * u - 1.0
            laplace = -side.sign() * torch.log1p(-side.abs().clamp(max=1.0 - SMALLEST_STEP)) * free
            z = laplace / (_length(laplace, "1") - torch.log1p(-last)).clamp(min=SMALLEST_UNIFORM)
        return extent * epsilon * z.to(obs.dtype)

    def sample_signs(self, obs: Tensor, u: Tensor) -> Tensor:
        """Draw an offset of full budget with random signs, ``[S, B, *observation]``, from uniforms u ``[S, B, D]``.

        For "inf" it is a random corner of the box. For "2" and "1" every feature that may change moves by
        ``epsilon / sqrt(D)`` and ``epsilon / D``, with D the number of these features.
        """
        signs = torch.where(u.reshape(obs.shape) < 0.5, -1.0, 1.0).to(obs.dtype)
        return self.along(obs, signs)

    def sample_gaussian(self, obs: Tensor, u: Tensor) -> Tensor:
        """Draw an offset of full budget in a Gaussian direction, isotropic in units of ``scale``.

        The result is ``[S, B, *observation]``, from uniforms u ``[S, B, D]`` on [0, 1).
        """
        return self.along(obs, _normal(u.reshape(obs.shape)).to(obs.dtype))

    def along(self, obs: Tensor, z: Tensor) -> Tensor:
        """Return the offset of full budget in the direction ``z [S, B, *observation]``, given in units of ``scale``.

        An example whose z is 0 on every feature that may change gets the offset 0.
        """
        extent = self.extent(obs)
        z = z * (extent > 0)
        length = _length(z, self.norm)
        return extent * self.per_example(obs) * z / torch.where(length > 0, length, 1.0)

    def tiled(self, copies: int) -> Budget:
        """Return the budget of ``tiled(obs, copies)``."""
        epsilon = torch.as_tensor(self.epsilon)
        if epsilon.dim() == 0 or epsilon.shape[-1] == 1:
            return self
        return replace(self, epsilon=epsilon.repeat(*(1,) * (epsilon.dim() - 1), copies))

    def describe(self) -> str:
        """Describe the budget, for example ``epsilon 0.1 (norm inf, in standard deviations), 2 features masked``."""
        words = f"epsilon {_printed(self.epsilon)} (norm {self.norm}, in {self.unit or self._described_scale()})"
        if self.mask is not None:
            words += f", {int((~torch.as_tensor(self.mask, dtype=torch.bool)).flatten().sum(dim=0))} features masked"
        return words + (f", within [{_printed(self.low)}, {_printed(self.high)}]" if self.bounded else "")

    def _described_scale(self) -> str:
        raw = bool((torch.as_tensor(self.scale) == 1).all())
        return "raw observation units" if raw else f"units of {_printed(self.scale)}"

    def per_example(self, obs: Tensor) -> Tensor:
        """Return epsilon of every observation with the axes of observations appended, ``[S, B, 1, ...]``."""
        return per_feature(_beside(self.epsilon, obs).expand(obs.shape[:2]), obs)


def as_budget(budget: Budget | float) -> Budget:
    """Return a budget as it is; a number is epsilon of the norm "inf" in raw units.

    Raises:
        ValueError: the number is negative, NaN or infinite.
    """
    return budget if isinstance(budget, Budget) else Budget(budget)


def tiled(x: Tensor, copies: int) -> Tensor:
    """Repeat all examples along the copies, ``[S, B, ...] -> [S, copies B, ...]``."""
    return x.repeat(1, copies, *(1,) * (x.dim() - 2))


def apart(x: Tensor, copies: int) -> Tensor:
    """Separate what ``tiled`` repeated, ``[S, copies B, ...] -> [S, copies, B, ...]``."""
    return x.reshape(len(x), copies, x.shape[1] // copies, *x.shape[2:])


def per_feature(x: Tensor, obs: Tensor) -> Tensor:
    """Append the axes of observations to numbers ``[S, B]``: ``[S, B, 1, ...]``."""
    return x.reshape(*obs.shape[:2], *(1,) * (obs.dim() - 2))


def _beside(number: Numbers, obs: Tensor) -> Tensor:
    return torch.as_tensor(number, dtype=obs.dtype, device=obs.device)


def _length(z: Tensor, norm: Norm) -> Tensor:
    """Return the norm of every example, ``[S, B, 1, ...]``."""
    length: Tensor = torch.linalg.vector_norm(z.flatten(2), ord=ORDER[norm], dim=-1)
    return per_feature(length, z)


def _threshold(z: Tensor, epsilon: Tensor) -> Tensor:
    """Return the soft threshold that makes the ``|z|`` of an example sum to epsilon, ``[S, B, 1, ...]``."""
    size = z.abs().flatten(2).sort(dim=-1, descending=True).values  # [S, B, D]
    excess = size.cumsum(dim=-1) - epsilon.flatten(1)[..., None]
    candidates = excess / torch.arange(1, size.shape[-1] + 1, device=z.device)
    kept = (size > candidates).sum(dim=-1, keepdim=True).clamp(min=1)
    return candidates.gather(-1, kept - 1).reshape(epsilon.shape)


def _normal(u: Tensor) -> Tensor:
    """Convert uniforms on [0, 1) to standard normal numbers."""
    quantile: Tensor = torch.special.ndtri(u.clamp(min=SMALLEST_UNIFORM))
    return quantile


def _printed(number: Numbers) -> str:
    """Print up to ``PRINTED`` numbers one by one, and the range of more."""
    values = torch.as_tensor(number, dtype=torch.float64).flatten()
    if len(values) > PRINTED:
        return f"{values.amin(dim=0).item():.4g} to {values.amax(dim=0).item():.4g}"
    return ", ".join(f"{value:.4g}" for value in values.tolist())
