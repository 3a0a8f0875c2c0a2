"""Attacks on observations: what every one of them is, and the two ways to run one.

An attack proposes; ``perturb`` projects the proposal into the budget, and ``execute`` asks the victim again, so no
attack can overspend or claim a success that is not there (the contract of Foolbox, Rauber et al. 2017). ``sweep`` runs
one at many epsilons in a single batch. Randomness is data: an attack says how many uniform numbers it needs per
example and is a pure function of them.

Given a target action per example, an attack makes the victim choose it; without one, it makes the victim leave its own
greedy action.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..budget import Budget, apart, tiled
from ..objectives import margin
from ..victims.base import Access, QueryCounter, Victim, scores_of


class Attack(Protocol):
    """A way to spend a budget."""

    @property
    def name(self) -> str:
        """How reports call it."""
        ...

    @property
    def access(self) -> Access:
        """The most that ``propose`` asks of the victim."""
        ...

    def noise_width(self, num_features: int) -> int:
        """How many uniform numbers ``propose`` needs per example of D features."""
        ...

    def propose(self, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None, target: Tensor | None) -> Tensor:
        """What to show instead of ``obs [S, B, *observation]``; it need not be within the budget.

        Args:
            victim: under attack.
            obs: true observations.
            budget: what may be spent.
            u: uniforms on [0, 1) ``[S, B, noise_width]``; None where none are needed.
            target: actions ``[S, B]`` that the victim shall choose; None to make it leave its own.
        """
        ...


class AttackResult(NamedTuple):
    """What an attack achieved on every example; of ``sweep``, with an axis of L epsilons in front."""

    obs: Tensor  # [S, B, *observation], within the budget
    success: Tensor  # [S, B] bool, the victim's greedy action at it is another one, or the target
    margin: Tensor  # [S, B], how far the best other action, or the target, leads there; NaN of a victim without scores
    distance: Tensor  # [S, B], the epsilon that it took
    queries: int  # how often the victim was asked about every example, those of the evaluation included


def perturb(
    attack: Attack,
    victim: Victim,
    obs: Tensor,
    budget: Budget,
    u: Tensor | None = None,
    target: Tensor | None = None,
) -> Tensor:
    """What the attack shows, within the budget: ``[S, B, *observation]`` of the true ones.

    Args:
        attack: proposes.
        victim: the policy under attack; ``attack.access`` says whether ``act`` is enough.
        obs: true observations ``[S, B, *observation]``.
        budget: what may be spent.
        u: uniforms on [0, 1) ``[S, B, attack.noise_width(D)]``; None for an attack that needs none.
        target: actions ``[S, B]`` int64 that the victim shall choose, of any policy of the attacker's; None to make it
            leave its own greedy action.

    Raises:
        ValueError: observations that the budget does not fit (``Budget.check``), u or target of another shape, target
            actions that the victim has not, or a victim that cannot answer what the attack asks.
    """
    budget.check(obs)
    _check_access(attack, victim)
    width = attack.noise_width(math.prod(obs.shape[2:]))
    if (width > 0 or u is not None) and (u is None or u.shape != (*obs.shape[:2], width)):
        raise ValueError(
            f"{attack.name} needs uniform numbers of shape {[*obs.shape[:2], width]}, got "
            f"{'none' if u is None else list(u.shape)}: draw them from Stream(seeds, 'attack', width, copies)"
        )
    if target is not None:
        _check_target(target, obs)
    with torch.no_grad():
        return budget.project(obs, attack.propose(victim, obs, budget, u, target))


def achieved(action: Tensor, own: Tensor, target: Tensor | None) -> Tensor:
    """Whether an action is the target, or another than the victim's own at the truth: ``[S, B]`` all."""
    return action != own if target is None else action == target


@torch.no_grad()
def execute(
    attack: Attack,
    victim: Victim,
    obs: Tensor,
    budget: Budget,
    u: Tensor | None = None,
    target: Tensor | None = None,
) -> AttackResult:
    """Attack every observation once and ask the victim what it does.

    Arguments and errors are those of ``perturb``.

    Warns:
        RuntimeWarning: the victim answers one observation in two ways: success is then a matter of luck.
    """
    _check_access(attack, victim)
    counted = QueryCounter(victim)
    shown = perturb(attack, counted, obs, budget, u, target)
    action, own = counted.act(shown, True), counted.act(obs, True)
    success = achieved(action, own, target)
    if hasattr(victim, "scores"):
        scores = scores_of(counted, shown)
        lead = margin(scores, own) if target is None else -margin(scores, target)
    else:
        lead = torch.full(success.shape, math.nan, dtype=torch.float32, device=obs.device)
    queries = counted.asked // max(own.numel(), 1)
    warn_if_stochastic(victim, obs, own)
    return AttackResult(shown, success, lead, budget.distance(obs, shown), queries)


def sweep(
    attack: Attack,
    victim: Victim,
    obs: Tensor,
    budget: Budget,
    epsilons: Sequence[float],
    u: Tensor | None = None,
    target: Tensor | None = None,
) -> AttackResult:
    """``execute`` at L epsilons as one batch, side by side along the copies: every field ``[L, S, B, ...]``.

    Args:
        attack: proposes.
        victim: under attack.
        obs: true observations ``[S, B, *observation]``.
        budget: norm, scale, mask and bounds; its epsilon is not used.
        epsilons: L of them, in units of the budget's scale.
        u: uniforms ``[S, B, attack.noise_width(D)]``, the same for every epsilon.
        target: actions ``[S, B]``, the same for every epsilon.

    Raises:
        ValueError: no epsilon, one that is negative, NaN or infinite, and what ``perturb`` refuses.
    """
    count = len(epsilons)
    if count == 0:
        raise ValueError("epsilons must hold at least one number, got none")
    each = torch.as_tensor(epsilons, dtype=torch.float64).repeat_interleave(obs.shape[1]).to(obs)  # [L B]
    numbers, aims = (None if x is None else tiled(x, count) for x in (u, target))
    result = execute(attack, victim, tiled(obs, count), replace(budget, epsilon=each), numbers, aims)

    def by_epsilon(x: Tensor) -> Tensor:
        return apart(x, count).movedim(1, 0)  # [L, S, B, ...]

    shown, success, lead, distance, queries = result
    return AttackResult(by_epsilon(shown), by_epsilon(success), by_epsilon(lead), by_epsilon(distance), queries)


def warn_if_stochastic(victim: Victim, obs: Tensor, action: Tensor) -> None:
    """Ask the victim again for its greedy actions ``[S, B]`` and say so if they are others.

    Warns:
        RuntimeWarning: they are.
    """
    changed = victim.act(obs, True) != action
    if changed.any():
        warnings.warn(
            f"{type(victim).__name__} gave two answers to {int(changed.sum(dim=(0, 1)))} of {changed.numel()} same "
            "observations: it is stochastic and was attacked as if it were not, so what counts as a flip is partly "
            "luck. Make act(obs, deterministic=True) deterministic",
            RuntimeWarning,
            stacklevel=3,
        )


def _check_access(attack: Attack, victim: Victim) -> None:
    if attack.access in ("scores", "gradients") and not hasattr(victim, "scores"):
        raise ValueError(
            f"{attack.name} needs the victim's scores(obs), which {type(victim).__name__} has not: add the method, or "
            "use an attack that needs actions only, such as Noise"
        )


def _check_target(target: Tensor, obs: Tensor) -> None:
    if target.shape != obs.shape[:2] or target.dtype != torch.int64:
        raise ValueError(
            f"target must hold an action for every example, int64 {list(obs.shape[:2])}, got {target.dtype} "
            f"{list(target.shape)}"
        )
    if (target < 0).any():
        raise ValueError(f"target actions must not be negative, got {int(target.amin(dim=(0, 1)))}")
