"""The choice of configurations, the strongest attack, the tables, the bar and the figure, from rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rlkit.figure_style import COLORS, MOST_LINES, MUTED, PANEL, in_style, legend_below, panels, portions
from rlkit.plotting import SINGLE
from rlkit.statistics import difference_interval, holm, median_interval, sign_flip_test

from ...report.ledger import Cell, ReportTable
from ...report.text import slug_in_words
from .settings import (
    BROKEN,
    CASES,
    CEILING,
    COMPARISONS,
    FIRST,
    FLOOR,
    GRADIENT_EVALUATIONS,
    KEPT,
    LONGER,
    PLAIN,
    DefenseCase,
    DefenseComparison,
)

NATURAL = "natural"
TUNING, TEST = "tuning", "test"
ABOVE, NATURAL_KEPT = 0.9, 0.8  # shares of seeds that the bar asks for
WITH_LEGEND = PANEL[0], PANEL[1] + 0.8  # inches of a panel that has its own legend below

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DefenseRow:
    """The mean return of one seed's policy under an attack."""

    case: str
    stage: str  # "tuning" or "test"
    configuration: str
    seed: int
    attack: str  # "natural" for none
    epsilon: float
    selected: float  # on the episodes on which attacks are selected
    earned: float  # on the other ones


@dataclass(frozen=True)
class CertifiedRow:
    """Shares of one seed's natural states at which the greedy action cannot change, can, or neither is known."""

    case: str
    seed: int
    epsilon: float
    certified: float
    changed: float
    undecided: float


@dataclass(frozen=True)
class ChosenRow:
    """The configuration of a case that is tested, frozen before it is."""

    case: str
    configuration: str


@dataclass(frozen=True)
class WorstCaseRow:
    """The worst case of one seed's policy on a grid, between a certified bound and what an adversary attains."""

    case: str
    seed: int
    epsilon: float
    certified: float
    attained: float
    undecided: int  # pairs of state and action


def of_case(known: Sequence[DefenseRow], case: str, stage: str = TEST) -> list[DefenseRow]:
    """The rows of a case in one stage."""
    return [row for row in known if (row.case, row.stage) == (case, stage)]


def natural_returns(own: Sequence[DefenseRow]) -> Floats:
    """The natural returns by seed, ``[S]``."""
    natural = sorted((row for row in own if row.attack == NATURAL), key=lambda row: row.seed)
    return np.array([row.earned for row in natural])


def strongest(own: Sequence[DefenseRow], epsilon: float) -> list[DefenseRow]:
    """Return for every seed of a case its row under the strongest attack, sorted by seed.

    It has the lowest return on the episodes of the selection, among all attacks at this epsilon or a smaller one, and
    no attack. What it leaves is read from its other episodes.
    """
    allowed = [row for row in own if row.epsilon <= epsilon]
    seeds = sorted({row.seed for row in own})
    return [min((row for row in allowed if row.seed == seed), key=lambda row: row.selected) for seed in seeds]


def under_attack(own: Sequence[DefenseRow], epsilon: float) -> Floats:
    """The returns under the strongest attack by seed, ``[S]``."""
    return np.array([row.earned for row in strongest(own, epsilon)])


def chosen_configuration(known: Sequence[DefenseRow], case: DefenseCase) -> str:
    """Return the configuration whose median under the strongest attack is highest on the tuning seeds.

    It is chosen among those whose median natural return is at least ``solved`` of the comparison, or among all if there
    is none; of equal ones it is that of the highest mean natural return, and then the first.
    """
    own = of_case(known, case.name, TUNING)
    by_name: dict[str, list[DefenseRow]] = {}
    for row in own:
        by_name.setdefault(row.configuration, []).append(row)
    comparison = case.comparison
    solved = [name for name, each in by_name.items() if np.median(natural_returns(each)) >= comparison.solved]

    def worth(name: str) -> tuple[float, float]:
        each = by_name[name]
        return float(np.median(under_attack(each, comparison.epsilons[-1]))), float(natural_returns(each).mean())

    return max(solved or by_name, key=worth)


def bar_epsilon(known: Sequence[DefenseRow], comparison: DefenseComparison) -> float | None:
    """The smallest epsilon at which plain policies keep at most ``BROKEN`` of a known optimum in the median, if any."""
    own = of_case(known, comparison.plain)
    if comparison.optimum is None or not own:
        return None
    most = BROKEN * comparison.optimum
    return next((each for each in comparison.epsilons if np.median(under_attack(own, each)) <= most), None)


def epsilon_of_tests(known: Sequence[DefenseRow], comparison: DefenseComparison) -> float:
    """The epsilon at which defenses are tested: that of the bar, or the largest if plain policies meet none."""
    return bar_epsilon(known, comparison) or comparison.epsilons[-1]


def family(comparison: DefenseComparison) -> tuple[DefenseCase, ...]:
    """The defenses whose tests are corrected together: of all primary comparisons, or of one that is not primary."""
    return tuple(
        case
        for case in CASES
        if case.tested and (case.comparison is comparison or (comparison.primary and case.comparison.primary))
    )


def probabilities(known: Sequence[DefenseRow], cases: Sequence[DefenseCase]) -> dict[str, float]:
    """The p-values of cases with rows, by name: each against its plain twin, exact under random signs, two-sided."""
    found = {}
    for case in cases:
        own, plain = of_case(known, case.name), of_case(known, str(case.twin))
        if own and plain:
            epsilon = epsilon_of_tests(known, case.comparison)
            found[case.name] = sign_flip_test(under_attack(own, epsilon) - under_attack(plain, epsilon))
    return found


def corrected(known: Sequence[DefenseRow], cases: Sequence[DefenseCase]) -> dict[str, float]:
    """The p-values of a family corrected by Holm, by name; a test that was not run counts as one with p = 1."""
    found = probabilities(known, cases)
    by_case = holm([found.get(case.name, 1.0) for case in cases])
    return {case.name: p for case, p in zip(cases, by_case, strict=True) if case.name in found}


def tables(known: Sequence[DefenseRow], certified: Sequence[CertifiedRow]) -> tuple[ReportTable, ...]:
    """All tables of the study, from the rows that there are; that of certificates only if there are some."""
    found: list[ReportTable] = []
    for comparison in COMPARISONS:
        present = [case for case in CASES if case.comparison is comparison and of_case(known, case.name)]
        tuning = tuning_table(known, comparison)
        made = (
            return_table(known, present, comparison),
            bar_table(known, comparison),
            attack_table(known, present),
            tuning,
        )
        prefix = "" if comparison is FIRST else f"{comparison.name}-"
        found += [each._replace(name=prefix + each.name, title=f"{comparison.name}: {each.title}") for each in made
                  if each.rows]  # fmt: skip
    return (*found, *([certified_table(certified)] if certified else []))


def return_table(
    known: Sequence[DefenseRow], present: Sequence[DefenseCase], comparison: DefenseComparison
) -> ReportTable:
    """Tabulate the natural return and, at every epsilon, the median under the strongest attack with its interval."""
    lines: list[tuple[Cell, ...]] = []
    for case in present:
        own = of_case(known, case.name)
        medians = [median_interval(under_attack(own, epsilon)) for epsilon in comparison.epsilons]
        natural = natural_returns(own)
        lines.append((case.name, len(natural), own[0].configuration, median_interval(natural), *medians))
    columns = ("policy", "seeds", "configuration", NATURAL, *(f"{epsilon:g}" for epsilon in comparison.epsilons))
    return ReportTable("defenses", "Median return under the strongest attack, by epsilon", columns, tuple(lines))


def bar_table(known: Sequence[DefenseRow], comparison: DefenseComparison) -> ReportTable:
    """Compare every defense with plain training, seed by seed, at the smallest epsilon at which plain policies fail.

    The test is exact for the mean of paired differences under random signs, two-sided, and corrected by Holm over its
    ``family``. Exploratory defenses have no corrected value.
    """
    cases = [case for case in CASES if case.comparison is comparison and case.twin is not None]
    p, q = probabilities(known, cases), corrected(known, family(comparison))
    epsilon = epsilon_of_tests(known, comparison)
    lines: list[tuple[Cell, ...]] = []
    for case in (case for case in cases if case.name in p):
        own, plain = of_case(known, case.name), of_case(known, str(case.twin))
        left, of_plain = under_attack(own, epsilon), under_attack(plain, epsilon)
        natural = natural_returns(own)
        above, solved = int((left > of_plain).sum()), int((natural >= comparison.solved).sum())
        loss = difference_interval(natural, natural_returns(plain), paired=True)
        gain = difference_interval(left, of_plain, paired=True)
        lines.append((case.name, epsilon, float(np.median(of_plain)), median_interval(left), above, solved, loss, gain,
                      bar_verdict(known, case, left), p[case.name], q.get(case.name)))  # fmt: skip
    columns = (
        "policy", "epsilon", "plain median", "median", "seeds above plain",
        f"seeds with natural >= {comparison.solved:.4g}", "natural minus plain", "attacked minus plain", "bar", "p",
        "p by Holm",
    )  # fmt: skip
    return ReportTable(
        "bar", "The bar: defended against plain policies under the strongest attack", columns, tuple(lines)
    )


def bar_verdict(known: Sequence[DefenseRow], case: DefenseCase, left: Floats) -> str:
    """Say whether a defense meets the bar if it keeps the returns ``left [S]`` there, or that there is no bar."""
    comparison = case.comparison
    bar = bar_epsilon(known, comparison)
    if bar is None or comparison.optimum is None:
        return "no bar"
    above = int((left > under_attack(of_case(known, str(case.twin)), bar)).sum())
    solved = int((natural_returns(of_case(known, case.name)) >= comparison.solved).sum())
    enough = np.median(left) >= KEPT * comparison.optimum
    return "met" if enough and above >= ABOVE * len(left) and solved >= NATURAL_KEPT * len(left) else "not met"


def attack_table(known: Sequence[DefenseRow], present: Sequence[DefenseCase]) -> ReportTable:
    """Tabulate the median of every attack, and of how many seeds it was selected as the strongest."""
    lines: list[tuple[Cell, ...]] = []
    for case in present:
        own = of_case(known, case.name)
        for epsilon in case.comparison.epsilons:
            selected = [(row.attack, row.epsilon) for row in strongest(own, epsilon)]
            for attack in dict.fromkeys(row.attack for row in own if row.epsilon == epsilon):
                left = [row.earned for row in own if (row.attack, row.epsilon) == (attack, epsilon)]
                lines.append((case.name, epsilon, attack, median_interval(left), selected.count((attack, epsilon))))
    columns = ("policy", "epsilon", "attack", "median", "seeds that it is strongest for")
    return ReportTable("attacks", "Median return under every attack", columns, tuple(lines))


def tuning_table(known: Sequence[DefenseRow], comparison: DefenseComparison) -> ReportTable:
    """Tabulate every configuration on the tuning seeds, and which was chosen."""
    lines: list[tuple[Cell, ...]] = []
    for case in (case for case in CASES if case.comparison is comparison):
        own = of_case(known, case.name, TUNING)
        for name in dict.fromkeys(row.configuration for row in own):
            each = [row for row in own if row.configuration == name]
            natural, left = natural_returns(each), under_attack(each, comparison.epsilons[-1])
            chosen = "chosen" if name == chosen_configuration(known, case) else ""
            lines.append((case.name, name, len(natural), float(np.median(natural)), float(np.median(left)), chosen))
    columns = ("policy", "configuration", "seeds", NATURAL, f"{comparison.epsilons[-1]:g}", "")
    return ReportTable("tuning", "Medians on the tuning seeds under the strongest attack", columns, tuple(lines))


def gradient_table() -> ReportTable:
    """Tabulate the gradient evaluations that a minibatch costs with every defense."""
    lines: list[tuple[Cell, ...]] = [
        (algo, training, evaluations)
        for algo, of in GRADIENT_EVALUATIONS.items()
        for training, evaluations in of.items()
    ]
    columns = ("agent", "training", "gradient evaluations")
    return ReportTable("gradients", "Gradient evaluations of a minibatch", columns, tuple(lines))


def longer_table(known: Sequence[DefenseRow]) -> ReportTable:
    """Compare every defense that is tested with plain training of as many gradient evaluations, at the same epsilon.

    Differences are paired by seed; tests are exact under random signs, two-sided, exploratory and not corrected.
    """
    lines: list[tuple[Cell, ...]] = []
    for name, longer in LONGER.items():
        plain = of_case(known, longer.name)
        for case in (case for case in CASES if plain and case.tested and case.comparison.name == name):
            epsilon = epsilon_of_tests(known, case.comparison)
            own = of_case(known, case.name)
            if not own:
                continue
            left, of_plain = under_attack(own, epsilon), under_attack(plain, epsilon)
            gain = difference_interval(left, of_plain, paired=True)
            medians = median_interval(left), median_interval(of_plain)
            lines.append((case.name, epsilon, *medians, int((left > of_plain).sum()), gain,
                          sign_flip_test(left - of_plain)))  # fmt: skip
    columns = ("policy", "epsilon", "median", "longer plain", "seeds above it", "attacked minus longer plain", "p")
    return ReportTable(
        "longer", "Defended against plain policies of as many gradient evaluations", columns, tuple(lines)
    )


def bound_table(bounds: Sequence[WorstCaseRow]) -> ReportTable:
    """Tabulate the certified bound and the attained worst case, medians over seeds, and the largest gap."""
    lines: list[tuple[Cell, ...]] = []
    for case, epsilon in dict.fromkeys((row.case, row.epsilon) for row in bounds):
        own = [row for row in bounds if (row.case, row.epsilon) == (case, epsilon)]
        certified, attained = np.array([[row.certified, row.attained] for row in own]).T
        gap = float((attained - certified).max())
        lines.append((case, epsilon, median_interval(certified), median_interval(attained), gap, len(own)))
    columns = ("policy", "epsilon", "certified", "worst case", "largest gap", "seeds")
    return ReportTable("bounds", "Exact worst case on the grid, medians over seeds", columns, tuple(lines))


def certified_table(certified: Sequence[CertifiedRow]) -> ReportTable:
    """Tabulate the share of natural states whose greedy action no observation within epsilon can change."""
    lines: list[tuple[Cell, ...]] = []
    for case in dict.fromkeys(row.case for row in certified):
        for epsilon in sorted({row.epsilon for row in certified if row.case == case}):
            own = [row for row in certified if (row.case, row.epsilon) == (case, epsilon)]
            shares = [[row.certified for row in own], [row.undecided for row in own]]
            lines.append((case, epsilon, median_interval(shares[0]), float(np.median(shares[1]))))
    columns = ("policy", "epsilon", "certified", "undecided")
    return ReportTable("certified", "Share of natural states, medians over seeds", columns, tuple(lines))


@in_style
def figure(known: Sequence[DefenseRow], comparison: DefenseComparison = FIRST) -> Figure:
    """Draw the median under the strongest attack against epsilon with its interval.

    A panel has plain training and up to four other cases, on the cart-pole also the two hand-made policies as levels.
    """
    drawn_cases = [case for case in CASES if case.comparison is comparison or case.name == comparison.plain]
    trained = [case for case in drawn_cases if case.defense and of_case(known, case.name)]
    by_name = {case.name: case for case in trained}
    first = [case.name for case in trained if case.arm == PLAIN]
    groups = portions([case.name for case in trained if case.arm != PLAIN], MOST_LINES - 1) or [[]]
    drawn, places = panels(len(groups), size=SINGLE if len(groups) == 1 else WITH_LEGEND, sharey=True)
    for axes, names in zip(places, groups, strict=True):
        for name, style in ((CEILING, "-."), (FLOOR, ":")):
            if comparison.task is FIRST.task and of_case(known, name):
                levels = _medians(known, name, comparison.epsilons)[0]
                axes.plot(range(len(levels)), levels, color=MUTED, linestyle=style, lw=1.1, label=slug_in_words(name))
        for place, case in enumerate(by_name[name] for name in [*first, *names]):
            value, lower, upper = _medians(known, case.name, comparison.epsilons)
            axes.errorbar(
                np.arange(len(value)) + 0.06 * (place - 0.5 * len(names)),
                value,
                (value - lower, upper - value),
                color=COLORS[place],
                linestyle="--" if case.defense == PLAIN else "-",
                label=slug_in_words(case.arm),
                capsize=2,
            )
        if comparison.optimum is not None:
            axes.axhline(KEPT * comparison.optimum, color=MUTED, linewidth=0.8, label="median that a defense needs")
        epsilons = comparison.epsilons
        axes.set_xticks(range(len(epsilons) + 1), ["0", *(f"{epsilon:g}" for epsilon in epsilons)])
        axes.set_xlabel("epsilon [scale of the task]")
        if len(groups) > 1:
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize=7)
    places[0].set(ylabel="median under the strongest attack", title=slug_in_words(comparison.name))
    if len(groups) == 1:
        legend_below(drawn)
    return drawn


def _medians(known: Sequence[DefenseRow], name: str, epsilons: Sequence[float]) -> NDArray[np.float64]:
    """Return median, lower and upper end of the natural return, then of those under attack, ``[3, 1 + L]``."""
    own = of_case(known, name)
    points = [median_interval(natural_returns(own)), *(median_interval(under_attack(own, each)) for each in epsilons)]
    return np.array([[point.value, point.lower, point.upper] for point in points]).T
