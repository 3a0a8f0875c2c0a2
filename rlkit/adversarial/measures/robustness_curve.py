"""Robustness curves: the return of a policy under attack as a function of epsilon."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rlkit.arrays import as_numbers, as_whole_number
from rlkit.evaluation import ConcatEnv, rollout
from rlkit.statistics import Estimate, difference_interval, mean_interval, share_interval
from rlkit.types import Env

from ..attacked_policy import AttackedPolicy
from ..attacks.base import Attack
from ..budget import Budget, apart, as_budget
from ..checks import as_attacks, made_env
from ..timing import Timing
from ..victims.base import Victim, as_victim

MakeEnv = Callable[[int], Env]  # E -> an environment of E copies, of which copy e plays evaluation episode e
NATURAL = "natural"


class CurvePoint(NamedTuple):
    """One attack at one epsilon, over training seeds."""

    attack: str
    epsilon: float
    mean_return: Estimate[float]  # mean over seeds of each seed's mean over episodes
    change: Estimate[float]  # difference of the mean return to the natural one, paired by seed
    flip_rate: Estimate[float]  # mean over seeds of the share of steps whose greedy action changed
    attack_rate: Estimate[float]  # mean over seeds of the share of steps whose shown observation differs from the true
    capped: int  # episodes that reached the step cap
    queries: float  # observations at which the attack asked the policy, per environment step
    steps: int  # environment steps of all seeds


class RobustnessCurve(NamedTuple):
    """Results of every episode: K attacks, L epsilons, S training seeds, E paired episodes."""

    attacks: tuple[str, ...]  # K names
    epsilons: tuple[float, ...]  # L, in the budget's units
    budget: Budget  # norm, scale, mask and bounds; its epsilon is the last one
    natural: NDArray[np.float64]  # [S, E] returns without attack
    returns: NDArray[np.float64]  # [K, L, S, E] returns under attack
    lengths: NDArray[np.int64]  # [K, L, S, E] numbers of steps
    flips: NDArray[np.int64]  # [K, L, S, E] numbers of steps whose greedy action changed
    attacked: NDArray[np.int64]  # [K, L, S, E] numbers of steps whose shown observation differs from the true one
    capped: NDArray[np.bool_]  # [K, L, S, E] whether the episode reached the step cap
    natural_lengths: NDArray[np.int64]  # [S, E] numbers of steps without attack
    natural_capped: NDArray[np.bool_]  # [S, E] whether the step cap was reached without attack
    timing: str  # description of the timing and of the maximum number of attacks
    queries: NDArray[np.float64]  # [K, L] observations at which the attack asked the policy, per environment step
    seconds: NDArray[np.float64]  # [K, L] of CPU time, a share of the rollout of all epsilons by their steps

    def points(self, confidence: float = 0.95) -> tuple[CurvePoint, ...]:
        """Return the points of the curve with intervals over training seeds: natural first, then by attack and epsilon.

        Episodes are averaged within a seed first, because the seed is the unit of replication. With one seed there is
        no interval: it is infinite.
        """
        natural = self.natural.mean(axis=-1)  # [S]
        steps = self.lengths.sum(axis=-1)  # [K, L, S]
        rates, shares = self.flips.sum(axis=-1) / steps, self.attacked.sum(axis=-1) / steps  # [K, L, S]

        def point(
            attack: str,
            epsilon: float,
            means: NDArray,
            rates: NDArray,
            shares: NDArray,
            capped: NDArray,
            queries: float,
            lengths: NDArray,
        ) -> CurvePoint:
            return CurvePoint(
                attack,
                epsilon,
                mean_interval(means, confidence),
                difference_interval(means, natural, confidence, paired=True),
                share_interval(rates, confidence),
                share_interval(shares, confidence),
                int(capped.sum(axis=None)),
                queries,
                int(lengths.sum(axis=None)),
            )

        none = np.zeros_like(natural)

        return (
            point(NATURAL, 0.0, natural, none, none, self.natural_capped, 0.0, self.natural_lengths),
            *(
                point(
                    attack,
                    epsilon,
                    self.returns[k, i].mean(axis=-1),
                    rates[k, i],
                    shares[k, i],
                    self.capped[k, i],
                    float(self.queries[k, i]),
                    self.lengths[k, i],
                )
                for k, attack in enumerate(self.attacks)
                for i, epsilon in enumerate(self.epsilons)
            ),
        )


def robustness_curve(
    policy: Victim,
    make_env: MakeEnv,
    attacks: Sequence[Attack] | Attack,
    epsilons: Sequence[float] | float,
    budget: Budget | float | None = None,
    episodes: int = 100,
    deterministic: bool = True,
    max_steps: int | None = None,
    seeds: Sequence[int] | None = None,
    timing: Timing | None = None,
    attacks_per_episode: int | None = None,
    spread: int | None = None,
) -> RobustnessCurve:
    """Play the same episodes without attack and under every attack at every epsilon.

    All epsilons of an attack are played as one rollout, in groups of copies.

    Args:
        policy: the victim, S training seeds.
        make_env: number of copies -> a new evaluation environment, in which copy e plays the same episode with the same
            noise every time and for every row, so that all comparisons are paired.
        attacks: one or more attacks with different names.
        epsilons: L numbers, in units of the budget's scale. At 0 the returns equal the natural ones exactly.
        budget: norm, scale, mask and bounds; its epsilon is not used. None for the norm "inf" in raw units.
        episodes: number of episodes E.
        deterministic: whether the victim acts greedily. Attacks aim at its greedy action in both cases.
        max_steps: see ``rlkit.evaluation.rollout``.
        seeds: seeds of random attacks, see ``AttackedPolicy``; every attack and epsilon gets the same numbers.
        timing: when to attack; None for always.
        attacks_per_episode: maximum attacks per episode; None for no limit.
        spread: None if epsilon bounds every step. A number n if it bounds the l2 length of all offsets of an episode
            together, of which a single step uses at most ``epsilon / sqrt(n)``: enough for n steps.

    Warns:
        RuntimeWarning: episodes reached the step cap.

    Raises:
        ValueError: there is no attack, one is a name or a class, two have the same name, there is no epsilon, one is
            negative or NaN, episodes or spread is below 1 or not a whole number, the norm is not "2" beside spread, or
            make_env returns no environment of E copies.
    """
    policy, attacks = as_victim(policy), as_attacks(attacks)
    names = tuple(attack.name for attack in attacks)
    if not names or len(set(names)) < len(names) or NATURAL in names:
        raise ValueError(f"attacks must be one or more of different names, none called {NATURAL!r}, got {list(names)}")
    epsilons = as_numbers(epsilons, "epsilons")
    episodes = as_whole_number(episodes, "episodes")
    own = Budget(0.0) if budget is None else as_budget(budget)
    budgets = [replace(own, epsilon=float(epsilon)) for epsilon in epsilons]
    spread = None if spread is None else as_whole_number(spread, "spread")
    sizes = torch.tensor(epsilons, dtype=torch.float64).repeat_interleave(episodes)  # [L E]
    each = replace(own, epsilon=sizes if spread is None else sizes / math.sqrt(spread))
    total = None if spread is None else sizes
    groups = len(epsilons)
    attackers = [
        AttackedPolicy(policy, attack, each, seeds, None, timing, attacks_per_episode, groups, True, total)
        for attack in attacks
    ]

    def made() -> Env:
        env = made_env(make_env, "agent.evaluation_env", episodes=episodes)
        if env.num_envs != episodes:
            raise ValueError(
                f"make_env({episodes}) made an environment of {env.num_envs} copies, it must be {episodes}"
            )
        return env

    natural = rollout(policy, made(), max_steps, deterministic)
    played, spent = [], []
    for attacker in attackers:
        began = time.process_time()
        played.append(rollout(policy, ConcatEnv([made() for _ in epsilons]), max_steps, deterministic, attacker))
        spent.append(time.process_time() - began)

    def gathered(field: str) -> NDArray:
        """Collect a field of all attacks, ``[K, L, S, E]``."""
        return np.stack([apart(getattr(one, field), groups).movedim(1, 0).cpu().numpy() for one in played])

    lengths = gathered("lengths")
    steps = lengths.sum(axis=(2, 3))  # [K, L]
    asked = np.array([attacker.queries for attacker in attackers]) / steps.sum(axis=1)  # [K]
    return RobustnessCurve(
        attacks=names,
        epsilons=tuple(float(epsilon) for epsilon in epsilons),
        budget=budgets[-1],
        natural=natural.returns.cpu().numpy(),
        returns=gathered("returns"),
        lengths=lengths,
        flips=gathered("flips"),
        attacked=gathered("attacks"),
        capped=gathered("capped"),
        natural_lengths=natural.lengths.cpu().numpy(),
        natural_capped=natural.capped.cpu().numpy(),
        timing=attackers[0].describe_timing(),
        queries=np.broadcast_to(asked[:, None], steps.shape).copy(),
        seconds=np.array(spent)[:, None] * steps / steps.sum(axis=1, keepdims=True),
    )
