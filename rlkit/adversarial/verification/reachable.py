"""Complete verification: which actions can the observations within a budget provoke?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlkit.arrays import Given, refuse_nonfinite

from ..attacks.base import posed
from ..budget import Budget
from ..victims.base import IsolatedVictim, Victim, scores_of
from ..victims.decision_trees import DecisionTrees
from .bounds import bound_below, relax, scores_at, tile_layers
from .layers import LayerStack, extract_layers
from .region import Region, least, observations_at, region_of
from .rounding import score_slack
from .splitting import Boxes, Tiles, balls_of, batches, halved, tiled_boxes, untiled, whole
from .trees import verdicts_of_trees

MAX_BOXES = 10_000  # per observation
WITNESSES = 64  # observations that the victim is asked about at once


class ReachableActions(NamedTuple):
    """Verdicts on every action at every observation; exactly one of the first three is true."""

    reachable: Tensor  # [S, B, A] bool: the victim chooses the action at ``witness``, which is within the budget
    excluded: Tensor  # [S, B, A] bool: no observation within the budget provokes the action
    open: Tensor  # [S, B, A] bool: not decided
    witness: Tensor  # [S, B, A, *observation]; the true observation where the action is not known to be reachable
    boxes: Tensor  # [S, B] int64, boxes that were bounded; leaves, for trees


class _Problem(NamedTuple):
    """What stays the same while boxes are split; O = S B observations."""

    victim: IsolatedVictim
    stack: LayerStack
    obs: Tensor  # [S, B, *observation]
    budget: Budget
    region: Region
    slack: Tensor  # [A, A, O]
    own: Tensor  # [O], the action at the true observation


class _Candidates(NamedTuple):
    """Points that may provoke an action."""

    owner: Tensor  # [n]
    action: Tensor  # [n]
    lead: Tensor  # [n], of the action over the best other one, in float64
    point: Tensor  # [D, n], normalized features


class _Bounded(NamedTuple):
    """What bounds say of N boxes and R = A - 1 actions, all but the observation's own."""

    low: Tensor  # [R, N], lower bound of the rival's score minus the action's, less the slack
    slack: Tensor  # [R, N]
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
    problem = _problem(asked, true, limit)
    return _decide(problem, max_boxes)


def _of_trees(trees: DecisionTrees, obs: Tensor, budget: Budget) -> ReachableActions:
    reachable, excluded, witness = verdicts_of_trees(trees, obs, budget)
    leaves = torch.full(obs.shape[:2], trees.action.shape[1], device=obs.device)
    return ReachableActions(reachable, excluded, ~(reachable | excluded), witness, leaves)


def _problem(victim: IsolatedVictim, obs: Tensor, budget: Budget) -> _Problem:
    stack = extract_layers(victim)
    if (len(obs), obs[0, 0].numel()) != (len(stack.weights[0]), stack.num_features):
        raise ValueError(
            f"obs must be [{len(stack.weights[0])}, B, ...] with {stack.num_features} features for this victim, got "
            f"{list(obs.shape)}"
        )
    refuse_nonfinite(scores_of(victim, obs), "the victim's scores")
    region = region_of(stack, obs, budget)
    own = victim.act(obs, True).flatten()
    return _Problem(victim, stack, obs, budget, region, score_slack(stack, region), own)


def _decide(problem: _Problem, max_boxes: int) -> ReachableActions:
    stack, (rows, count) = problem.stack, problem.obs.shape[:2]
    total, actions = rows * count, stack.num_actions
    device = problem.obs.device
    reachable = torch.nn.functional.one_hot(problem.own, actions).bool()  # [O, A]
    stuck = torch.zeros_like(reachable)  # part of the region cannot be decided
    witness = problem.obs.reshape(total, 1, -1).repeat(1, actions, 1)  # [O, A, D]
    used = torch.zeros(total, dtype=torch.int64, device=device)
    boxes = whole(problem.region)
    live = ~reachable  # [N, A], actions that are still to be decided in a box
    while len(boxes.owner):
        used += torch.bincount(boxes.owner, minlength=total)
        bounded, candidates = _bound(problem, boxes, live)
        _show(problem, candidates, reachable, witness)
        others = _others(problem.own[boxes.owner], actions)  # [R, N]
        undecided = live.mT.gather(0, others) & ~reachable[boxes.owner].mT.gather(0, others) & (bounded.low <= 0)
        # nowhere in the box is the action ahead by more than rounding: splitting cannot decide it
        tie = undecided & (bounded.low >= -2.0 * bounded.slack) & (bounded.spread.sum(dim=0) <= bounded.slack)
        along, splittable = _side(boxes, bounded, undecided & ~tie)
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


def _bound(problem: _Problem, boxes: Boxes, live: Tensor) -> tuple[_Bounded, _Candidates]:
    """Bound the lead of another action over every one, and collect points where an action may be chosen."""
    found = []
    count = problem.obs.shape[1]
    for tiles in batches(problem.stack, torch.div(boxes.owner, count, rounding_mode="floor")):
        found.append(_bound_batch(problem, boxes, live, tiles))
    bounds, candidates = zip(*found, strict=True)
    return (
        _Bounded(*(torch.cat(part, dim=-1) for part in zip(*bounds, strict=True))),
        _Candidates(*(torch.cat(part, dim=-1) for part in zip(*candidates, strict=True))),
    )


def _bound_batch(problem: _Problem, boxes: Boxes, live: Tensor, tiles: Tiles) -> tuple[_Bounded, _Candidates]:
    layers = tile_layers(problem.stack, tiles.row)
    low, high = tiled_boxes(boxes, tiles)  # [T, D, K]
    center, radius = (low + high) / 2, (high - low) / 2
    scores = scores_at(layers, center)  # [T, A, K]
    owner = boxes.owner[tiles.box]  # [T, K]
    actions = scores.shape[1]
    others = _others(problem.own[owner.flatten()], actions).view(-1, *owner.shape).movedim(0, 1)  # [T, R, K]
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
    bounded = _Bounded(value, slack, slopes.abs() * (high - low)[:, None])
    return bounded, _candidates(problem, layers, tiles, live, (center, scores), (points, others, slack, mine))


def _candidates(
    problem: _Problem, layers: Any, tiles: Tiles, live: Tensor, centers: tuple[Tensor, Tensor], ends: tuple
) -> _Candidates:
    """Points whose scores in float64 put a live action ahead of all others, up to rounding."""
    points, others, slack, mine = ends  # [D, R, n], [R, n], [R, n], [n]
    center, scores = centers
    asked = live[tiles.box[tiles.filled]].mT.gather(0, others)
    at_points = torch.stack([untiled(scores_at(layers, _tiled(p, tiles)), tiles) for p in points.unbind(1)], dim=1)
    found = []
    in_tiles = untiled(center, tiles)[:, None].expand(points.shape)
    for where, at in ((in_tiles, untiled(scores, tiles)[:, None].expand(at_points.shape)), (points, at_points)):
        own = at.gather(0, others[None])[0]  # [R, n]
        best = at.scatter(0, others[None], -torch.inf).amax(dim=0)
        lead = own - best
        hit = asked & (lead >= -slack)
        number = hit.nonzero()
        r, n = number[:, 0], number[:, 1]
        found.append((mine[n], others[r, n], lead[r, n], where[:, r, n]))
    return _Candidates(*(torch.cat(part, dim=-1) for part in zip(*found, strict=True)))


def _tiled(points: Tensor, tiles: Tiles) -> Tensor:
    """``[D, n]`` in tiles, ``[T, D, TILE]``; unfilled places hold zeros."""
    places = torch.zeros(len(points), *tiles.filled.shape, dtype=points.dtype, device=points.device)
    places[:, tiles.filled] = points
    return places.movedim(0, 1).contiguous()


def _show(problem: _Problem, candidates: _Candidates, reachable: Tensor, witness: Tensor) -> None:
    """Show the victim the best candidate of every observation and action, and record those that it falls for."""
    if not len(candidates.owner):
        return
    actions, (rows, count) = reachable.shape[1], problem.obs.shape[:2]
    key = candidates.owner * actions + candidates.action
    order = candidates.lead.argsort(descending=True, stable=True)
    order = order[key[order].argsort(stable=True)]
    first = torch.ones_like(order, dtype=torch.bool)
    first[1:] = key[order][1:] != key[order][:-1]
    chosen = order[first]  # ascending in owner
    owner, action = candidates.owner[chosen], candidates.action[chosen]
    row = torch.div(owner, count, rounding_mode="floor")
    shown = observations_at(problem.stack, candidates.point[:, chosen], row, problem.obs)
    # the victim answers in batches of one size, so that the answers of a row do not depend on the other rows
    per_row = torch.bincount(row, minlength=rows)
    place = torch.arange(len(row), device=row.device) - (per_row.cumsum(0) - per_row)[row]
    for start in range(0, int(per_row.max()), WITNESSES):
        part = (place >= start) & (place < start + WITNESSES)
        at = (row[part], place[part] - start)
        true = problem.obs[:, :1].repeat(1, WITNESSES, *(1,) * (problem.obs.dim() - 2))
        true[at] = problem.obs.flatten(0, 1)[owner[part]]
        proposed = true.clone()
        proposed[at] = shown[part]
        epsilon = problem.budget.per_example(problem.obs).reshape(rows, count)
        its = epsilon[:, :1].repeat(1, WITNESSES)
        its[at] = epsilon.flatten()[owner[part]]
        projected = replace(problem.budget, epsilon=its).project(true, proposed)
        provoked = problem.victim.act(projected, True)[at] == action[part]
        who, what = owner[part][provoked], action[part][provoked]
        reachable[who, what] = True
        witness[who, what] = projected[at][provoked].flatten(1)


def _others(own: Tensor, actions: int) -> Tensor:
    """All actions but the own one of every box ``[N]``, ascending: ``[A - 1, N]``."""
    number = torch.arange(actions - 1, device=own.device)[:, None]
    return number + (number >= own)


def _side(boxes: Boxes, bounded: _Bounded, asked: Tensor) -> tuple[Tensor, Tensor]:
    """The feature along which the bounds of undecided actions vary most, ``[N]``, and whether halving it helps."""
    spread = torch.where(asked, bounded.spread, 0.0).amax(dim=1)  # [D, N]
    middle = (boxes.low + boxes.high) / 2
    divisible = (boxes.low < middle) & (middle < boxes.high)
    # the width breaks ties of features without slope
    width = boxes.high - boxes.low
    along = torch.where(divisible, spread + 1e-12 * width, -1.0).argmax(dim=0)
    return along, divisible.any(dim=0)


def _mark(stuck: Tensor, owner: Tensor, others: Tensor, given_up: Tensor) -> None:
    number = given_up.nonzero()
    stuck[owner[number[:, 1]], others[number[:, 0], number[:, 1]]] = True
