"""How far observations must be moved before the action changes: radii and rates with both sides."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from rlkit.arrays import Given

from ..attacks.base import posed
from ..budget import Budget, as_budget, per_feature
from ..victims.base import IsolatedVictim, Victim
from .reachable import MAX_BOXES, ReachableActions, reachable_actions

STEPS = 24  # halvings of the interval


class CertifiedRadius(NamedTuple):
    """The smallest epsilon that changes the greedy action, from both sides."""

    certified: Tensor  # [S, B] float64: no observation within this epsilon changes the action
    achieved: Tensor  # [S, B] float64: epsilon of ``witness``, which changes it; infinite where none was found
    witness: Tensor  # [S, B, *observation]; the true observation where none was found


class CertifiedRates(NamedTuple):
    """Rates over the observations of every row; they sum to 1."""

    certified: Tensor  # [S] float64, no observation within the budget changes the greedy action
    changed: Tensor  # [S] float64, one was found that does
    open: Tensor  # [S] float64, neither


@torch.no_grad()
def certified_radius(
    victim: Victim,
    obs: Given,
    budget: Budget | float,
    steps: int = STEPS,
    *,
    max_boxes: int = MAX_BOXES,
) -> CertifiedRadius:
    """Enclose the distance to the nearest observation with another greedy action, in units of the budget.

    Both sides come from ``reachable_actions`` at epsilons that halve an interval. An epsilon at which every other
    action is excluded raises the certified side. A witness lowers the achieved side to its own distance. Where an
    epsilon stays open, the two sides are searched apart.

    Args:
        victim: as in ``reachable_actions``.
        obs: true observations ``[S, B, *observation]``, floating.
        budget: norm, scale, mask and bounds; its epsilon is the largest that is asked about.
        steps: number of halvings, 1 or more: the sides are at most epsilon / 2^steps apart, unless an
            epsilon stays open.
        max_boxes: as in ``reachable_actions``, for every epsilon.

    Raises:
        ValueError: steps is below 1, or as of ``reachable_actions``.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    asked, true, limit, _, _ = posed(victim, obs, budget)
    largest = limit.per_example(true.double()).reshape(true.shape[:2])
    certified, unsafe = torch.zeros_like(largest), largest
    silent, achieved = torch.zeros_like(largest), torch.full_like(largest, torch.inf)
    witness = true.clone()
    for step in range(steps + 1):
        # between the largest epsilon that is certified and the smallest that is not, or, every other step, between the
        # largest without a witness and the smallest with one: the same two, where nothing stays open
        of_witness = (achieved < torch.inf) & (step % 2 == 0)
        epsilon = torch.where(of_witness, silent + achieved, certified + unsafe) / 2 if step else largest
        found = reachable_actions(asked, true, replace(limit, epsilon=epsilon), max_boxes=max_boxes)
        safe = found.excluded.sum(dim=-1) == found.excluded.shape[-1] - 1
        shown, distance = _nearest_witness(asked, found, true, limit)
        better = distance < achieved
        achieved = torch.where(better, distance, achieved)
        witness = torch.where(per_feature(better, true), shown, witness)
        certified = torch.where(safe, torch.maximum(certified, epsilon), certified)
        unsafe = torch.where(safe, unsafe, torch.minimum(unsafe, torch.minimum(epsilon, distance)))
        silent = torch.where(distance < torch.inf, silent, torch.maximum(silent, epsilon))
    return CertifiedRadius(certified, achieved, witness)


def _nearest_witness(
    victim: IsolatedVictim, found: ReachableActions, obs: Tensor, budget: Budget
) -> tuple[Tensor, Tensor]:
    """The nearest witness of another action than the own, and its distance ``[S, B]`` in float64."""
    own = torch.nn.functional.one_hot(victim.act(obs, True), found.reachable.shape[-1]).bool()
    distances = [budget.distance(obs.double(), shown.double()) for shown in found.witness.unbind(2)]
    distance, action = torch.stack(distances, dim=-1).masked_fill(own | ~found.reachable, torch.inf).min(dim=-1)
    index = per_feature(action, obs)[:, :, None].expand(*obs.shape[:2], 1, *obs.shape[2:])
    return found.witness.gather(2, index)[:, :, 0], distance


@torch.no_grad()
def certified_action_rate(
    victim: Victim, obs: Given, budget: Budget | float, *, max_boxes: int = MAX_BOXES
) -> CertifiedRates:
    """Return how often no observation within the budget can change the greedy action, over the observations of a row.

    The rate is exact for these observations, up to those that stay open. For the states of a policy's episodes it is an
    estimate from a sample: its interval belongs to the report.

    Args:
        victim: as in ``reachable_actions``.
        obs: true observations ``[S, B, *observation]``, floating.
        budget: any norm, scale, mask and bounds; a number is epsilon of the norm "inf" in raw units.
        max_boxes: largest number of boxes per observation.

    Raises:
        ValueError: as in ``reachable_actions``.
    """
    found = reachable_actions(victim, obs, as_budget(budget), max_boxes=max_boxes)
    changed = found.reachable.sum(dim=-1) > 1
    undecided = ~changed & found.open.any(dim=-1)
    rates = (~(changed | undecided), changed, undecided)
    return CertifiedRates(*(rate.double().mean(dim=1) for rate in rates))
