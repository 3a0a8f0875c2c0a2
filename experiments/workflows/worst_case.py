"""``rlkit attack --worst-case``: the exact worst case of a finite problem between a certificate and the attacks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.envs import GridWorld, find_dynamics
from rlkit.statistics import mean_interval

from ..report.ledger import ReportTable, RunRecord
from .attack import ATTACKS, AttackPlan
from .bracket import BOXES, Sandwich, sandwich
from .policies import Subject

NOTE = (
    "Certified <= worst case <= best attack <= natural, all four in exact expectation over the start distribution. The "
    "certified bound holds for every adversary within the threat; an adversary that attains the worst case is known. "
    "Where both are equal, the worst case is exact. Best attack is the least of all attacks of the table and none."
)
COLUMNS = (
    "epsilon", "certified", "worst case", "best attack", "natural", "exact for", "undecided choices", "seconds",
)  # fmt: skip


def with_worst_case(run: RunRecord, subject: Subject, plan: AttackPlan) -> RunRecord:
    """Add the worst case at every epsilon to a run of attacks.

    Raises:
        ValueError: the environment is no finite problem, or see ``rlkit.adversarial.bracket``.
    """
    found = worst_cases(subject, plan)
    return replace(
        run,
        results={**run.results, "worst_case": [_result(epsilon, each) for epsilon, each in found.items()]},
        tables=(*run.tables, sandwich_table(found, plan)),
        notes=(*run.notes, NOTE, *(_distance_note(epsilon, each) for epsilon, each in found.items())),
    )


def worst_cases(subject: Subject, plan: AttackPlan, max_boxes: int = BOXES) -> dict[float, Sandwich]:
    """The sandwich at every epsilon of a plan, by epsilon.

    Args:
        subject: the policy in a grid world.
        plan: the threat, and the attacks to compare with.
        max_boxes: most boxes per state.

    Raises:
        ValueError: see ``with_worst_case``.
    """
    threat = plan.threat
    dynamics = find_dynamics(subject.env, env_kwargs=dict(subject.env_kwargs))
    if not isinstance(dynamics, GridWorld):
        raise ValueError(
            f"the exact worst case is for finite problems, and {subject.env} is none: use a grid world, or "
            "--attacks lookahead for a strong attack and rlkit certify for certificates of single decisions"
        )
    attacks = [ATTACKS[name] for name in plan.attacks if name in ATTACKS]
    attacks_left, sampled = threat.attacks_per_episode, threat.victim == "sampled"
    limits = partial(sandwich, gamma=1.0, attacks_per_episode=attacks_left, sampled=sampled, max_boxes=max_boxes)
    return {
        epsilon: limits(dynamics, subject.policy, threat.budget(epsilon), horizon=threat.horizon, attacks=attacks)
        for epsilon in threat.epsilons
    }


def sandwich_table(found: dict[float, Sandwich], plan: AttackPlan) -> ReportTable:
    """Means over training seeds, a line for each epsilon."""
    rows = tuple(
        (
            epsilon,
            mean_interval(each.certified),
            mean_interval(each.exact),
            mean_interval(each.best_attack),
            mean_interval(each.natural),
            f"{int(each.bracket.closed.sum())} of {len(each.natural)} seeds",
            int(each.bracket.undecided.sum()),
            round(each.bracket.seconds, 2),
        )
        for epsilon, each in found.items()
    )
    title = f"Exact worst case, epsilon in {plan.unit} (norm {plan.threat.norm}, threat {plan.threat.digest})"
    return ReportTable("worst_case", title, COLUMNS, rows)


def _distance_note(epsilon: float, found: Sandwich) -> str:
    """Say how far the best attack is from the worst case."""
    far: NDArray[np.float64] = found.best_attack - found.exact
    return (
        f"Epsilon {epsilon:g}: the best attack leaves {found.best_attack.mean():.4g}, {found.exact.mean():.4g} can be "
        f"attained, and {found.certified.mean():.4g} is certain (means over seeds; largest distance {far.max():.4g})."
    )


def _result(epsilon: float, found: Sandwich) -> dict[str, Any]:
    """The sandwich of every seed, for scripts."""
    return {
        "epsilon": epsilon,
        "certified": found.certified.tolist(),
        "worst_case": found.exact.tolist(),
        "best_attack": found.best_attack.tolist(),
        "best_attack_name": found.best_name,
        "attacked": {name: value.tolist() for name, value in found.attacked.items()},
        "natural": found.natural.tolist(),
        "closed": found.bracket.closed.tolist(),
        "undecided": found.bracket.undecided.tolist(),
        "boxes": found.bracket.boxes.tolist(),
        "seconds": found.bracket.seconds,
    }
