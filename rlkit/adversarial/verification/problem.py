"""A verification problem: the victim, its layers, and the regions of its observations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from rlkit.arrays import Given, refuse_nonfinite

from ..attacks.base import posed
from ..budget import Budget
from ..victims.base import IsolatedVictim, Victim, scores_of
from .layers import LayerStack, extract_layers
from .region import Region, region_of
from .rounding import score_slack

ASKED = 64  # observations of a row that the victim is shown at once
TOGETHER = 1024  # observations of a row whose boxes are split at the same time


class VerificationProblem(NamedTuple):
    """What stays the same while boxes are split; O = S B observations."""

    victim: IsolatedVictim
    stack: LayerStack
    obs: Tensor  # [S, B, *observation]
    budget: Budget
    region: Region
    slack: Tensor  # [A, A, O]

    @property
    def row_of(self) -> Tensor:
        """The row of every observation, ``[O]``."""
        rows, count = self.obs.shape[:2]
        return torch.arange(rows, device=self.obs.device).repeat_interleave(count)


def pose_problem(victim: Victim, obs: Given, budget: Budget | float) -> VerificationProblem:
    """Convert and check the arguments of a verification, as one problem.

    Raises:
        ValueError: the victim has other layers than verification covers, observations do not fit, or scores at the true
            observations are not finite.
    """
    asked, true, limit, _, _ = posed(victim, obs, budget)
    return _problem(asked, extract_layers(asked), true, limit)


def pose_problems(victim: IsolatedVictim, obs: Tensor, budget: Budget) -> Iterator[VerificationProblem]:
    """Divide a verification into problems of at most ``TOGETHER`` observations of every row, whose boxes fit in memory.

    Raises:
        ValueError: as in ``pose_problem``.
    """
    stack = extract_layers(victim)
    for start in range(0, obs.shape[1], TOGETHER):
        part = slice(start, start + TOGETHER)
        yield _problem(victim, stack, obs[:, part], budget_of(budget, obs, part))


def budget_of(budget: Budget, obs: Tensor, part: slice) -> Budget:
    """Return the budget of a part of the observations ``[S, B, ...]`` of every row."""
    epsilon = torch.as_tensor(budget.epsilon)
    if epsilon.dim() == 0:
        return budget
    return replace(budget, epsilon=epsilon.expand(obs.shape[:2])[:, part])


def _problem(asked: IsolatedVictim, stack: LayerStack, true: Tensor, limit: Budget) -> VerificationProblem:
    if (len(true), true[0, 0].numel()) != (len(stack.weights[0]), stack.num_features):
        raise ValueError(
            f"obs must be [{len(stack.weights[0])}, B, ...] with {stack.num_features} features for this victim, got "
            f"{list(true.shape)}"
        )
    refuse_nonfinite(scores_of(asked, true), "the victim's scores")
    region = region_of(stack, true, limit)
    rows = torch.arange(len(true), device=true.device)
    ends = (end.reshape(len(end), *true.shape[:2]).movedim(1, 0).contiguous() for end in (region.low, region.high))
    slack = score_slack(stack, rows, *ends).permute(1, 2, 0, 3).flatten(2)
    return VerificationProblem(asked, stack, true, limit, region, slack)


def shown_at(problem: VerificationProblem, points: Tensor, owner: Tensor) -> Tensor:
    """Convert normalized features ``[D, n]`` to observations within the budgets of observations ``owner [n]``.

    Returns:
        ``[n, *observation]``, projected, in the dtype of the true observations.
    """
    stack, obs, row = problem.stack, problem.obs, problem.row_of[owner]
    mean, gain = stack.mean[row, :, 0], stack.gain[row, :, 0]  # [n, D]
    proposed = (points.mT / gain + mean).to(obs.dtype).reshape(1, -1, *obs.shape[2:])
    epsilon = problem.budget.per_example(obs).flatten()[owner]
    budget = replace(problem.budget, epsilon=epsilon[None])
    return budget.project(obs.flatten(0, 1)[owner][None], proposed)[0]


def answers(problem: VerificationProblem, question: Callable[[Tensor], Tensor], shown: Tensor, owner: Tensor) -> Tensor:
    """Ask the victim about observations ``[n, *observation]`` of the rows that ``owner [n]``, ascending, belongs to.

    The victim is asked in batches of one size, so that the answers of a row do not depend on the other rows.

    Args:
        problem: problem with the victim.
        question: ``[S, ASKED, *observation] -> [S, ASKED, ...]``.
        shown: observations.
        owner: which true observation each one is shown for.

    Returns:
        ``[n, ...]``.
    """
    row = problem.row_of[owner]
    counts = torch.bincount(row, minlength=len(problem.obs))
    place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
    found: Tensor | None = None
    for start in range(0, int(counts.max()), ASKED):
        part = ((place >= start) & (place < start + ASKED)).nonzero()[:, 0]
        at = (row[part], place[part] - start)
        batch = problem.obs[:, :1].repeat(1, ASKED, *(1,) * (problem.obs.dim() - 2))
        batch[at] = shown[part]
        answer = question(batch)[at]
        found = answer.new_empty(len(row), *answer.shape[1:]) if found is None else found
        found[part] = answer
    assert found is not None, "there is something to ask"
    return found


def other_actions(own: Tensor, actions: int) -> Tensor:
    """Return all actions but the own one of every box ``[N]``, ascending: ``[A - 1, N]``."""
    number = torch.arange(actions - 1, device=own.device)[:, None]
    return number + (number >= own)
