"""The demo's second table: how far attacks are from the worst case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

from ..report.ledger import Cell, ReportTable, RunRecord
from ..workflows.attack import attack_plan, measured_curve
from ..workflows.evaluate import mean_return, return_range
from ..workflows.policies import Subject
from ..workflows.threat import threat_of
from ..workflows.worst_case import sandwich_cells, worst_cases
from .settings import Sandwiches

COLUMNS = ("task", "agent", "epsilon", "certified", "worst case", "best attack", "natural", "exact for")
NOTE = (
    "Certified <= worst case <= best attack <= natural. On the grid all four are exact expectations: the certified "
    "bound holds against every adversary, and an adversary attains the worst case. On the cart-pole nothing is "
    "certified here. The best attack is selected for every seed on other episodes. It tries to cause the action of the "
    "lowest value in the worst case on a lattice, or the action that a linear rule chooses, or it is no attack."
)


def sandwich_run(rows: Sequence[tuple[Cell, ...]], settings: Sandwiches) -> RunRecord:
    """The record of the lines of both tasks."""
    title = (
        "The worst case: mean return over seeds; epsilon in units of one-hot observations on the grid and of the "
        "committed scale on the cart-pole"
    )
    return RunRecord(
        kind="attack",
        title="The worst case and the strongest attacks",
        settings=asdict(settings),
        results={"rows": [dict(zip(COLUMNS, row, strict=True)) for row in rows]},
        tables=(ReportTable("sandwich", title, COLUMNS, tuple(rows)),),
        notes=(NOTE,),
    )


def grid_rows(subject: Subject, settings: Sandwiches) -> list[tuple[Cell, ...]]:
    """A line for each epsilon, all columns exact."""
    threat = threat_of(subject, unit="raw", epsilons=settings.grid_epsilons)
    found = worst_cases(subject, attack_plan(subject, settings.grid_attacks, threat), settings.max_boxes)
    limits = return_range(subject)
    return [("grid", subject.name, epsilon, *sandwich_cells(each, limits)) for epsilon, each in found.items()]


def cartpole_row(subject: Subject, settings: Sandwiches, done: Callable[[str], None] | None = None) -> tuple[Cell, ...]:
    """The return under the strongest of several attacks; certified and worst case are not known.

    Args:
        subject: the policies.
        settings: epsilon, episodes and attacks.
        done: gets the name of each attack when it has been played.
    """
    threat = threat_of(subject, epsilons=(settings.cartpole_epsilon,))
    plan = attack_plan(subject, settings.cartpole_attacks, threat)
    played = measured_curve(subject, plan, settings.episodes, done=done)
    limits = return_range(subject)
    attacked, natural = (
        mean_return(returns.mean(axis=-1), limits) for returns in (played.returns[-1, 0], played.natural)
    )
    return "cart-pole", subject.name, settings.cartpole_epsilon, None, None, attacked, natural, None
