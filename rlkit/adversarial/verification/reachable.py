"""Complete verification: which actions can the observations within a budget cause?"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rlkit.arrays import Given

from ..attacks.base import posed
from ..budget import Budget
from ..victims.base import Victim
from ..victims.decision_trees import DecisionTrees
from .bounds import TileLayers, bound_below, relax, scores_at
from .problem import VerificationProblem, answers, other_actions, pose_problems, shown_at
from .region import least
from .rounding import score_slack
from .splitting import Boxes, Tiles, balls_of, batches, best_of_each, halved, tiled, tiled_boxes, untiled, whole, widest
from .trees import verdicts_of_trees

MAX_BOXES = 10_000  # per observation
TIE = 1e-3  # share of the slack by which a lead that is no more than zero may be bounded


class ReachableActions(NamedTuple):
    """Verdicts on every action at every observation; exactly one of the first three is true."""

    reachable: Tensor  # [S, B, A] bool: the victim chooses the action at ``witness``, which is within the budget
    excluded: Tensor  # [S, B, A] bool: no observation within the budget provokes the action
    open: Tensor  # [S, B, A] bool: not decided
    witness: Tensor  # [S, B, A, *observation]; the true observation where the action is not known to be reachable
    boxes: Tensor  # [S, B] int64, boxes that were bounded; leaves, for trees


class _Candidates(NamedTuple):
    """Points that may cause an action."""

    owner: Tensor  # [n]
    action: Tensor  # [n]
    lead: Tensor  # [n], of the action over the best other one, in float64
    point: Tensor  # [D, n], normalized features


class _Bounded(NamedTuple):
    """What bounds say of N boxes and R = A - 1 actions, all but the observation's own."""

    low: Tensor  # [R, N], lower bound of the rival's score minus the action's, less the slack
    slack: Tensor  # [R, N], for rounding
    rival: Tensor  # [R, N], the action whose score leads at the center
    spread: Tensor  # [D, R, N], change of the bound over every side


@torch.no_grad()
def reachable_actions(
    victim: Victim, obs: Given, budget: Budget | float, *, max_boxes: int = MAX_BOXES
) -> ReachableActions:
    """Decide for every action whether an observation within the budget makes the victim choose it greedily.

    The budget's box is split, first where the bound of a score difference varies most, until every part is decided:
    linear bounds exclude an action from a box where another action's score is larger throughout; the centers and the
    points that minimize the bounds are shown to the victim, whose own ``act`` proves an action reachable.

    The verdicts hold for the victim as computed in floating point, in any order of summation: an action is excluded
    only beyond the rounding error of the victim and of the bounds. Actions whose lead stays within that error, for
    example where two scores are equal on a whole region, remain open, and so does what ``max_boxes`` leaves undecided.

    Args:
        victim: an agent of rlkit with fully connected networks, ``SB3Policy`` with MlpPolicy, ``Stacked``,
            ``ModuleVictim`` of linear layers with relu and tanh, or ``DecisionTrees``, which are decided exactly.
        obs: true observations ``[S, B, *observation]``, floating.
        budget: any norm, scale, mask and bounds; a number is epsilon of the norm "inf" in raw units.
        max_boxes: largest number of boxes per observation, at least 1.

    Raises:
        ValueError: the victim is of another kind (see ``extract_layers``), its scores are not finite, observations do
            not fit or are integers, or max_boxes is below 1.

    Source: branch and bound by input splitting (Wang et al. 2018, "Formal security analysis of neural networks using
    symbolic intervals") with the linear bounds of Zhang et al. 2018 ("CROWN").
    """
    if max_boxes < 1:
        raise ValueError(f"max_boxes must be at least 1, got {max_boxes}")
    asked, true, limit, _, _ = posed(victim, obs, budget)
    if isinstance(asked.victim, DecisionTrees):
        return _of_trees(asked.victim, true, limit)
    parts = [_decide(problem, max_boxes) for problem in pose_problems(asked, true, limit)]
    return ReachableActions(*(torch.cat(part, dim=1) for part in zip(*parts, strict=True)))


def _of_trees(trees: DecisionTrees, obs: Tensor, budget: Budget) -> ReachableActions:
    reachable, excluded, witness = verdicts_of_trees(trees, obs, budget)
    leaves = torch.full(obs.shape[:2], trees.action.shape[1], device=obs.device)
    return ReachableActions(reachable, excluded, ~(reachable | excluded), witness, leaves)


def _decide(problem: VerificationProblem, max_boxes: int) -> ReachableActions:
    stack, (rows, count) = problem.stack, problem.obs.shape[:2]
    total, actions = rows * count, stack.num_actions
    device = problem.obs.device
    own = problem.victim.act(problem.obs, True).flatten()
    reachable = torch.nn.functional.one_hot(own, actions).bool()  # [O, A]
    stuck = torch.zeros_like(reachable)  # part of the region cannot be decided
    witness = problem.obs.reshape(total, 1, -1).repeat(1, actions, 1)  # [O, A, D]
    used = torch.zeros(total, dtype=torch.int64, device=device)
    live = ~reachable  # [N, A], actions that are still to be decided in a box
    boxes = whole(problem.region).pick(live.any(dim=1))  # none if there is one action only
    while len(boxes.owner):
        used += torch.bincount(boxes.owner, minlength=total)
        bounded, candidates = _bound(problem, boxes, own, live)
        _show(problem, candidates, reachable, witness)
        others = other_actions(own[boxes.owner], actions)  # [R, N]
        undecided = live.mT.gather(0, others) & ~reachable[boxes.owner].mT.gather(0, others) & (bounded.low <= 0)
        bounded = _sharpened(problem, boxes, bounded, others, undecided)
        undecided &= bounded.low <= 0
        # nowhere in the box is the action ahead but for rounding, and the bound varies by less: splitting cannot help
        tie = undecided & (bounded.low >= -(1.0 + TIE) * bounded.slack) & (bounded.spread.sum(dim=0) <= bounded.slack)
        along, splittable = widest(boxes, torch.where(undecided & ~tie, bounded.spread, 0.0).amax(dim=1))
        full = (used + 2 * torch.bincount(boxes.owner, minlength=total) > max_boxes)[boxes.owner]
        given_up = tie | (undecided & (full | ~splittable))
        _mark(stuck, boxes.owner, others, given_up)
        undecided &= ~given_up
        keep = undecided.any(dim=0)
        parts, parent = halved(boxes.pick(keep), along[keep], problem.region.balls)
        live = torch.zeros_like(live[: len(boxes.owner)]).mT.scatter(0, others, undecided).mT[keep][parent]
        boxes = parts
    stuck &= ~reachable
    shape = (rows, count, actions)
    return ReachableActions(
        reachable.view(shape),
        ~(reachable | stuck).view(shape),
        stuck.view(shape),
        witness.view(*shape, *problem.obs.shape[2:]),
        used.view(rows, count),
    )


def _bound(problem: VerificationProblem, boxes: Boxes, own: Tensor, live: Tensor) -> tuple[_Bounded, _Candidates]:
    """Bound the lead of another action over every one, and collect points where an action may be chosen."""
    found = []
    for tiles in batches(problem.stack, problem.row_of[boxes.owner]):
        found.append(_bound_batch(problem, boxes, own, live, tiles))
    bounds, candidates = zip(*found, strict=True)
    return (
        _Bounded(*(torch.cat(part, dim=-1) for part in zip(*bounds, strict=True))),
        _Candidates(*(torch.cat(part, dim=-1) for part in zip(*candidates, strict=True))),
    )


def _sharpened(
    problem: VerificationProblem, boxes: Boxes, bounded: _Bounded, others: Tensor, undecided: Tensor
) -> _Bounded:
    """Replace the slack of the region by the smaller one of the box where that may decide."""
    near = (undecided & (bounded.low >= -2.0 * bounded.slack)).any(dim=0).nonzero()[:, 0]
    if not len(near):
        return bounded
    part = boxes.pick(near)
    found = [
        untiled(score_slack(problem.stack, tiles.row, *tiled_boxes(part, tiles)), tiles)
        for tiles in batches(problem.stack, problem.row_of[part.owner])
    ]
    every = torch.cat(found, dim=-1)  # [A, A, n]
    sharp = every[bounded.rival[:, near], others[:, near], torch.arange(len(near), device=near.device)]
    sharp = torch.minimum(sharp, bounded.slack[:, near])
    low, slack = bounded.low.clone(), bounded.slack.clone()
    low[:, near] += slack[:, near] - sharp
    slack[:, near] = sharp
    return bounded._replace(low=low, slack=slack)


def _bound_batch(
    problem: VerificationProblem, boxes: Boxes, own: Tensor, live: Tensor, tiles: Tiles
) -> tuple[_Bounded, _Candidates]:
    layers = TileLayers.of(problem.stack, tiles.row)
    low, high = tiled_boxes(boxes, tiles)  # [T, D, K]
    center, radius = (low + high) / 2, (high - low) / 2
    scores = scores_at(layers, center)  # [T, A, K]
    owner = boxes.owner[tiles.box]  # [T, K]
    actions = scores.shape[1]
    others = other_actions(own[owner.flatten()], actions).view(-1, *owner.shape).movedim(0, 1)  # [T, R, K]
    every = torch.arange(actions, device=scores.device)[None, :, None, None]
    is_other = every == others[:, None]  # [T, A, R, K]
    # the rival that leads at the center; any rival gives a bound
    rival = scores[:, :, None].masked_fill(is_other, -torch.inf).argmax(dim=1)  # [T, R, K]
    combination = (every == rival[:, None]).to(scores) - is_other.to(scores)
    bounds = bound_below(layers, relax(layers, center, radius), combination)
    slopes = untiled(bounds.slopes, tiles)  # [D, R, n]
    constant, interval = untiled(bounds.constant, tiles), untiled(bounds.interval, tiles)
    mine = owner[tiles.filled]
    low, high, rival, others = (untiled(x, tiles) for x in (low, high, rival, others))
    balls = None if problem.region.balls is None else balls_of(problem.region.balls, mine)
    lowest, points = least(slopes, low, high, balls)
    slack = problem.slack[rival, others, mine]
    value = torch.maximum(constant + lowest, interval) - slack
    bounded = _Bounded(value, slack, rival, slopes.abs() * (high - low)[:, None])
    # the center and the minimizers of the bounds, where an action is not decided yet
    at_points = torch.stack([untiled(scores_at(layers, tiled(p, tiles)), tiles) for p in points.unbind(1)], dim=1)
    asked = torch.where(live[tiles.box[tiles.filled]].mT.gather(0, others), -slack, torch.inf)
    middle, at_middle = (untiled(x, tiles)[:, None] for x in (center, scores))
    found = (
        _ahead(middle.expand(points.shape), at_middle.expand(at_points.shape), others, asked, mine),
        _ahead(points, at_points, others, asked, mine),
    )
    return bounded, _Candidates(*(torch.cat(part, dim=-1) for part in zip(*found, strict=True)))


def _ahead(points: Tensor, scores: Tensor, others: Tensor, least_lead: Tensor, owner: Tensor) -> _Candidates:
    """Collect the points ``[D, R, n]`` whose scores ``[A, R, n]`` put action r ahead of all others, up to rounding."""
    lead = scores.gather(0, others[None])[0] - scores.scatter(0, others[None], -torch.inf).amax(dim=0)  # [R, n]
    r, n = (lead >= least_lead).nonzero().unbind(1)
    return _Candidates(owner[n], others[r, n], lead[r, n], points[:, r, n])


def _show(problem: VerificationProblem, candidates: _Candidates, reachable: Tensor, witness: Tensor) -> None:
    """Show the victim the best candidate of every observation and action, and record those that it falls for."""
    if not len(candidates.owner):
        return
    best = best_of_each(candidates.owner * reachable.shape[1] + candidates.action, candidates.lead)
    owner, action = candidates.owner[best], candidates.action[best]
    shown = shown_at(problem, candidates.point[:, best], owner)
    provoked = answers(problem, lambda x: problem.victim.act(x, True), shown, owner) == action
    reachable[owner[provoked], action[provoked]] = True
    witness[owner[provoked], action[provoked]] = shown[provoked].flatten(1)


def _mark(stuck: Tensor, owner: Tensor, others: Tensor, given_up: Tensor) -> None:
    number = given_up.nonzero()
    stuck[owner[number[:, 1]], others[number[:, 0], number[:, 1]]] = True
