"""Environments side by side along the copies, stepped as one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from rlkit.types import Env, Transition, combined


class ConcatEnv:
    """G environments of S x B copies as one of S x (G B): group g is copies ``g B`` to ``g B + B - 1``.

    Environments that are made alike play the same episodes in every group, so one rollout compares G treatments.

    Args:
        groups: environments with the same spaces, rows and numbers of copies.

    Raises:
        ValueError: no environment, or some that differ.
    """

    def __init__(self, groups: Sequence[Env]) -> None:
        if not groups:
            raise ValueError("groups must hold at least one environment, got none")
        self.groups = tuple(groups)
        first = self.groups[0]
        for env in self.groups:
            for field in ("seeds", "num_envs", "observation_space", "action_space", "max_episode_steps"):
                if getattr(env, field) != getattr(first, field):
                    raise ValueError(
                        f"groups must be alike, got {field} {getattr(first, field)} and {getattr(env, field)}"
                    )
        self.seeds = first.seeds
        self.num_envs = len(self.groups) * first.num_envs
        self.device = first.device
        self.observation_space, self.action_space = first.observation_space, first.action_space
        self.max_episode_steps = first.max_episode_steps
        self.repeats = any(getattr(env, "repeats", False) for env in self.groups)

    @property
    def obs(self) -> Tensor:
        """The present observations, ``[S, G B, *observation]``."""
        return torch.cat([env.obs for env in self.groups], dim=1)

    @property
    def action_mask(self) -> Tensor | None:
        """The actions allowed now, ``[S, G B, A]`` bool; None where all always are."""
        masks = [env.action_mask for env in self.groups]
        return None if masks[0] is None else torch.cat([mask for mask in masks if mask is not None], dim=1)

    def reset(self) -> Tensor:
        """Begin a new episode in every copy of every group: observations ``[S, G B, *observation]``."""
        return torch.cat([env.reset() for env in self.groups], dim=1)

    def step(self, action: Tensor) -> Transition:
        """Step every copy of every group with ``action [S, G B]``."""
        stepped = [env.step(own) for env, own in zip(self.groups, action.chunk(len(self.groups), dim=1), strict=True)]
        return combined(stepped, partial(torch.cat, dim=1))
