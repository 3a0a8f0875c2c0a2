"""The measures that ``rlkit attack --measures`` adds to its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from ...report.ledger import RunRecord
from ..attack import AttackPlan
from ..policies import Subject
from .distance import distance
from .saliency import saliency
from .sections import sections
from .states import Measurement
from .substitutes import substitutes

MeasureName = Literal["distance", "saliency", "sections", "substitutes"]
Measure = Callable[[Subject, AttackPlan], Measurement]

MEASURES: Mapping[MeasureName, Measure] = {
    "distance": distance,
    "saliency": saliency,
    "sections": sections,
    "substitutes": substitutes,
}


def with_measures(run: RunRecord, subject: Subject, plan: AttackPlan, names: Sequence[MeasureName]) -> RunRecord:
    """Add the tables, pictures, notes and results of measures to a run.

    Args:
        run: the run to extend.
        subject: the policy to measure, with its environment.
        plan: attacks and epsilons.
        names: the measures.

    Raises:
        ValueError: no epsilon above 0, which bounds the search of the measures.
    """
    if not names:
        return run
    if not max(plan.epsilons, default=0.0) > 0:
        raise ValueError(f"--measures need an epsilon above 0, got {list(plan.epsilons)}: add one")
    found = {name: MEASURES[name](subject, plan) for name in dict.fromkeys(names)}
    return replace(
        run,
        results={**run.results, "measures": {name: each.results for name, each in found.items()}},
        tables=(*run.tables, *(table for each in found.values() for table in each.tables)),
        pictures=(*run.pictures, *(each.picture for each in found.values())),
        notes=(*run.notes, *(each.note for each in found.values())),
    )
