"""The interface of attacks on observations, and the functions that run one.

An attack proposes observations. ``perturb`` projects them into the budget and ``execute`` queries the victim again, so
an attack can neither exceed its budget nor report a false success (as in Foolbox, Rauber et al. 2017). ``sweep`` runs
an attack at many epsilons in one batch. Randomness is data: an attack states how many uniforms it needs per example
and is a pure function of them.

With a target action per example, an attack tries to make the victim choose it. Without one, it tries to make the
victim choose any other action than its own greedy one.
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
from ..checks import as_attack
from ..objectives import margin
from ..victims.base import Access, IsolatedVictim, QueryCounter, Victim, isolated, name_of, scores_of


class Attack(Protocol):
    """An algorithm that proposes observations to show."""

    @property
    def name(self) -> str:
        """Name in reports."""
        ...

    @property
    def access(self) -> Access:
        """The access to the victim that ``propose`` needs: nothing, actions, scores or gradients."""
        ...

    def noise_width(self, num_features: int) -> int:
        """Return how many uniforms ``propose`` needs per example of D features."""
        ...

    def propose(self, victim: Victim, obs: Tensor, budget: Budget, u: Tensor | None, target: Tensor | None) -> Tensor:
        """Propose observations to show, ``[S, B, *observation]``; they need not be within the budget.

        Args:
            victim: the policy under attack.
            obs: true observations ``[S, B, *observation]``.
            budget: bounds the difference between shown and true observations.
            u: uniforms on [0, 1) ``[S, B, noise_width]``; None where none are needed.
            target: target actions ``[S, B]``; None for any action other than the victim's own.
        """
        ...


class AttackResult(NamedTuple):
    """Result of an attack on every example; ``sweep`` adds an axis of L epsilons in front."""

    obs: Tensor  # [S, B, *observation], shown, within the budget
    success: Tensor  # [S, B] bool, whether the victim's greedy action at ``obs`` is another one, or the target
    margin: Tensor  # [S, B], lead of the best other action, or of the target; NaN where the victim has no scores
    distance: Tensor  # [S, B], epsilon needed to show ``obs``
    queries: int  # queries of the victim per example, including those of the evaluation


def perturb(
    attack: Attack,
    victim: Victim,
    obs: Given,
    budget: Budget | float,
    u: Given | None = None,
    target: Given | None = None,
) -> Tensor:
    """Return the observations that the attack shows, projected into the budget: ``[S, B, *observation]``.

    Args:
        attack: proposes observations.
        victim: the policy under attack; ``attack.access`` tells whether it needs scores.
        obs: true observations ``[S, B, *observation]``.
        budget: bounds the difference between shown and true observations; a number is epsilon of the norm "inf" in raw
            units.
        u: uniforms on [0, 1) ``[S, B, attack.noise_width(D)]``; None for an attack that needs none.
        target: target actions ``[S, B]`` int64; None for any action other than the victim's own greedy one.

    Raises:
        ValueError: the observations do not fit the budget (``Budget.check``), u or target has another shape, a target
            is not an action of the victim, the victim lacks the access that the attack needs, or the attack is a name
            or a class.
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
        # copies, because an attack may compute in place
        numbers, aim = (None if each is None else each.clone() for each in (u, target))
        proposed = attack.propose(victim, obs.clone(), budget, numbers, aim)
        shown = budget.project(obs, proposed.to(obs.dtype))
        finite = shown.isfinite().flatten(2).all(dim=-1)
        return torch.where(per_feature(finite, obs), shown, obs)


class PosedAttack(NamedTuple):
    """The arguments of an attack, converted and checked."""

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
    """Convert and check the arguments of an attack or a measure.

    Args:
        victim: the policy under attack, or a model of stable-baselines3.
        obs: true observations ``[S, B, *observation]``, ``[B, *observation]`` or one, see ``rlkit.arrays``.
        budget: a number is epsilon of the norm "inf" in raw units.
        u: uniforms ``[S, B, w]``.
        target: actions ``[S, B]``, ``[B]`` or one for all.
        finite: whether to refuse NaN and infinite observations. Rollouts accept them, so that a row whose environment
            gives NaN leaves the other rows as they are.

    Raises:
        ValueError: an argument does not fit, see ``as_victim``, ``as_observations``, ``Budget.check`` and
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
    """Decide whether an action is the target, or differs from the victim's own action: ``[S, B]`` all."""
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
    """Attack every observation once and evaluate the victim's action there.

    Arguments and errors as in ``perturb``.

    Warns:
        RuntimeWarning: the victim's greedy action is not deterministic, so that success is partly chance; or its scores
            are not finite, so that its actions are undefined.
    """
    victim, obs, budget, u, target = posed(victim, obs, budget, u, target)
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
    """Run ``execute`` at L epsilons as one batch along the copies: every field is ``[L, S, B, ...]``.

    Args:
        attack: proposes observations.
        victim: the policy under attack.
        obs: true observations ``[S, B, *observation]``.
        budget: norm, scale, mask and bounds; its epsilon is not used.
        epsilons: L numbers, in units of the budget's scale.
        u: uniforms ``[S, B, attack.noise_width(D)]``, the same for every epsilon.
        target: actions ``[S, B]``, the same for every epsilon.

    Raises:
        ValueError: there is no epsilon, one is negative, NaN or infinite, or ``perturb`` refuses an argument.
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
    """Warn if the victim's greedy actions at ``obs`` differ from ``action [S, B]``, which it gave before.

    Warns:
        RuntimeWarning: an action differs.
    """
    changed = victim.act(obs, True) != action
    if changed.any():
        warnings.warn(
            f"{name_of(victim)} gave two answers to {int(changed.sum(dim=(0, 1)))} of {changed.numel()} same "
            "observations: it is stochastic and was attacked as if it were deterministic, so that some flips are "
            "chance. Make act(obs, deterministic=True) deterministic",
            RuntimeWarning,
            stacklevel=3,
        )


def warn_if_nonfinite(victim: Policy, obs: Tensor) -> None:
    """Warn if the victim's scores at ``obs [S, B, *observation]`` are not finite.

    A score of -inf marks an action that is never chosen, and is accepted. Observations that are not finite themselves
    do not count.

    Warns:
        RuntimeWarning: a score is NaN or +inf, or all scores of an observation are -inf.
    """
    if not hasattr(victim, "scores"):
        return
    bad = nonfinite_scores(scores_of(isolated(victim), obs)) & obs.isfinite().flatten(2).all(dim=-1)
    if bad.any():
        rows = bad.any(dim=1).nonzero().flatten().tolist()
        warnings.warn(
            f"the scores of {name_of(victim)} are NaN or infinite at {int(bad.sum(dim=(0, 1)))} of {bad.numel()} "
            f"observations, in rows {rows}: its actions there are undefined, and so are the results of attacks. "
            "Leave these rows out, or train them again",
            RuntimeWarning,
            stacklevel=3,
        )


def nonfinite_scores(scores: Tensor) -> Tensor:
    """Find where scores ``[S, B, A]`` define no action: one is NaN or +inf, or all are -inf. ``[S, B]`` bool."""
    return scores.isnan().any(dim=-1) | scores.amax(dim=-1).isinf()


def _check_access(attack: Attack, victim: Victim) -> None:
    if as_attack(attack).access in ("scores", "gradients") and not hasattr(victim, "scores"):
        raise ValueError(
            f"{attack.name} needs the victim's scores(obs), which {name_of(victim)} does not have: add the method, or "
            "use an attack that does not need it, such as Boundary or Noise"
        )
