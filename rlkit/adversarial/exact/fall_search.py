"""How soon can an adversary make a victim fail in a deterministic simulator? Bounds per start, by search.

A simulator's states are real vectors, so no table holds them. From one start, though, the adversary's choices are
sequences of the victim's actions, and complete verification says which actions it can cause in each state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..budget import Budget, as_budget
from ..verification.reachable import MAX_BOXES, reachable_actions
from ..victims.base import ModuleVictim, isolated

BATCH = 256  # sequences continued at once

States = NDArray[np.floating]
Danger = Callable[[States], NDArray[np.floating]]  # states [..., k] -> [...], larger where nearer to failing
Floor = Callable[[States], NDArray[np.integer]]  # states [..., k] -> a lower bound on the steps to any failure, >= 1


@dataclass(frozen=True, eq=False)
class FallBounds:
    """``lower <= fewest steps to a failure <= upper`` for S rows of the victim and B starts.

    The failing step counts. ``horizon`` stands for no failure within it. ``upper`` is the length of ``actions``, which
    the victim takes when it is shown ``shown``.
    """

    lower: NDArray[np.int64]  # [S, B]
    upper: NDArray[np.int64]  # [S, B]
    natural: NDArray[np.int64]  # [S, B], steps without an attack
    nodes: NDArray[np.int64]  # [S, B], states at which the victim was verified
    actions: NDArray[np.int64]  # [S, B, H], -1 after the end
    shown: Tensor = field(repr=False)  # [S, B, H, *observation]

    @property
    def closed(self) -> NDArray[np.bool_]:
        """Whether the bounds meet, ``[S, B]``; open otherwise."""
        return np.asarray(self.lower == self.upper)


def fall_bounds(
    dynamics: Any,
    victim: Any,
    starts: ArrayLike,
    budget: Budget | float,
    horizon: int | None = None,
    *,
    danger: Danger,
    floor: Floor | None = None,
    max_nodes: int = 20_000,
    beam: int = 32,
    max_boxes: int = MAX_BOXES,
) -> FallBounds:
    """Bound the fewest steps in which any adversary can make a greedy victim fail, from every start separately.

    First a beam search keeps the ``beam`` states of most ``danger`` and takes only actions that a witness causes: its
    first failure is the upper bound, and a sequence to execute. Then branch and bound continues the sequences of
    actions that are not excluded, those first that may fail soonest by ``floor``: what is open counts as reachable. The
    lower bound is the first depth at which a failure is not excluded. Where ``max_nodes`` ends the search, it is the
    least depth at which one of the remaining sequences may fail.

    Args:
        dynamics: deterministic, with ``transition`` and ``observe`` on numpy arrays, such as ``rlkit.envs.CartPole``.
        victim: acts greedily, S rows; of a kind that ``reachable_actions`` takes.
        starts: first states ``[B, k]``, in the floating dtype in which the simulator is to compute.
        budget: a number is epsilon of the norm "inf" in raw units.
        horizon: step limit; None for ``dynamics.max_steps``.
        danger: orders the states of the beam; it affects the upper bound only.
        floor: a lower bound on the steps to a failure whatever the actions; None for 1. A wrong one breaks the bound.
        max_nodes: most states to verify per start, in either search.
        beam: states kept per start.
        max_boxes: maximum number of boxes of the verification, per state.

    Raises:
        ValueError: dynamics that draw noise, no step limit, starts that are not finite or not ``[B, k]``, limits below
            1.
    """
    if getattr(dynamics, "transition_noise", 0):
        raise ValueError(f"{type(dynamics).__name__} draws random numbers in a step: the search needs none")
    steps = getattr(dynamics, "max_steps", None) if horizon is None else horizon
    if steps is None or steps < 1 or max_nodes < 1 or beam < 1:
        raise ValueError(f"horizon {steps}, max_nodes {max_nodes}, beam {beam}: give positive numbers")
    first = np.array(starts)
    first = first.astype(np.float32) if first.dtype.kind != "f" else first
    if first.ndim != 2 or not np.isfinite(first).all():
        raise ValueError(f"starts have shape {first.shape}: expected finite states [B, k]")
    rows = getattr(victim, "num_seeds", None) or 1
    limit = as_budget(budget)
    results = []
    for row in range(rows):
        game = _Simulator(dynamics, isolated(_row_of(victim, row, rows)), limit, max_boxes)
        results.append([_from_start(game, state[None], int(steps), danger, floor, max_nodes, beam) for state in first])
    return FallBounds(
        lower=np.array([[each.lower for each in row] for row in results]),
        upper=np.array([[each.upper for each in row] for row in results]),
        natural=np.array([[each.natural for each in row] for row in results]),
        nodes=np.array([[each.nodes for each in row] for row in results]),
        actions=np.array([[each.actions for each in row] for row in results]),
        shown=torch.stack([torch.stack([each.shown for each in row]) for row in results]),
    )


class _Found(NamedTuple):
    """The result of one start."""

    lower: int
    upper: int
    natural: int
    nodes: int
    actions: NDArray[np.int64]  # [H]
    shown: Tensor  # [H, *observation]


class _Expanded(NamedTuple):
    """The successors of n states."""

    possible: NDArray[np.bool_]  # [n, A], not excluded
    proven: NDArray[np.bool_]  # [n, A]
    witness: Tensor  # [n, A, *observation]
    after: States  # [n, A, k]
    failed: NDArray[np.bool_]  # [n, A]


class _Simulator:
    """The simulator and one row of the victim."""

    def __init__(self, dynamics: Any, victim: Any, budget: Budget, max_boxes: int) -> None:
        self.dynamics, self.victim, self.budget, self.max_boxes = dynamics, victim, budget, max_boxes

    def observe(self, states: States) -> Tensor:
        """Return the observations of states ``[n, k]``, ``[1, n, *observation]``."""
        obs = torch.from_numpy(np.array(self.dynamics.observe(states)))[None]
        return obs.to(getattr(self.victim, "device", None) or obs.device)

    def expand(self, states: States) -> _Expanded:
        """Verify the victim at states ``[n, k]`` and take every action."""
        found = reachable_actions(self.victim, self.observe(states), self.budget, max_boxes=self.max_boxes)
        after, failed = self.step(states, found.reachable.shape[2])
        possible, proven = ~found.excluded[0].cpu().numpy(), found.reachable[0].cpu().numpy()
        return _Expanded(possible, proven, found.witness[0], after, failed)

    def step(self, states: States, num_actions: int) -> tuple[States, NDArray[np.bool_]]:
        """Take every action in states ``[n, k]``: what follows, ``[n, A, k]``, and whether it is a failure."""
        repeated = np.repeat(states[:, None], num_actions, axis=1)
        actions = np.broadcast_to(np.arange(num_actions), repeated.shape[:2])
        after, _, failed = self.dynamics.transition(repeated, actions, np.zeros((*repeated.shape[:2], 0)))
        return after, failed


class _Tree:
    """How the states of every depth were reached, to read sequences from."""

    def __init__(self) -> None:
        self.levels: list[tuple[NDArray[np.int64], NDArray[np.int64], Tensor]] = []

    def add(self, parent: NDArray[np.int64], action: NDArray[np.int64], shown: Tensor) -> None:
        """Record one depth: parents ``[n]``, actions ``[n]``, what was shown ``[n, *observation]``."""
        self.levels.append((parent, action, shown))

    def path(self, parent: int, action: int, shown: Tensor) -> tuple[list[int], list[Tensor]]:
        """The actions and what was shown, from the start to one more step."""
        actions, seen = [action], [shown]
        for parents, taken, observed in reversed(self.levels):
            actions.append(int(taken[parent]))
            seen.append(observed[parent])
            parent = int(parents[parent])
        return actions[::-1], seen[::-1]


def _from_start(
    game: _Simulator, start: States, horizon: int, danger: Danger, floor: Floor | None, max_nodes: int, beam: int
) -> _Found:
    """Bound the fewest steps to a failure from one start ``[1, k]``."""
    natural, path = _natural(game, start, horizon)
    best, upper = path, natural
    found = _beam_search(game, start, upper, danger, max_nodes, beam)
    if found is not None:
        best, upper = found, len(found[0])
    lower, shorter, nodes = _branch_and_bound(game, start, upper, floor, max_nodes)
    if shorter is not None:
        best, upper = shorter, len(shorter[0])
    actions = np.full(horizon, -1)
    actions[: len(best[0])] = best[0]
    shown = game.observe(start)[0].repeat(horizon, *(1,) * len(best[1][0].shape))
    shown[: len(best[1])] = torch.stack(best[1])
    return _Found(lower, upper, natural, nodes, actions, shown)


Path = tuple[list[int], list[Tensor]]


def _natural(game: _Simulator, start: States, horizon: int) -> tuple[int, Path]:
    """Steps without an attack, and their actions and observations."""
    state, actions, shown = start, [], []
    for _ in range(horizon):
        obs = game.observe(state)
        action = game.victim.act(obs, True)
        state, _, failed = game.dynamics.transition(state, action[0].cpu().numpy(), np.zeros((1, 0)))
        actions.append(int(action))
        shown.append(obs[0, 0])
        if failed[0]:
            break
    return len(actions), (actions, shown)


def _beam_search(game: _Simulator, start: States, upper: int, danger: Danger, max_nodes: int, beam: int) -> Path | None:
    """A sequence of caused actions that fails in fewer than ``upper`` steps, if the beam meets one."""
    states, tree, nodes = start, _Tree(), 0
    for _ in range(upper - 1):
        nodes += len(states)
        if nodes > max_nodes:
            return None
        found = game.expand(states)
        hit = np.argwhere(found.proven & found.failed)
        if len(hit):
            sequence, last = hit[0].tolist()
            return tree.path(sequence, last, found.witness[sequence, last])
        parent, action = np.nonzero(found.proven & ~found.failed)
        ahead = found.after[parent, action]
        kept = np.argsort(-danger(ahead), kind="stable")[:beam]
        tree.add(parent[kept], action[kept], found.witness[parent[kept], action[kept]])
        states = ahead[kept]
    return None


class _Open(NamedTuple):
    """Sequences that may be continued."""

    state: States  # [n, k]
    node: NDArray[np.int64]  # [n], in the record of nodes; -1 for the start
    depth: NDArray[np.int64]  # [n], steps taken
    least: NDArray[np.int64]  # [n], no failure comes in fewer steps
    proven: NDArray[np.bool_]  # [n], whether witnesses provoke all actions

    def pick(self, which: NDArray[Any]) -> _Open:
        """Keep some of them."""
        return _Open(*(each[which] for each in self))


def _branch_and_bound(
    game: _Simulator, start: States, upper: int, floor: Floor | None, max_nodes: int
) -> tuple[int, Path | None, int]:
    """A lower bound, a sequence shorter than ``upper`` if one is found, and the nodes.

    Sequences that may fail soonest are continued first (A*; Hart, Nilsson & Raphael 1968), some at once.
    """
    one = np.ones(1, np.int64)
    waiting = _Open(start, -one, 0 * one, one if floor is None else floor(start).astype(np.int64), one > 0)
    record: list[tuple[int, int, Tensor]] = []  # parent, action, what was shown
    possible_fall, best, nodes = upper, None, 0
    while len(waiting.node) and waiting.least.min() < upper:
        soonest = int(waiting.least.min())
        if nodes >= max_nodes:
            return min(possible_fall, soonest), best, nodes
        chosen = np.flatnonzero(waiting.least == soonest)[:BATCH]
        now, waiting = waiting.pick(chosen), waiting.pick(np.delete(np.arange(len(waiting.node)), chosen))
        nodes += len(chosen)
        found = game.expand(now.state)
        proven = found.proven & now.proven[:, None]
        falls = np.argwhere(found.possible & found.failed)
        for sequence, last in falls[np.argsort(now.depth[falls[:, 0]], kind="stable")].tolist():
            depth = int(now.depth[sequence]) + 1
            possible_fall = min(possible_fall, depth)
            if proven[sequence, last] and depth < upper:
                upper = depth
                best = _path(record, int(now.node[sequence]), last, found.witness[sequence, last])
        parent, action = np.nonzero(found.possible & ~found.failed)
        ahead, depths = found.after[parent, action], now.depth[parent] + 1
        first = len(record)
        record += [
            (int(now.node[one_parent]), int(one_action), found.witness[one_parent, one_action])
            for one_parent, one_action in zip(parent, action, strict=True)
        ]
        least = depths + (1 if floor is None else floor(ahead).astype(np.int64))
        children = _Open(ahead, first + np.arange(len(parent)), depths, least, proven[parent, action])
        waiting = _Open(*(np.concatenate(pair) for pair in zip(waiting, children, strict=True)))
        # a sequence that is not proven only matters before the first fall that is not excluded
        waiting = waiting.pick(waiting.least < np.where(waiting.proven, upper, min(possible_fall, upper)))
    return min(possible_fall, upper), best, nodes


def _path(record: list[tuple[int, int, Tensor]], node: int, action: int, shown: Tensor) -> Path:
    """The actions and what was shown, from the start to one step after a node."""
    actions, seen = [action], [shown]
    while node >= 0:
        node, taken, observed = record[node]
        actions.append(taken)
        seen.append(observed)
    return actions[::-1], seen[::-1]


def _row_of(victim: Any, row: int, rows: int) -> Any:
    """One row of a victim."""
    if rows == 1:
        return victim
    if isinstance(victim, ModuleVictim):
        return ModuleVictim(victim.modules[row], victim.scores_are_values)
    return victim[row]
