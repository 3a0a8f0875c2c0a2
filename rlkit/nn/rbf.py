"""Gaussian features with fixed centers: function approximation that is linear in the learned parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from rlkit.streams import Stream

from .initialization import standard_normal
from .matmul import ALIGNMENT

CENTERS_COPY = 2  # of the "init" stream; an agent's networks draw their weights from copies 0 and 1


def radial_basis(z: Tensor, centers: Tensor, width: float) -> Tensor:
    """exp(-|z - c|^2 / (2 width^2)): ``[..., M, D]`` and ``[..., n, D] -> [..., M, n]``.

    Source: Sutton & Barto 2018, section 9.5.5.
    """
    square = torch.zeros((), dtype=z.dtype, device=z.device)
    for feature, center in zip(z.unbind(-1), centers.unbind(-1), strict=True):
        square = square + (feature[..., None] - center[..., None, :]).square()  # [..., M, n]
    return torch.exp(-0.5 / width**2 * square)


class RadialBasis:
    """The Gaussians of S networks: ``[S, M, D] -> [S, M, n]``, with centers drawn once from (seed, "init").

    A feature with bounds is scaled to z in [-1, 1] and centers are uniform there; one without bounds is not
    scaled and centers are standard normal, which suits normalized observations. Bounds beyond ``LARGE`` count as none.
    Centers are random because a grid of them is infeasible for more than two or three features.

    Args:
        low, high: bounds of every feature, ``[D]``; infinite where there are none.
        seeds: one integer per row.
        centers: n, a multiple of 16; with other numbers a row's last bits would depend on S.
        width: standard deviation of a Gaussian in units of 2 n^(-1/D), the spacing of n points that fill [-1, 1]^D.
        device: where the centers live.

    Raises:
        ValueError: a number of centers that is not a positive multiple of 16, or a width that is not positive.
    """

    LARGE = 1e6

    def __init__(
        self,
        low: np.ndarray,
        high: np.ndarray,
        seeds: Sequence[int],
        centers: int = 256,
        width: float = 1.0,
        device: torch.device | str = "cpu",
    ) -> None:
        if centers < 1 or centers % ALIGNMENT:
            raise ValueError(
                f"centers must be a positive multiple of {ALIGNMENT}, got {centers}: only then rows are equal"
            )
        if not width > 0.0:
            raise ValueError(f"width must be above 0, got {width}")
        features = len(low)
        bounded = (np.abs(low) < self.LARGE) & (np.abs(high) < self.LARGE)
        low, high = (np.where(bounded, bound, sign).astype(float) for bound, sign in ((low, -1.0), (high, 1.0)))
        middle, half = (low + high) / 2, np.where(high > low, (high - low) / 2, 1.0)
        u = Stream(seeds, "init", width=centers * features, copies=CENTERS_COPY + 1).next()[:, CENTERS_COPY]
        uniform = u.view(len(seeds), centers, features).numpy()
        drawn = np.where(bounded, 2.0 * uniform - 1.0, standard_normal(uniform))
        self.width = width * 2.0 * centers ** (-1.0 / features)
        self.centers = torch.from_numpy(drawn).float().to(device)  # [S, n, D]
        self.middle, self.scale = (torch.from_numpy(bound).float().to(device) for bound in (middle, half))  # [D]

    def __call__(self, x: Tensor) -> Tensor:
        """``[S, M, D] -> [S, M, n]``, differentiable in x."""
        return radial_basis((x - self.middle) / self.scale, self.centers, self.width)

    def like(self, pick: Callable[[Tensor], Tensor]) -> RadialBasis:
        """The Gaussians of other rows: ``pick`` says which, ``[S, ...] -> [S', ...]``."""
        twin = object.__new__(RadialBasis)
        twin.width, twin.middle, twin.scale, twin.centers = self.width, self.middle, self.scale, pick(self.centers)
        return twin

    def as_module(self, row: int) -> GaussianFeatures:
        """Row ``row`` as a plain torch module."""
        return GaussianFeatures(self.centers[row], self.middle, self.scale, self.width)


class GaussianFeatures(nn.Module):
    """The Gaussians of one network, ``[M, D] -> [M, n]``; nothing in it is learned."""

    def __init__(self, centers: Tensor, middle: Tensor, scale: Tensor, width: float) -> None:
        super().__init__()
        self.centers, self.middle, self.scale = nn.Buffer(centers), nn.Buffer(middle), nn.Buffer(scale)
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """``[M, D] -> [M, n]``."""
        return radial_basis((x - self.middle) / self.scale, self.centers, self.width)
