"""The exact return of a victim under any attack in a finite problem, instead of a sample mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rlkit.arrays import Given
from rlkit.planning import evaluate, evaluate_finite, q_backup
from rlkit.planning.discount import verified_discount
from rlkit.planning.evaluation import verified_horizon
from rlkit.streams import Stream

from ..attacks.base import Attack, perturb
from ..budget import Budget, as_budget
from ..timing import Always, AtRandom, Timing, attack_now
from .choices import Array
from .observed import ObservedProblem, action_distributions, observed
from .worst_case import mean_at

UNLIMITED = 2**62


class AttackedValue(NamedTuple):
    """Exact returns of S rows of a victim."""

    value: Array  # [S, N], from every state
    start: Array  # [S], from the start distribution
    policy: Array  # [S, N, A], distribution of the victim's action where it is attacked


def attacked_value(
    problem: Any,
    victim: Any,
    attack: Attack,
    budget: Budget | float,
    gamma: float = 1.0,
    horizon: int | None = None,
    *,
    observations: Given | None = None,
    sampled: bool = False,
    timing: Timing | None = None,
    attacks_per_episode: int | None = None,
    target: Given | None = None,
    draws: int = 8,
) -> AttackedValue:
    """Compute the expected return under an attack exactly, from the table: no episode is played.

    The attack is made once at every state. A random attack is made ``draws`` times and evaluated as the attack that
    chooses among these with equal probability at every step.

    Args:
        problem: a problem with observations, or a ``TabularMDP``; see ``bracket``.
        victim: the policy under attack, S rows.
        attack: proposes observations.
        budget: a number is epsilon of the norm "inf" in raw units.
        gamma: discount in [0, 1].
        horizon: step limit; None for none, and for ``mdp.max_steps`` with gamma = 1.
        observations: observations of every state, ``[N, *observation]``; None for the problem's own.
        sampled: whether the victim samples from the softmax of its scores instead of acting greedily.
        timing: when to attack; None for always. Others need a step limit.
        attacks_per_episode: most attacks of an episode; None for no limit. It needs a step limit.
        target: actions ``[S, N]`` that the attack aims at; None for any other than the victim's own.
        draws: number of draws of a random attack.

    Raises:
        ValueError: a timing or a limit of attacks without a step limit; a random timing other than ``AtRandom``;
            whatever ``perturb`` and ``observed`` refuse.
    """
    posed = observed(problem, victim, observations)
    gamma, mdp = verified_discount(gamma), posed.mdp
    limit = as_budget(budget)
    shown = _attacked_policy(posed, attack, limit, sampled, target, draws)
    if gamma < 1 and horizon is None:
        if timing is not None or attacks_per_episode is not None:
            raise ValueError("a timing and a limit of attacks count within an episode: give a horizon")
        value = evaluate(mdp, shown, gamma)
        return AttackedValue(value, mean_at(mdp.start, value), shown)
    steps = verified_horizon(mdp, horizon)
    at = getattr(attack, "at", None)  # of an attack that depends on steps and attacks left
    if timing is None and attacks_per_episode is None and at is None:
        value = evaluate_finite(mdp, shown, steps, gamma)[:, 0]
    else:
        clean = action_distributions(posed.victim, posed.obs, sampled, mdp.num_actions)

        def shown_at(step: int, left: int) -> Array:
            if at is None:
                return shown
            moment = (torch.full(posed.obs.shape[:2], number, dtype=torch.int64) for number in (step, left))
            return _attacked_policy(posed, at(*moment), limit, sampled, target, draws)

        value = _timed_value(posed, shown_at, clean, timing or Always(), attacks_per_episode, steps, gamma)
    return AttackedValue(value, mean_at(mdp.start, value), shown)


def _attacked_policy(
    posed: ObservedProblem, attack: Attack, budget: Budget, sampled: bool, target: Given | None, draws: int
) -> Array:
    """The distribution of the victim's action at what the attack shows in every state, ``[S, N, A]``."""
    obs = posed.obs
    width = attack.noise_width(obs[0, 0].numel())
    seeds = getattr(posed.victim, "seeds", None) or range(len(obs))
    numbers = Stream(seeds, "attack", width, obs.shape[1], obs.device) if width else None
    total = np.zeros((*obs.shape[:2], posed.mdp.num_actions))
    count = draws if numbers is not None else 1
    for _ in range(count):
        u = None if numbers is None else numbers.next()
        shown = perturb(attack, posed.victim, obs, budget, u, target)
        total += action_distributions(posed.victim, shown, sampled, posed.mdp.num_actions)
    return total / count


def _timed_value(
    posed: ObservedProblem,
    shown_at: Callable[[int, int], Array],
    clean: Array,
    timing: Timing,
    attacks: int | None,
    steps: int,
    gamma: float,
) -> Array:
    """``attacked_value`` of a timing and a limit of attacks, ``[S, N]``, by backward induction over both."""
    levels = 1 if attacks is None else attacks + 1
    value = np.zeros((len(clean), levels, posed.mdp.num_states))
    for step in reversed(range(steps)):
        q = q_backup(posed.mdp, value, gamma)  # [S, L, N, A]
        q = np.where(np.isneginf(q), 0.0, q)
        after = q if attacks is None else q[:, [max(left - 1, 0) for left in range(levels)]]
        left = [UNLIMITED] if attacks is None else range(levels)
        rate = np.stack([_rate(posed, timing, step, each) for each in left], axis=1)  # [S, L, N]
        shown = np.stack([shown_at(step, each) for each in left], axis=1)  # [S, L, N, A]
        value = rate * (shown * after).sum(axis=-1) + (1 - rate) * (clean[:, None] * q).sum(axis=-1)
    return value[:, -1]


def _rate(posed: ObservedProblem, timing: Timing, step: int, left: int) -> Array:
    """The probability of an attack in every state, ``[S, N]``."""
    shape, device = posed.obs.shape[:2], posed.obs.device
    if isinstance(timing, AtRandom):
        return np.full(tuple(shape), timing.probability if left > 0 else 0.0)
    if timing.noise_width:
        raise ValueError(f"timing {timing.name!r} is random, and its expectation is not known: use AtRandom")
    now, attacks_left = (torch.full(shape, number, dtype=torch.int64, device=device) for number in (step, left))
    decided: Tensor = attack_now(timing, posed.victim, posed.obs, now, attacks_left)
    return decided.double().cpu().numpy()
