"""States that a policy visits, at which its robustness is measured."""

from __future__ import annotations

import torch
from torch import Tensor

from rlkit.arrays import as_whole_number
from rlkit.evaluation import walk
from rlkit.types import Env, Policy

from .victims.base import as_victim


@torch.no_grad()
def visited(policy: Policy, env: Env, count: int, max_steps: int | None = None) -> Tensor:
    """Collect observations of natural episodes, ``[S, count, *observation]``, evenly spaced within each row's own.

    Every copy plays one greedy episode. A row that sees fewer than ``count`` observations repeats some.

    Args:
        policy: acts on ``[S, B, *observation]``.
        env: a new environment.
        count: observations per row.
        max_steps: see ``rlkit.evaluation.rollout``.

    Raises:
        ValueError: count is below 1 or not a whole number.
    """
    count = as_whole_number(count, "count")
    policy = as_victim(policy)
    steps = [(step.obs.clone(), step.running) for step in walk(policy, env, max_steps)]
    obs, running = (torch.stack(field, dim=2) for field in zip(*steps, strict=True))  # [S, B, T, ...], [S, B, T]
    rows = []
    for seen, counted in zip(obs, running, strict=True):
        own = seen[counted]  # [n, *observation], episode by episode
        places = torch.linspace(0, len(own) - 1, count, dtype=torch.float32, device=own.device)
        rows.append(own[places.round().long()])
    return torch.stack(rows)
