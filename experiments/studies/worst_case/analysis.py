"""Tables of how far attacks and timings stay above the exact worst case, from rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rlkit.plotting import Curve, robustness_curves
from rlkit.statistics import mean_interval

from ...report.ledger import Cell, ReportTable
from ...report.text import slug_in_words
from ...workflows.bracket import without_rounding
from ...workflows.fitted_attacks import LINEAR_ADVERSARY
from .settings import CASES, EPSILONS

UNLIMITED = "any"  # number of attacks
ALWAYS, OPTIMAL = "always", "optimal"  # timings
WORST = "worst case"  # attack
DRAWN = ("sign noise", "PGD-20", "value-aware", LINEAR_ADVERSARY)  # attacks in the figure, beside the worst case

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BoundRow:
    """The exact worst case of one seed's policy, between a certified bound and an adversary that attains it."""

    case: str
    seed: int
    epsilon: float
    limit: str  # most attacks of an episode, or "any"
    natural: float
    lower: float
    upper: float
    undecided: int  # pairs of state and action


@dataclass(frozen=True)
class AttackedRow:
    """The exact expected return of one seed's policy under an attack."""

    case: str
    seed: int
    epsilon: float
    limit: str
    attack: str
    timing: str
    earned: float


def tables(bounds: Sequence[BoundRow], attacked: Sequence[AttackedRow]) -> tuple[ReportTable, ...]:
    """All tables: the worst cases, the distance of every attack, and that of every timing."""
    return bound_table(bounds), distance_table(bounds, attacked), timing_table(bounds, attacked)


def of_budget(bounds: Sequence[BoundRow], case: str, epsilon: float, limit: str) -> list[BoundRow]:
    """The bounds of all seeds of a case within one budget, sorted by seed."""
    own = (row for row in bounds if (row.case, row.epsilon, row.limit) == (case, epsilon, limit))
    return sorted(own, key=lambda row: row.seed)


def distance(
    bounds: Sequence[BoundRow], attacked: Sequence[AttackedRow], case: str, epsilon: float, limit: str, *name: str
) -> Floats:
    """Return how much more than the exact worst case each seed keeps under an attack and timing, ``[S]``.

    Args:
        bounds: rows of worst cases.
        attacked: rows of attacks.
        case: the policies.
        epsilon: of the budget.
        limit: most attacks of an episode.
        name: of the attack and of the timing.
    """
    worst = {row.seed: row.upper for row in of_budget(bounds, case, epsilon, limit)}
    wanted = (case, epsilon, limit, *name)
    own = [row for row in attacked if (row.case, row.epsilon, row.limit, row.attack, row.timing) == wanted]
    return without_rounding(np.array([row.earned - worst[row.seed] for row in sorted(own, key=lambda row: row.seed)]))


def bound_table(bounds: Sequence[BoundRow]) -> ReportTable:
    """Tabulate natural return, certified bound and attained worst case, means over seeds with intervals."""
    lines: list[tuple[Cell, ...]] = []
    for case, epsilon, limit in dict.fromkeys((row.case, row.epsilon, row.limit) for row in bounds):
        own = of_budget(bounds, case, epsilon, limit)
        returns = np.array([[row.natural, row.lower, row.upper] for row in own]).T
        gap = float(np.max(returns[2] - returns[1]))
        lines.append((case, limit, epsilon, *map(mean_interval, without_rounding(returns)), gap, len(own)))
    columns = ("policies", "attacks", "epsilon", "natural", "certified", WORST, "largest gap", "seeds")
    return ReportTable("bounds", "Exact worst case of greedy policies", columns, tuple(lines), digits=3)


def distance_table(bounds: Sequence[BoundRow], attacked: Sequence[AttackedRow]) -> ReportTable:
    """Tabulate the distance of every attack at every step, a line for each and a column for each epsilon."""
    own = [row for row in attacked if row.limit == UNLIMITED]
    return _by_epsilon("distances", "Return above the exact worst case, attacked at every step", bounds, own)


def timing_table(bounds: Sequence[BoundRow], attacked: Sequence[AttackedRow]) -> ReportTable:
    """Tabulate the distance of every attack and timing under a limit of attacks."""
    own = [row for row in attacked if row.limit != UNLIMITED]
    return _by_epsilon("timings", "Return above the exact worst case of as many attacks", bounds, own)


def figure(bounds: Sequence[BoundRow], attacked: Sequence[AttackedRow]) -> Figure:
    """Draw return against epsilon under attacks at every step and in the exact worst case, a panel for each algorithm.

    Curves are means over seeds with 95 % intervals; epsilon 0 is the natural return.
    """
    policies: dict[str, dict[str, Curve]] = {}
    for case in dict.fromkeys(row.case for row in bounds):
        epsilons = sorted({row.epsilon for row in bounds if row.case == case})
        budgets = [of_budget(bounds, case, epsilon, UNLIMITED) for epsilon in epsilons]
        natural = np.array([row.natural for row in budgets[0]])  # [S]
        worst = np.array([[row.upper for row in each] for each in budgets])  # [L, S]
        above = {
            attack: [distance(bounds, attacked, case, epsilon, UNLIMITED, attack, ALWAYS) for epsilon in epsilons]
            for attack in DRAWN
        }
        returns = {attack: worst + np.array(each) for attack, each in above.items() if all(map(len, each))}
        policies[slug_in_words(case)] = {
            name: Curve((0.0, *epsilons), np.vstack([natural, each]))
            for name, each in {**returns, WORST: worst}.items()
        }
    return robustness_curves(policies, xlabel="epsilon [scale of the task]", ylabel="expected return")


def _by_epsilon(name: str, title: str, bounds: Sequence[BoundRow], own: Sequence[AttackedRow]) -> ReportTable:
    """Tabulate means over seeds with intervals, a line for each attack and timing and a column for each epsilon."""
    lines: list[tuple[Cell, ...]] = []
    limits = dict.fromkeys(row.limit for row in own)
    names = dict.fromkeys((row.attack, row.timing) for row in own)
    for case in (each.name for each in CASES if each.name in {row.case for row in own}):
        for limit in limits:
            for attack, timing in names:
                cells = [distance(bounds, own, case, epsilon, limit, attack, timing) for epsilon in EPSILONS]
                means = [mean_interval(each) if len(each) else None for each in cells]
                lines.append((case, limit, attack, timing, *means))
    columns = ("policies", "attacks", "attack", "timing", *(f"{epsilon:g}" for epsilon in EPSILONS))
    return ReportTable(name, title, columns, tuple(lines), digits=3)
