"""Gaussian features with fixed centres: function approximation that is linear in the learned parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor, nn

from rlkit.streams import Stream

from .matmul import ALIGNMENT

CENTRES_COPY = 2  # of the "init" stream; an agent's networks draw their weights from copies 0 and 1


def radial_basis(z: Tensor, centres: Tensor, width: float) -> Tensor:
    """exp(-|z - c|^2 / (2 width^2)): ``[..., M, D]`` and ``[..., n, D] -> [..., M, n]``.

    Source: Sutton & Barto 2018, section 9.5.5.
    """
    square = torch.zeros((), dtype=z.dtype, device=z.device)
    for feature, centre in zip(z.unbind(-1), centres.unbind(-1), strict=True):
        square = square + (feature[..., None] - centre[..., None, :]).square()  # [..., M, n]
    return torch.exp(-0.5 / width**2 * square)


class RadialBasis:
    """The Gaussians of S networks: ``[S, M, D] -> [S, M, n]``, with centres drawn once from (seed, "init").

    A feature with bounds is scaled to z in [-1, 1] and centres are uniform there; one without bounds is not
    scaled and centres are standard normal, which suits normalized observations. Bounds beyond ``LARGE`` count as none.
    Centres are random because a grid of them is infeasible for more than two or three features.

    Args:
        low, high: bounds of every feature, ``[D]``; infinite where there are none.
        seeds: one integer per row.
        centres: n, a multiple of 16: with others a row's last bits would depend on S.
        width: standard deviation of a Gaussian in units of 2 n^(-1/D), the spacing of n points that fill [-1, 1]^D.
        device: where the centres live.

    Raises:
        ValueError: a number of centres that is not a positive multiple of 16, or a width that is not positive.
    """

    LARGE = 1e6

    def __init__(
        self,
        low: np.ndarray,
        high: np.ndarray,
        seeds: Sequence[int],
        centres: int = 256,
        width: float = 1.0,
        device: torch.device | str = "cpu",
    ) -> None:
        if centres < 1 or centres % ALIGNMENT:
            raise ValueError(f"centres must be a positive multiple of {ALIGNMENT}, got {centres}: rows are equal then")
        if not width > 0.0:
            raise ValueError(f"width must be above 0, got {width}")
        features = len(low)
        bounded = (np.abs(low) < self.LARGE) & (np.abs(high) < self.LARGE)
        low, high = (np.where(bounded, bound, sign).astype(float) for bound, sign in ((low, -1.0), (high, 1.0)))
        middle, half = (low + high) / 2, np.where(high > low, (high - low) / 2, 1.0)
        u = Stream(seeds, "init", width=centres * features, copies=CENTRES_COPY + 1).next()[:, CENTRES_COPY]
        uniform = u.view(len(seeds), centres, features).numpy()
        drawn = np.where(bounded, 2.0 * uniform - 1.0, ndtri(np.maximum(uniform, 2.0**-54)))
        self.width = width * 2.0 * centres ** (-1.0 / features)
        self.centres = torch.from_numpy(drawn).float().to(device)  # [S, n, D]
        self.middle, self.scale = (torch.from_numpy(bound).float().to(device) for bound in (middle, half))  # [D]

    def __call__(self, x: Tensor) -> Tensor:
        """``[S, M, D] -> [S, M, n]``, differentiable in x."""
        return radial_basis((x - self.middle) / self.scale, self.centres, self.width)

    def like(self, pick: Callable[[Tensor], Tensor]) -> RadialBasis:
        """The Gaussians of other rows: ``pick`` says which, ``[S, ...] -> [S', ...]``."""
        twin = object.__new__(RadialBasis)
        twin.width, twin.middle, twin.scale, twin.centres = self.width, self.middle, self.scale, pick(self.centres)
        return twin

    def as_module(self, row: int) -> GaussianFeatures:
        """Row ``row`` as a plain torch module."""
        return GaussianFeatures(self.centres[row], self.middle, self.scale, self.width)


class GaussianFeatures(nn.Module):
    """The Gaussians of one network, ``[M, D] -> [M, n]``; nothing in it is learned."""

    def __init__(self, centres: Tensor, middle: Tensor, scale: Tensor, width: float) -> None:
        super().__init__()
        self.centres, self.middle, self.scale = nn.Buffer(centres), nn.Buffer(middle), nn.Buffer(scale)
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """``[M, D] -> [M, n]``."""
        return radial_basis((x - self.middle) / self.scale, self.centres, self.width)
