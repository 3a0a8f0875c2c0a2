"""``rlkit certify --smoothing``: the certified return of the Gaussian-smoothed policy beside attacks on it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.adversarial import (
    FGSM,
    Attack,
    Noise,
    RobustnessCurve,
    SmoothedPolicy,
    SmoothedReturn,
    Threat,
    robustness_curve,
    smoothed_return,
    strongest,
)
from rlkit.evaluation import rollout
from rlkit.types import Env

from ..report.ledger import Cell, ReportTable, RunRecord
from .attack import spread_curve
from .evaluate import mean_return, return_range
from .policies import Subject

ATTACKS: tuple[Attack, ...] = (Noise("gaussian"), FGSM())
ATTACKED_EPISODES = 50
ALPHA = 0.05  # of the certificates of all seeds together
NOTE = (
    "All columns concern the smoothed policy, which adds Gaussian noise of {sigma:g} units to its observations, and "
    "say nothing about the policy without noise. Certified and at most: bounds of the expected return under every "
    "attacker whose offsets of an episode have a total l2 length of at most epsilon; they hold for all seeds together "
    "with probability {level:.0%} over the {episodes} sampled episodes of each (Kumar, Levine & Feizi 2022). Attacked: "
    "the return under the strongest attack, selected on other episodes."
)


class Smoothed(NamedTuple):
    """Certificates of S smoothed policies, and an attack on the same ones."""

    bounds: SmoothedReturn  # of every row, [S, L]
    attacked: RobustnessCurve  # the strongest attack, [1, L, S, E]
    horizon: int  # step limit of an episode
    seconds: tuple[float, float]  # of certificates and of attacks


def smoothed(
    subject: Subject,
    threat: Threat,
    sigma: float,
    episodes: int,
    limits: tuple[float, float] | None = None,
    attacks: Sequence[Attack] = ATTACKS,
) -> Smoothed:
    """Certify the smoothed policy of every seed, and attack it within the same budgets per episode.

    Args:
        subject: the policy.
        threat: scale, mask and the sizes epsilon, which are taken as l2 totals of an episode.
        sigma: standard deviation of the noise, in units of the threat's scale.
        episodes: natural episodes per seed, from which the certificates follow.
        limits: least and largest return of an episode; None for those of the task.
        attacks: attacks among which the strongest is chosen, each over several numbers of steps.

    Raises:
        ValueError: returns of unknown range, or see ``smoothed_return``.
    """
    limits = return_range(subject, threat.horizon) if limits is None else limits
    if limits is None:
        raise ValueError(
            f"the least and the largest return of {subject.env} are not known: give --return-range LEAST MOST"
        )
    began = time.process_time()
    policy = SmoothedPolicy(subject.policy, sigma, threat.budget(), subject.seeds)
    env = subject.make_env(episodes, threat.first_seed)
    natural = rollout(policy, env, threat.horizon, False)
    bounds = smoothed_return(
        natural.returns.cpu().numpy(), sigma, threat.epsilons, *limits, alpha=ALPHA / len(subject.seeds)
    )
    certified = time.process_time()
    steps = int(natural.lengths.amax(dim=(0, 1)))
    selection, reported = (
        _attacked(subject, threat, sigma, attacks, steps, first)
        for first in (threat.selection_seed, threat.first_seed + episodes)
    )
    seconds = certified - began, time.process_time() - certified
    return Smoothed(bounds, strongest(selection, reported), threat.horizon or env.max_episode_steps or steps, seconds)


def _attacked(
    subject: Subject, threat: Threat, sigma: float, attacks: Sequence[Attack], steps: int, first: int
) -> RobustnessCurve:
    """Curves of all attacks, each spread over several numbers of steps."""

    def make_env(copies: int) -> Env:
        return subject.make_env(copies, first)

    policy = SmoothedPolicy(subject.policy, sigma, threat.budget(), subject.seeds)
    played = partial(
        robustness_curve, policy, make_env, attacks, threat.epsilons, threat.budget(), ATTACKED_EPISODES,
        deterministic=False, max_steps=threat.horizon, seeds=subject.seeds,
    )  # fmt: skip
    return spread_curve(played, steps)


def with_smoothing(
    run: RunRecord,
    subject: Subject,
    threat: Threat,
    sigma: float,
    episodes: int,
    limits: tuple[float, float] | None = None,
) -> RunRecord:
    """Add the certificates of the smoothed policy to a run."""
    found = smoothed(subject, replace(threat, norm="2", epsilon_per="episode"), sigma, episodes, limits)
    note = NOTE.format(sigma=sigma, level=1 - ALPHA, episodes=episodes)
    return replace(
        run,
        results={**run.results, "smoothing": _result(found, sigma, episodes)},
        tables=(*run.tables, smoothing_table(found, sigma, threat, return_range(subject, threat.horizon))),
        notes=(*run.notes, note),
    )


def smoothing_table(found: Smoothed, sigma: float, threat: Threat, limits: tuple[float, float] | None) -> ReportTable:
    """Means over training seeds, a line for each total; intervals are cut to ``limits``, the possible returns."""
    attacked = found.attacked.returns[0].mean(axis=-1)  # [L, S]
    natural = mean_return(found.bounds.mean, limits)
    rows: list[tuple[Cell, ...]] = [
        (
            epsilon,
            epsilon / math.sqrt(found.horizon),
            float(found.bounds.lower[:, i].mean()),
            mean_return(attacked[i], limits),
            natural,
            float(found.bounds.upper[:, i].mean()),
        )
        for i, epsilon in enumerate(found.bounds.totals)
    ]
    title = f"Return of the smoothed policy, sigma {sigma:g}, epsilon per episode in {threat.unit} (norm 2)"
    columns = (
        "epsilon of an episode", f"of each of {found.horizon} steps", "certified", "attacked", "natural", "at most",
    )  # fmt: skip
    return ReportTable("smoothing", title, columns, tuple(rows))


def _result(found: Smoothed, sigma: float, episodes: int) -> dict[str, Any]:
    """The certificates and the strongest attack of every seed, for scripts."""
    attacked: NDArray[np.float64] = found.attacked.returns[0].mean(axis=-1)
    return {
        "sigma": sigma,
        "episodes": episodes,
        "alpha": ALPHA,
        "thresholds": found.bounds.thresholds,
        "epsilons_per_episode": found.bounds.totals,
        "certified": found.bounds.lower.tolist(),
        "at_most": found.bounds.upper.tolist(),
        "natural": found.bounds.mean.tolist(),
        "attacked": attacked.T.tolist(),
        "seconds": {"certificates": found.seconds[0], "attacks": found.seconds[1]},
    }
