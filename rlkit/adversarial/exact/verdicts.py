"""Verdicts of verification on a victim in every state, refined where the bounds rely on them."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..budget import Budget
from ..verification.probabilities import probability_bounds
from ..verification.reachable import reachable_actions
from .choices import (
    Array,
    Flags,
    ProvokableChoices,
    choices_of_distributions,
    choices_of_intervals,
    known_draw,
    known_draw_within,
)
from .observed import ObservedProblem, action_distributions

FIRST_TOLERANCE = 1e-3  # of probabilities, before the refinement
LEAST_TOLERANCE = 1e-5
APART = 1e-4  # in probability: a choice nearer to an attained one counts as decided


class Outer(NamedTuple):
    """All that the adversary may be able to cause."""

    choices: ProvokableChoices
    undecided: Flags  # [S, N, K], choices that no observation is known to provoke


class Inner(NamedTuple):
    """The choices that known observations cause."""

    choices: ProvokableChoices
    witness: Tensor  # [S, N, K, *observation]


class Verdicts(Protocol):
    """Verification of one victim, state by state."""

    boxes: NDArray[np.int64]  # [S, N], bounded so far

    def refine(self, wanted: Flags, max_boxes: int) -> None:
        """Verify the states ``wanted [S, N]`` once more, with up to ``max_boxes`` boxes each."""
        ...

    def outer(self) -> Outer:
        """Give the choices that are not excluded."""
        ...

    def inner(self) -> Inner:
        """Give the choices that are attained."""
        ...


class GreedyVerdicts:
    """Which actions a greedy victim can be made to take; see ``reachable_actions``."""

    def __init__(self, posed: ObservedProblem, budget: Budget) -> None:
        self.posed, self.budget = posed, budget
        self.natural = action_distributions(posed.victim, posed.obs, False, posed.mdp.num_actions)
        self.reachable: Flags = self.natural > 0  # [S, N, A]
        self.undecided: Flags = np.zeros_like(self.reachable)
        self.witness = posed.obs[:, :, None].expand(*self.natural.shape, *posed.obs.shape[2:]).clone()
        self.boxes: NDArray[np.int64] = np.zeros(self.natural.shape[:2], np.int64)

    def refine(self, wanted: Flags, max_boxes: int) -> None:
        """Verify some states; arguments as in ``Verdicts.refine``."""
        asked = batch_of(wanted, self.boxes)
        if asked is None:
            return
        found = reachable_actions(
            self.posed.victim, self.posed.obs[asked.rows, asked.states], self.budget, max_boxes=max_boxes
        )
        count = found.reachable.shape[2]
        if count != self.natural.shape[2]:
            raise ValueError(f"the victim has {count} actions and the MDP {self.natural.shape[2]}: they do not fit")
        at, new = asked.at, asked.new
        self.reachable[at], self.undecided[at] = found.reachable.cpu().numpy()[new], found.open.cpu().numpy()[new]
        self.witness[at] = found.witness[torch.from_numpy(new).to(found.witness.device)]
        self.boxes[at] += found.boxes.cpu().numpy()[new]

    def outer(self) -> Outer:
        """Give the actions that are not excluded."""
        allowed = self.reachable | self.undecided
        return Outer(ProvokableChoices(self.natural[:, :, None], allowed[:, :, None]), self.undecided)

    def inner(self) -> Inner:
        """Give the actions that the victim takes when it is shown their witness, asked once more."""
        rows, states, count = self.reachable.shape
        shown = shown_within(self.posed.obs, self.witness, self.budget)
        taken = self.posed.victim.act(shown, True).reshape(rows, states, count).cpu().numpy()
        attained = (self.reachable & (taken == np.arange(count))) | (self.natural > 0)
        return Inner(ProvokableChoices(self.natural[:, :, None], attained[:, :, None]), self.witness)


class SampledVerdicts:
    """Between which bounds the probabilities of a sampling victim can be moved; see ``probability_bounds``.

    With two actions the two extremes are all that matters, because the return is affine in the policy. With more the
    bounds of single actions allow mixtures that no observation need provoke: the bracket holds and may stay open.
    """

    def __init__(self, posed: ObservedProblem, budget: Budget) -> None:
        self.posed, self.budget, self.tolerance = posed, budget, FIRST_TOLERANCE
        self.natural = action_distributions(posed.victim, posed.obs, True, posed.mdp.num_actions)
        self.low, self.high = self.natural.copy(), self.natural.copy()  # [S, N, A]
        shape = (*self.natural.shape[:2], 2 * self.natural.shape[2] + 1, *posed.obs.shape[2:])
        self.witness = posed.obs[:, :, None].expand(shape).clone()  # the truth, lowest of every action, highest
        self.boxes: NDArray[np.int64] = np.zeros(self.natural.shape[:2], np.int64)

    def refine(self, wanted: Flags, max_boxes: int) -> None:
        """Verify some states, to a tenth of the last tolerance; arguments as in ``Verdicts.refine``."""
        asked = batch_of(wanted, self.boxes)
        if asked is None:
            return
        found = probability_bounds(
            self.posed.victim,
            self.posed.obs[asked.rows, asked.states],
            self.budget,
            self.tolerance,
            max_boxes=max_boxes,
        )
        self.tolerance = max(self.tolerance / 10, LEAST_TOLERANCE)
        at, new = asked.at, asked.new
        self.low[at], self.high[at] = found.low.cpu().numpy()[new], found.high.cpu().numpy()[new]
        kept = torch.from_numpy(new).to(self.witness.device)
        self.witness[at] = torch.cat(
            [
                self.witness[at][:, :1],
                found.low_witness[kept],
                found.high_witness[kept],
            ],
            dim=1,
        )
        self.boxes[at] += found.boxes.cpu().numpy()[new]

    def outer(self) -> Outer:
        """Give all distributions within the bounds, and those corners that lie apart from every attained one."""
        low, high = np.minimum(self.low, self.natural), np.maximum(self.high, self.natural)
        choices = choices_of_intervals(self.natural, low, high)
        corners = choices.distributions()[:, :, 0]  # [S, N, K, A]
        apart = np.abs(corners[:, :, :, None] - self._attained()[:, :, None]).max(axis=-1).min(axis=-1)
        return Outer(choices, (apart > APART) & choices.allowed[:, :, 0])

    def inner(self) -> Inner:
        """Give the distributions at the witnesses, that at the true observation first."""
        return Inner(choices_of_distributions(self.natural, self._attained()), self.witness)

    def _attained(self) -> Array:
        """The distributions at the witnesses, ``[S, N, 2 A + 1, A]``."""
        rows, states, count = self.witness.shape[:3]
        shown = shown_within(self.posed.obs, self.witness, self.budget)
        found = action_distributions(self.posed.victim, shown, True, self.natural.shape[2])
        return found.reshape(rows, states, count, -1)


class KnownDrawVerdicts(SampledVerdicts):
    """Which actions an adversary can cause if it knows the number u with which a sampling victim draws its action.

    An action is excluded at u by the bounds of cumulative probabilities, which follow from those of single actions, and
    attained where some witness gives it.
    """

    def outer(self) -> Outer:
        """Give the actions that are not excluded, and those that no witness gives for some share of u."""
        low, high = np.minimum(self.low, self.natural), np.maximum(self.high, self.natural)
        least, most = np.cumsum(low, axis=2)[..., :-1], np.cumsum(high, axis=2)[..., :-1]  # up to each action
        behind_least = np.cumsum(low[..., :0:-1], axis=2)[..., ::-1]  # after each action
        behind_most = np.cumsum(high[..., :0:-1], axis=2)[..., ::-1]
        least, most = np.maximum(least, 1 - behind_most), np.minimum(most, 1 - behind_least)
        ends = np.zeros((*least.shape[:2], 1))
        wide = np.concatenate([most, ends + 1], axis=2) - np.concatenate([ends, least], axis=2)  # [S, N, A]
        choices = known_draw_within(self.natural, least, np.maximum(least, most))
        return Outer(choices, np.maximum(wide, 0.0) - self._given() > APART)

    def inner(self) -> Inner:
        """Give the actions that the witnesses give at every u."""
        return Inner(known_draw(super().inner().choices), self.witness)

    def _given(self) -> Array:
        """For how large a share of u some witness gives each action, ``[S, N, A]``."""
        ends = np.cumsum(self._attained(), axis=-1)
        starts = np.concatenate([np.zeros_like(ends[..., :1]), ends[..., :-1]], axis=-1)  # [S, N, K, A]
        order = np.argsort(starts, axis=2)
        starts, ends = (np.take_along_axis(each, order, axis=2) for each in (starts, ends))
        reached = np.maximum.accumulate(ends, axis=2)  # by the intervals so far
        before = np.concatenate([np.zeros_like(reached[:, :, :1]), reached[:, :, :-1]], axis=2)
        return np.asarray(np.maximum(ends - np.maximum(starts, before), 0.0).sum(axis=2))


def shown_within(obs: Tensor, witness: Tensor, budget: Budget) -> Tensor:
    """Project witnesses ``[S, N, K, *observation]`` as attacks are, ``[S, N K, *observation]``: what is executed."""
    true = obs[:, :, None].expand(witness.shape).flatten(1, 2)
    return budget.project(true, witness.flatten(1, 2))


class Batch(NamedTuple):
    """States to verify as a batch; rows that want fewer repeat one that takes little work."""

    rows: NDArray[np.int64]  # [S, 1]
    states: NDArray[np.int64]  # [S, W]
    new: Flags  # [S, W], false for repeated states
    at: tuple[NDArray[np.int64], NDArray[np.int64]]  # (row, state) of the new ones


def batch_of(wanted: Flags, boxes: NDArray[np.int64]) -> Batch | None:
    """Gather the states ``wanted [S, N]`` of every row and no others: a row's verdicts do not depend on the rest.

    Args:
        wanted: states to verify.
        boxes: that every state took before, ``[S, N]``.
    """
    width = int(wanted.sum(axis=1).max())
    if width == 0:
        return None
    order = np.argsort(~wanted, axis=1, kind="stable")[:, :width]
    new = np.take_along_axis(wanted, order, axis=1)
    effort = np.where(wanted, np.iinfo(np.int64).max, boxes)
    states = np.where(new, order, effort.argmin(axis=1)[:, None])
    rows = np.arange(len(wanted))[:, None]
    return Batch(rows, states, new, (np.broadcast_to(rows, new.shape)[new], states[new]))
