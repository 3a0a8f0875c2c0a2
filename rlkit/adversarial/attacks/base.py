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

from rlkit.arrays import Given, as_actions, as_numbers, as_observations, as_uniforms, refuse_nonfinite
from rlkit.types import Policy

from ..budget import Budget, apart, as_budget, per_feature, tiled
from ..objectives import margin
from ..victims.base import Access, IsolatedVictim, QueryCounter, Victim, isolated, name_of, scores_of


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
    obs: Given,
    budget: Budget | float,
    u: Given | None = None,
    target: Given | None = None,
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
    victim, obs, budget, u, target = posed(victim, obs, budget, u, target, finite=False)
    _check_access(attack, victim)
    width = attack.noise_width(math.prod(obs.shape[2:]))
    if (width > 0 or u is not None) and (u is None or u.shape != (*obs.shape[:2], width)):
        raise ValueError(
            f"{attack.name} needs uniform numbers of shape {[*obs.shape[:2], width]}, got "
            f"{'none' if u is None else list(u.shape)}: draw them from Stream(seeds, 'attack', width, copies)"
        )
    with torch.no_grad():
        # copies: an attack may compute in place
        numbers, aim = (None if each is None else each.clone() for each in (u, target))
        proposed = attack.propose(victim, obs.clone(), budget, numbers, aim)
        shown = budget.project(obs, proposed.to(obs.dtype))
        finite = shown.isfinite().flatten(2).all(dim=-1)
        return torch.where(per_feature(finite, obs), shown, obs)


class PosedAttack(NamedTuple):
    """What an attack is asked, as tensors and objects of rlkit."""

    victim: IsolatedVictim
    obs: Tensor  # [S, B, *observation], floating
    budget: Budget
    u: Tensor | None  # [S, B, w]
    target: Tensor | None  # [S, B] int64


def posed(
    victim: Victim,
    obs: Given,
    budget: Budget | float,
    u: Given | None = None,
    target: Given | None = None,
    finite: bool = True,
) -> PosedAttack:
    """Convert what an attack or a measure is given.

    Args:
        victim: the policy under attack, or a model of stable-baselines3.
        obs: true observations ``[S, B, *observation]``, ``[B, *observation]`` or one, see ``rlkit.arrays``.
        budget: what may be spent; a number is epsilon of the norm "inf" in raw units.
        u: uniforms ``[S, B, w]``.
        target: actions ``[S, B]``, ``[B]`` or one for all.
        finite: whether to refuse NaN and infinite observations. Rollouts do not: a row whose environment gives NaN
            leaves the other rows as they are.

    Raises:
        ValueError: something that does not fit, see ``as_victim``, ``as_observations``, ``Budget.check`` and
            ``as_actions``.
    """
    asked, limit = isolated(victim), as_budget(budget)
    true = as_observations(obs, asked)
    limit.check(true)
    if finite:
        refuse_nonfinite(true, "obs")
    aim = None if target is None else as_actions(target, true, "target")
    return PosedAttack(asked, true, limit, as_uniforms(u, true), aim)


def achieved(action: Tensor, own: Tensor, target: Tensor | None) -> Tensor:
    """Whether an action is the target, or another than the victim's own at the truth: ``[S, B]`` all."""
    return action != own if target is None else action == target


@torch.no_grad()
def execute(
    attack: Attack,
    victim: Victim,
    obs: Given,
    budget: Budget | float,
    u: Given | None = None,
    target: Given | None = None,
) -> AttackResult:
    """Attack every observation once and ask the victim what it does.

    Arguments and errors are those of ``perturb``.

    Warns:
        RuntimeWarning: the victim answers one observation in two ways, so that success is partly luck; or its scores
            are not finite, so that its actions mean nothing.
    """
    victim, obs, budget, u, target = posed(victim, obs, budget, u, target)
    _check_access(attack, victim)
    counted = QueryCounter(victim.victim)
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
    warn_if_nonfinite(victim, obs)
    return AttackResult(shown, success, lead, budget.distance(obs, shown), queries)


def sweep(
    attack: Attack,
    victim: Victim,
    obs: Given,
    budget: Budget | float,
    epsilons: Sequence[float] | float,
    u: Given | None = None,
    target: Given | None = None,
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
    epsilons = as_numbers(epsilons, "epsilons")
    victim, obs, budget, u, target = posed(victim, obs, replace(as_budget(budget), epsilon=0.0), u, target)
    count = len(epsilons)
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
            f"{name_of(victim)} gave two answers to {int(changed.sum(dim=(0, 1)))} of {changed.numel()} same "
            "observations: it is stochastic and was attacked as if it were not, so what counts as a flip is partly "
            "luck. Make act(obs, deterministic=True) deterministic",
            RuntimeWarning,
            stacklevel=3,
        )


def warn_if_nonfinite(victim: Policy, obs: Tensor) -> None:
    """Ask a victim with scores for them at ``obs [S, B, *observation]`` and say where they are no numbers.

    A score of -inf marks an action that is never chosen, and is accepted. Observations that are not finite themselves
    do not count: that is not the victim's fault.

    Warns:
        RuntimeWarning: some are NaN or +inf, or all of an observation are -inf.
    """
    if not hasattr(victim, "scores"):
        return
    bad = nonfinite_scores(scores_of(isolated(victim), obs)) & obs.isfinite().flatten(2).all(dim=-1)
    if bad.any():
        rows = bad.any(dim=1).nonzero().flatten().tolist()
        warnings.warn(
            f"the scores of {name_of(victim)} are NaN or infinite at {int(bad.sum(dim=(0, 1)))} of {bad.numel()} "
            f"observations, in rows {rows}: its actions there mean nothing, and neither does what an attack achieves. "
            "Leave these rows out, or train them again",
            RuntimeWarning,
            stacklevel=3,
        )


def nonfinite_scores(scores: Tensor) -> Tensor:
    """Whether scores ``[S, B, A]`` choose no action: one is NaN or +inf, or all are -inf. ``[S, B]`` bool."""
    return scores.isnan().any(dim=-1) | scores.amax(dim=-1).isinf()


def _check_access(attack: Attack, victim: Victim) -> None:
    if attack.access in ("scores", "gradients") and not hasattr(victim, "scores"):
        raise ValueError(
            f"{attack.name} needs the victim's scores(obs), which {name_of(victim)} has not: add the method, or "
            "use an attack that needs actions only, such as Noise"
        )
