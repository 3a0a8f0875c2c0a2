"""The best observations that an attack has found, per example."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..budget import apart, per_feature


class Best(NamedTuple):
    """The best observations so far and their values."""

    obs: Tensor  # [S, B, *observation]
    value: Tensor  # [S, B]

    def or_else(self, obs: Tensor, value: Tensor) -> Best:
        """Replace an example by ``obs`` where ``value`` is larger; NaN never is."""
        better = value > self.value
        return Best(torch.where(per_feature(better, obs), obs, self.obs), torch.where(better, value, self.value))

    def of_each(self, copies: int) -> Best:
        """Reduce to the best of every example's copies, ``[S, copies B] -> [S, B]``; the first of equal ones."""
        value, row = apart(self.value, copies).max(dim=1)  # [S, B]
        obs = apart(self.obs, copies)  # [S, copies, B, ...]
        chosen = per_feature(row, obs[:, 0])[:, None].expand(-1, 1, *obs.shape[2:])
        return Best(obs.gather(1, chosen)[:, 0], value)
