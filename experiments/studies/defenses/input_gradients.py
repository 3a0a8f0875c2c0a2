"""Plain training, J1, J2 and 2-Lip in the form of their paper: distances to the nearest change of the action.

Source: Finlay, Oberman & Abbasi 2018, "Improved robustness to adversarial examples using Lipschitz regularization of
the loss", tables 2 and 3, which have the median adversarial distance and the error at a fixed distance. There attacks
give the distances; here verification encloses them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from rlkit.adversarial import certified_radius
from rlkit.envs import GridWorld, find_dynamics
from rlkit.statistics import difference_interval, holm, mean_interval, median_interval, sign_flip_test

from ...report.ledger import Cell, ReportTable
from ...workflows.policies import Subject
from .settings import EQUAL, PLAIN, DefenseCase

COMPARED = "grid-dqn"  # the comparison whose arms these are
IN_ORDER = (PLAIN, "J1", "J2", "two_lip")  # by the hypothesis, from the shortest distance to the longest
NORMS: tuple[Literal["2"], Literal["inf"]] = ("2", "inf")
LARGEST = 1.6  # distance that is searched, in units of the task's scale
FIXED = 0.2  # distance at which errors are counted
MAX_BOXES, HALVINGS = 2**13, 14
ALPHA = 0.05

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DistanceRow:
    """Distances of one seed's policy to the nearest change of its greedy action, over all states of the grid."""

    case: str
    defense: str  # the arm's name within its comparison
    seed: int
    norm: str
    certified: float  # median over states of the bound from below
    achieved: float  # median over states of the distance of an observation that changes the action, at most ``LARGEST``
    error: float  # share of states at which one within ``FIXED`` changes it


def distance_rows(case: DefenseCase, subject: Subject) -> list[DistanceRow]:
    """Enclose the distances at every state that does not end the episode."""
    world = find_dynamics(subject.env, env_kwargs=dict(subject.env_kwargs))
    assert isinstance(world, GridWorld)
    states = torch.from_numpy(np.array(world.observations())[~world.mdp.ended])
    obs = states.expand(len(subject.seeds), *states.shape)
    found = []
    for norm in NORMS:
        budget = replace(case.comparison.threat.budget(LARGEST), norm=norm)
        radius = certified_radius(subject.policy, obs, budget, HALVINGS, max_boxes=MAX_BOXES)
        certified, achieved = radius.certified.numpy(), radius.achieved.clamp(max=LARGEST).numpy()
        for s, seed in enumerate(subject.seeds):
            medians = float(np.median(certified[s])), float(np.median(achieved[s]))
            error = float((achieved[s] <= FIXED).mean())
            found.append(DistanceRow(case.name, case.arm, seed, norm, *medians, error))
    return found


def by_defense(known: Sequence[DistanceRow], norm: str) -> dict[str, list[DistanceRow]]:
    """The rows of a norm by arm, in the order of the hypothesis and then ``EQUAL``, each sorted by seed."""
    found = {
        name: sorted((row for row in known if (row.norm, row.defense) == (norm, name)), key=lambda row: row.seed)
        for name in (*IN_ORDER, EQUAL.arm)
    }
    return {name: own for name, own in found.items() if own}


def distance_table(known: Sequence[DistanceRow]) -> ReportTable:
    """Tabulate the median distance and the error at the fixed distance, over seeds with intervals."""
    lines: list[tuple[Cell, ...]] = []
    for norm in NORMS:
        for name, own in by_defense(known, norm).items():
            gap = max(row.achieved - row.certified for row in own)
            median, error = median_interval([row.achieved for row in own]), mean_interval([row.error for row in own])
            lines.append((norm, name, median, error, gap, len(own)))
    columns = ("norm", "training", "median distance", f"error at {FIXED:g}", "largest gap", "seeds")
    return ReportTable("distances", "Distance to the nearest change of the action, grid", columns, tuple(lines))


def steps(known: Sequence[DistanceRow], norm: str, plain: str = PLAIN) -> dict[tuple[str, str], Floats]:
    """How much longer each training of the order makes the distance of every seed than the one before it, ``[S]``."""
    distances = {name: np.array([row.achieved for row in own]) for name, own in by_defense(known, norm).items()}
    return {
        (less, more): distances[more] - distances[less]
        for less, more in itertools.pairwise((plain, *IN_ORDER[1:]))
        if less in distances and more in distances
    }


def verdict(differences: Sequence[Floats], corrected: Sequence[float]) -> str:
    """Judge an order by the differences ``[S]`` of its steps and their p-values, corrected over the steps.

    It is refuted if one step is significantly reversed, supported if all are significantly as claimed, and else
    undecided.
    """
    claimed = [float(each.mean()) > 0 for each in differences]
    significant = [p <= ALPHA for p in corrected]
    if any(sure and not right for sure, right in zip(significant, claimed, strict=True)):
        return "refuted"
    return "supported" if all(claimed) and all(significant) else "undecided"


def order_table(known: Sequence[DistanceRow]) -> ReportTable:
    """Tabulate every step of the order 2-Lip > J2 > J1 > plain in both norms, and the verdict of the whole.

    It is given for plain training with its own choice, and for ``EQUAL``. Tests are exact under random signs,
    two-sided, corrected by Holm over the three steps.
    """
    lines: list[tuple[Cell, ...]] = []
    for norm, plain in itertools.product(NORMS, (PLAIN, EQUAL.arm)):
        found = steps(known, norm, plain)
        if len(found) < len(IN_ORDER) - 1:
            continue
        corrected = holm([sign_flip_test(each) for each in found.values()])
        judged = verdict(list(found.values()), corrected)
        for ((less, more), each), p in zip(found.items(), corrected, strict=True):
            change = difference_interval(each, np.zeros_like(each), paired=True)
            lines.append((norm, f"{more} over {less}", change, p, judged))
    columns = ("norm", "step", "longer median distance", "p by Holm", "the order")
    return ReportTable("order", "Is 2-Lip > J2 > J1 > plain?", columns, tuple(lines))
