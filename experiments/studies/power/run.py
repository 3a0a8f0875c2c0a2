"""Resample committed rows: how often a study of few seeds says the opposite of all seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from rlkit.statistics import difference_interval, seeds_needed

from ...report.ledger import Cell, ReportTable
from ..common import rows
from ..common.scores import Score, of_case
from ..common.study import Study, StudyOptions
from .settings import CLAIMS, COUNTS, REPLICATIONS, RNG_SEED, Claim, Group

Floats = NDArray[np.float64]
RESULTS = Path("results")  # where other studies keep their rows


@dataclass(frozen=True)
class PowerRow:
    """Answers of studies with ``seeds`` seeds a side to a claim, as fractions of all replications."""

    claim: str
    seeds: int
    opposite: float  # the mean of the other side is higher
    equal: float  # both means are equal
    significant: float  # Welch's test at 5 % supports the claim
    significantly_opposite: float  # Welch's test at 5 % supports the opposite


class Resampled(NamedTuple):
    """Fractions of replications; see ``PowerRow``."""

    opposite: float
    equal: float
    significant: float
    significantly_opposite: float


def run(cases: Sequence[Claim], options: StudyOptions) -> Sequence[ReportTable]:
    """Resample the claims without rows, and table them."""
    file = options.data / "power.csv"
    for claim in cases:
        if claim.name not in {row.claim for row in rows.read(file, PowerRow)}:
            x, y = returns_of(claim.x), returns_of(claim.y)
            generator = np.random.default_rng([RNG_SEED, CLAIMS.index(claim)])
            found = [PowerRow(claim.name, seeds, *resampled(x, y, seeds, generator)) for seeds in COUNTS]
            rows.append(file, found)
    known = rows.read(file, PowerRow)
    return (claim_table([claim for claim in CLAIMS if any(row.claim == claim.name for row in known)], known),)


def returns_of(group: Group) -> Floats:
    """Return the final returns of a group, one per seed."""
    known = of_case(rows.read(RESULTS / group.file, Score), group.case, group.maker)
    if not known:
        raise ValueError(f"{RESULTS / group.file} has no rows of {group.case} by {group.maker}: run in the repository")
    return np.array([getattr(row, group.kind) for row in known])


def resampled(x: Floats, y: Floats, seeds: int, generator: np.random.Generator, count: int = REPLICATIONS) -> Resampled:
    """Draw ``seeds`` of each side ``count`` times with replacement, and compare them.

    The direction of the claim is mean(x) > mean(y). Where neither sample has any spread, Welch's test says nothing, and
    nothing is significant.
    """
    a, b = (generator.choice(side, (count, seeds)) for side in (x, y))
    gap = a.mean(axis=1) - b.mean(axis=1)
    variances = np.stack([side.var(axis=1, ddof=1) / seeds for side in (a, b)])
    total = variances.sum(axis=0)
    spread = total > 0.0
    error = np.sqrt(np.where(spread, total, 1.0))
    degrees = total**2 * (seeds - 1) / np.where(spread, (variances**2).sum(axis=0), 1.0)
    rejected = spread & (np.abs(gap) / error > student.ppf(0.975, np.where(spread, degrees, 1.0)))
    fractions = gap < 0, gap == 0, rejected & (gap > 0), rejected & (gap < 0)
    return Resampled(*(float(each.mean(axis=0)) for each in fractions))


def claim_table(claims: Sequence[Claim], known: Sequence[PowerRow]) -> ReportTable:
    """Return a line per claim: the difference over all seeds, and what few seeds say."""
    lines: list[tuple[Cell, ...]] = []
    for claim in claims:
        x, y = returns_of(claim.x), returns_of(claim.y)
        of = {row.seeds: row for row in known if row.claim == claim.name}
        opposite = [of[count].opposite for count in COUNTS]
        significant = [of[count].significant for count in COUNTS]
        wrong = max(of[count].significantly_opposite for count in COUNTS)
        gap = difference_interval(x, y)
        lines.append((claim.name, f"{len(x)}, {len(y)}", gap, *opposite, *significant, wrong, needed(x, y)))
    columns = (
        "claim",
        "seeds",
        "difference",
        *(f"opposite, {count} seeds" for count in COUNTS),
        *(f"significant, {count} seeds" for count in COUNTS),
        "significantly opposite, at most",
        "seeds for power 0.8",
    )
    title = "How often few seeds say the opposite of all seeds"
    return ReportTable("power", title, columns, tuple(lines), digits=2)


def needed(x: Floats, y: Floats) -> int | None:
    """Return the seeds a side that find the observed difference with power 0.8; None where it is zero."""
    gap = abs(float(x.mean(axis=0) - y.mean(axis=0)))
    spread = float(np.sqrt((x.var(ddof=1) + y.var(ddof=1)) / 2.0))
    return None if gap == 0.0 else seeds_needed(0.8, gap, spread)


STUDY = Study(CLAIMS, run)
