"""Tree search: attacks that plan through a deterministic simulator which actions to cause, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.arrays import Given

from ..budget import Budget, per_feature
from ..victims.base import Access, Victim, isolated
from .base import Attack, perturb
from .gradient import PGD

States = NDArray[np.floating]
Worth = Callable[[States], NDArray[np.floating]]  # states [..., k] -> the victim's return from there on, estimated

DEVIATION = 1e-3  # in units of epsilon, up to which what was planned for an observation is shown
DRIFT = 0.1  # in units of epsilon, up to which a planned action is provoked afresh; beyond, the plan is given up


class Plan(NamedTuple):
    """What to show from n observations of S rows on; H is the longest plan."""

    seen: Tensor  # [S, n, H, *observation], the true observations that the simulator predicts
    shown: Tensor  # [S, n, H, *observation]
    action: Tensor  # [S, n, H] int64, which is provoked
    length: Tensor  # [S, n] int64
    value: Tensor  # [S, n] float64, the victim's return along the plan, by the simulator, plus ``worth`` of a cut one


@dataclass(eq=False)
class TreeSearch:
    """Make a greedy victim take the actions of the worst sequence that a beam search finds.

    From every true observation of the beam a targeted attack causes each action; those that the victim then takes are
    simulated. The beam keeps the sequences of the lowest return so far plus ``worth`` of the state reached. It is an
    executed attack, no bound: sequences outside the beam, and observations that the targeted attack misses, may do more
    harm.

    A plan looks ``depth`` steps ahead, so that it asks the victim about at most ``beam * depth`` states. If every
    sequence that may still end lowest is longer, the best of them is followed, and a new plan begins at its end.
    Simulator and environment drift apart by rounding: where an observation differs slightly from the prediction, the
    planned action is caused again, and there is a new plan only where that fails or the difference is large.

    Args:
        dynamics: deterministic, with ``transition`` and ``observe`` on numpy arrays; observations are its states.
        worth: estimate of the return of a victim from a state on; it only orders the beam.
        provoke: the targeted attack; it needs no random numbers.
        beam: sequences kept per episode.
        depth: most steps that are planned at once.
        horizon: step limit of an episode; None for ``dynamics.max_steps``.
        least_reward: no step pays less; sequences that cannot end below the worst one found are dropped.

    Raises:
        ValueError: dynamics that draw noise, no step limit, a beam or a depth below 1, or an attack that needs random
            numbers.

    Source: Russo & Proutiere 2021, "Towards optimal attacks on reinforcement learning policies", for the decision
    problem; Lowerre 1976 for the beam.
    """

    dynamics: Any
    worth: Worth
    provoke: Attack = field(default_factory=lambda: PGD(10, every_action=False))
    beam: int = 16
    depth: int = 100
    horizon: int | None = None
    least_reward: float = 0.0
    access: ClassVar[Access] = "gradients"
    name: ClassVar[str] = "tree search"

    def __post_init__(self) -> None:
        steps = getattr(self.dynamics, "max_steps", None) if self.horizon is None else self.horizon
        if getattr(self.dynamics, "transition_noise", 0):
            raise ValueError(f"{type(self.dynamics).__name__} draws random numbers in a step: the search needs none")
        if steps is None or min(steps, self.beam, self.depth) < 1 or self.provoke.noise_width(1) > 0:
            raise ValueError(
                "the search needs a step limit, a beam and a depth of at least 1 and an attack without random numbers, "
                f"got {steps}, {self.beam}, {self.depth} and {self.provoke.name}"
            )
        self._steps = int(steps)
        self._plan: Plan | None = None  # of every copy
        self._begun: Tensor  # [S, B] int64, the step at which its plan begins

    def noise_width(self, num_features: int) -> int:
        """Return 0."""
        return 0

    def at(self, step: Tensor, left: Tensor) -> _Moment:
        """Return the attack at steps ``[S, B]`` of the episodes of all copies; with none left it changes nothing."""
        return _Moment(self, step, left)

    def propose(
        self, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None = None, target: Tensor | None = None
    ) -> Tensor:
        """Return the first observation of the plan from each one; arguments as in ``Attack.propose``."""
        return self.plan(victim, obs, budget, self._steps).shown[:, :, 0]

    def _follow(self, victim: Victim, obs: Tensor, budget: Budget, step: Tensor, left: Tensor) -> Tensor:
        """Return what the plan of every copy shows at steps ``[S, B]``, planning again where it does not fit."""
        if self._plan is None or self._plan.length.shape != step.shape:
            empty = obs[:, :, None][:, :, :0]
            self._plan = Plan(
                empty, empty, step[:, :, None][:, :, :0], torch.zeros_like(step), torch.zeros_like(step).double()
            )
            self._begun = torch.zeros_like(step)
        running = (left > 0) & (step < self._steps)
        shown, fits = self._planned(victim, obs, budget, step)
        stale = running & ((step == 0) | ~fits)
        if bool(stale.any()):
            self._renew(victim, obs, budget, step, stale)
            fresh, _ = self._planned(victim, obs, budget, step)
            shown = torch.where(per_feature(stale, obs), fresh, shown)
        return torch.where(per_feature(running, obs), shown, obs)

    def _planned(self, victim: Victim, obs: Tensor, budget: Budget, step: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the plans show, provoking afresh after a drift, and which plans still fit, ``[S, B]``."""
        assert self._plan is not None
        place = step - self._begun
        planned = (place >= 0) & (place < self._plan.length)
        off = budget.distance(obs, _picked(self._plan.seen, place, obs))
        shown = torch.where(per_feature(planned, obs), _picked(self._plan.shown, place, obs), obs)
        drifted = planned & (off > DEVIATION)
        if not bool(drifted.any()):
            return shown, planned
        action = _picked(self._plan.action, place, torch.zeros_like(step))
        anew = perturb(self.provoke, victim, obs, budget, None, action)
        anew = torch.where(per_feature(victim.act(obs, True) == action, obs), obs, anew)
        kept = (off <= DRIFT) & (victim.act(anew, True) == action)
        return torch.where(per_feature(drifted, obs), anew, shown), planned & (~drifted | kept)

    def _renew(self, victim: Victim, obs: Tensor, budget: Budget, step: Tensor, stale: Tensor) -> None:
        """Plan for the copies where ``stale [S, B]``, as many of every row as the row that has most."""
        assert self._plan is not None
        columns = (~stale).to(torch.uint8).argsort(dim=1, stable=True)[:, : int(stale.sum(dim=1).amax(dim=0))]
        rows = torch.arange(len(obs), device=obs.device)[:, None]
        chosen = torch.as_tensor(budget.epsilon, dtype=obs.dtype, device=obs.device).expand(step.shape)[rows, columns]
        left = (self._steps - step[rows, columns]).clamp(min=1)
        found = self.plan(victim, obs[rows, columns], replace(budget, epsilon=chosen), left)
        width = max(found.seen.shape[2], self._plan.seen.shape[2])
        wanted = stale[rows, columns]

        def renewed(old: Tensor, new: Tensor) -> Tensor:
            whole = old.clone()
            whole[rows, columns] = torch.where(
                wanted.reshape(*wanted.shape, *(1,) * (new.dim() - 2)), new, old[rows, columns]
            )
            return whole

        old, new = ((*(_widened(each, width) for each in plan[:3]), *plan[3:]) for plan in (self._plan, found))
        self._begun = torch.where(stale, step, self._begun)
        self._plan = Plan(*map(renewed, old, new))

    @torch.no_grad()
    def plan(self, victim: Victim, obs: Given, budget: Budget, steps: int | Tensor) -> Plan:
        """Search for the worst sequence of actions that can be caused from every observation on.

        Args:
            victim: acts greedily, S rows.
            obs: true observations ``[S, n, *observation]``, the states to begin from.
            budget: bounds what is shown at every step.
            steps: steps until the episode ends, a number or ``[S, n]``; at most ``depth`` of them are planned.
        """
        start = torch.as_tensor(obs)
        asked, (rows, count) = isolated(victim), start.shape[:2]
        left = np.broadcast_to(torch.as_tensor(steps).cpu().numpy(), (rows, count))[..., None, None]
        states: States = start.double().cpu().numpy().reshape(rows, count, 1, -1)  # [S, n, W, k]
        so_far = np.zeros((rows, count, 1))
        active = np.ones((rows, count, 1), bool)
        ended = [[_End(np.inf) for _ in range(count)] for _ in range(rows)]
        levels: list[_Level] = []
        epsilon = torch.as_tensor(budget.epsilon, dtype=start.dtype).expand(rows, count)
        for depth in range(self.depth):
            width = states.shape[2]
            flat = torch.from_numpy(np.array(self.dynamics.observe(states.reshape(rows, count * width, -1)))).to(start)
            shown, taken = self._provoked(asked, flat, replace(budget, epsilon=epsilon.repeat_interleave(width, dim=1)))
            actions = taken.shape[-1]
            after, reward, fallen = self._stepped(states, actions)
            total = so_far[..., None] + reward  # [S, n, W, A]
            possible = taken.reshape(total.shape) & active[..., None]
            seen = flat.reshape(rows, count, width, *start.shape[2:])
            offered = shown.reshape(rows, count, width, actions, *start.shape[2:])
            last = depth == left - 1
            _note_ends(ended, np.where(possible & (fallen | last), total, np.inf), depth)
            best = np.array([[end.value for end in row] for row in ended])[..., None, None]
            floor = min(self.least_reward, 0.0) * (left - depth - 1)
            alive = possible & ~fallen & ~last & (total + floor < best)
            key = np.where(alive, total + self.worth(after), np.inf)
            kept = np.argsort(key.reshape(rows, count, -1), axis=-1, kind="stable")[..., : self.beam]
            active = np.take_along_axis(alive.reshape(rows, count, -1), kept, axis=-1)
            levels.append(_Level(seen, offered, kept // actions, kept % actions))
            if not active.any():
                break
            if depth == self.depth - 1:
                _note_ends(ended, key, depth, cut=True)
            so_far = np.take_along_axis(total.reshape(rows, count, -1), kept, axis=-1)
            flat_after = after.reshape(rows, count, width * actions, -1)
            states = np.take_along_axis(flat_after, kept[..., None], axis=2)
        return _plan_of(start, ended, levels)

    def _provoked(self, victim: Victim, obs: Tensor, budget: Budget) -> tuple[Tensor, NDArray[np.bool_]]:
        """Try every action at observations ``[S, m, ...]``.

        Returns:
            What is shown for it, ``[S, m, A, ...]``, the truth for the victim's own action, and whether it is taken,
            ``[S, m, A]``.
        """
        own = victim.act(obs, True)
        actions = victim.scores(obs[:, :1]).shape[-1]
        others = (own[..., None] + torch.arange(1, actions, device=own.device)) % actions  # [S, m, A - 1]
        true = obs.repeat_interleave(actions - 1, dim=1)
        each = (
            torch.as_tensor(budget.epsilon, device=obs.device).expand(own.shape).repeat_interleave(actions - 1, dim=1)
        )
        proposed = perturb(self.provoke, victim, true, replace(budget, epsilon=each), None, others.flatten(1))
        hit = victim.act(proposed, True) == others.flatten(1)
        shown = obs[:, :, None].repeat(1, 1, actions, *(1,) * (obs.dim() - 2))
        place = others.reshape(*others.shape, *(1,) * (obs.dim() - 2)).expand(*others.shape, *obs.shape[2:])
        shown = shown.scatter(2, place, proposed.reshape(place.shape))
        taken = torch.ones((*own.shape, actions), dtype=torch.bool, device=own.device)
        return shown, taken.scatter(2, others, hit.reshape(others.shape)).cpu().numpy()

    def _stepped(self, states: States, actions: int) -> tuple[States, NDArray[np.floating], NDArray[np.bool_]]:
        """Take every action in states ``[..., k]``: what follows ``[..., A, k]``, rewards and ends ``[..., A]``."""
        repeated = np.repeat(states[..., None, :], actions, axis=-2)
        chosen = np.broadcast_to(np.arange(actions), repeated.shape[:-1])
        after, reward, fallen = self.dynamics.transition(repeated, chosen, np.zeros((*repeated.shape[:-1], 0)))
        return after, np.broadcast_to(reward, fallen.shape), fallen


@dataclass
class _Moment:
    """The search at given steps, as an attack of all copies."""

    search: TreeSearch
    step: Tensor
    left: Tensor
    access: ClassVar[Access] = "gradients"
    name: ClassVar[str] = "tree search"

    def noise_width(self, num_features: int) -> int:
        """Return 0."""
        return 0

    def propose(
        self, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None = None, target: Tensor | None = None
    ) -> Tensor:
        """Return what the plans show; arguments as in ``Attack.propose``."""
        return self.search._follow(victim, obs, budget, self.step, self.left)


@dataclass
class _End:
    """The worst end of a sequence found so far: its return, and its last step."""

    value: float
    depth: int = -1
    slot: int = 0
    action: int = 0


class _Level(NamedTuple):
    """One depth of the search."""

    seen: Tensor  # [S, n, W, *observation]
    offered: Tensor  # [S, n, W, A, *observation]
    parent: NDArray[np.int64]  # [S, n, W'], of the slots of the next depth
    action: NDArray[np.int64]  # [S, n, W']


def _note_ends(ended: list[list[_End]], total: NDArray[np.float64], depth: int, cut: bool = False) -> None:
    """Replace ends by better ones of this depth.

    Args:
        ended: whether the episode of every copy has ended; written.
        total: returns ``[S, n, W, A]``, infinite where nothing ends.
        depth: depth of the last step.
        cut: whether the sequences go on and may still end lower, so that they replace every end.
    """
    actions = total.shape[-1]
    flat = total.reshape(*total.shape[:2], -1)
    place, least = flat.argmin(axis=-1), flat.min(axis=-1)
    for row, ends in enumerate(ended):
        for copy, end in enumerate(ends):
            if least[row, copy] < (np.inf if cut else end.value):
                slot, action = divmod(int(place[row, copy]), actions)
                ends[copy] = _End(float(least[row, copy]), depth, slot, action)


def _plan_of(start: Tensor, ended: list[list[_End]], levels: list[_Level]) -> Plan:
    """Read the sequences of the ends backward."""
    rows, count = start.shape[:2]
    longest = max(end.depth + 1 for row in ended for end in row)
    seen = start[:, :, None].repeat(1, 1, longest, *(1,) * (start.dim() - 2))
    shown, provoked = seen.clone(), torch.zeros((rows, count, longest), dtype=torch.int64)
    for row in range(rows):
        for copy in range(count):
            end = ended[row][copy]
            slot, action = end.slot, end.action
            for depth in range(end.depth, -1, -1):
                level = levels[depth]
                seen[row, copy, depth] = level.seen[row, copy, slot]
                shown[row, copy, depth] = level.offered[row, copy, slot, action]
                provoked[row, copy, depth] = action
                if depth > 0:
                    before = levels[depth - 1]
                    slot, action = int(before.parent[row, copy, slot]), int(before.action[row, copy, slot])
    length = torch.tensor([[end.depth + 1 for end in row] for row in ended])
    value = torch.tensor([[end.value for end in row] for row in ended], dtype=torch.float64)
    return Plan(seen, shown, provoked.to(start.device), length.to(start.device), value.to(start.device))


def _picked(plan: Tensor, place: Tensor, outside: Tensor) -> Tensor:
    """Read plans ``[S, B, H, ...]`` at places ``[S, B]``; beyond their ends give ``outside [S, B, ...]``."""
    if plan.shape[2] == 0:
        return outside
    inside = (place >= 0) & (place < plan.shape[2])
    tail = (1,) * (plan.dim() - 3)
    index = place.clamp(0, plan.shape[2] - 1).reshape(*place.shape, 1, *tail).expand(-1, -1, 1, *plan.shape[3:])
    return torch.where(inside.reshape(*place.shape, *tail), plan.gather(2, index)[:, :, 0], outside)


def _widened(plan: Tensor, width: int) -> Tensor:
    """A copy of plans ``[S, B, H, ...]`` of ``width`` steps; what is added is zero and never read."""
    added = plan.new_zeros((*plan.shape[:2], width - plan.shape[2], *plan.shape[3:]))
    return torch.cat([plan, added], dim=2)
