"""Attacking some examples of a batch at the cost of these alone."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rlkit.nn.matmul import ALIGNMENT

from ..budget import Budget, per_feature
from ..victims.base import Victim
from .base import Attack, perturb


def perturb_where(
    now: Tensor,
    attack: Attack,
    victim: Victim,
    obs: Tensor,
    budget: Budget,
    u: Tensor | None = None,
    target: Tensor | None = None,
) -> Tensor:
    """Return ``perturb`` where ``now [S, B]`` is true and the true observation elsewhere: ``[S, B, *observation]``.

    The examples to attack are gathered into a batch as wide as the row that has most of them, and at least 16, because
    matrix products of fewer observations round differently. Other arguments and errors as in ``perturb``.
    """
    most = int(now.sum(dim=1).amax(dim=0))
    if most == 0:
        return obs
    width = min(max(most, ALIGNMENT), now.shape[1])
    columns = (~now).to(torch.uint8).argsort(dim=1, stable=True)[:, :width]  # [S, width], the examples to attack first

    def gathered(x: Tensor) -> Tensor:
        return x.gather(1, per_feature(columns, x[:, :width]).expand(-1, -1, *x.shape[2:]))

    epsilon = torch.as_tensor(budget.epsilon, dtype=obs.dtype, device=obs.device).expand(now.shape)
    shown = perturb(
        attack,
        victim,
        gathered(obs),
        replace(budget, epsilon=gathered(epsilon)),
        None if u is None else gathered(u),
        None if target is None else gathered(target),
    )
    chosen = torch.where(per_feature(gathered(now), shown), shown, gathered(obs))
    return obs.scatter(1, per_feature(columns, chosen).expand_as(chosen), chosen)
