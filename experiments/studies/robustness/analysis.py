"""Tables of returns and of differences between attacks, and figures, from rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rlkit.adversarial import NATURAL
from rlkit.figure_style import ALIASED, COLORS, in_style, legend_below, line_widths, mark_epsilon, panels
from rlkit.plotting import SINGLE
from rlkit.statistics import difference_interval, mean_interval, share_interval

from ...report.ledger import Cell, ReportTable
from ...report.text import slug_in_words
from ...workflows.evaluate import mean_return, possible_returns
from ...workflows.fitted_attacks import LINEAR_ADVERSARY
from .settings import ATTACKS, CASES

PANELS = 3  # side by side


@dataclass(frozen=True)
class AttackRow:
    """The mean return of one seed's policy under one attack at one epsilon."""

    case: str
    maker: str  # "rlkit" or "stable-baselines3"
    seed: int
    attack: str  # "natural" for none
    epsilon: float
    mean_return: float
    flip_rate: float  # share of steps at which its greedy action was changed


def rows_of(known: Sequence[AttackRow], case: str, maker: str, attack: str | None = None) -> list[AttackRow]:
    """The rows of one maker's policies, of one attack or of all."""
    return [row for row in known if (row.case, row.maker) == (case, maker) and attack in (None, row.attack)]


def returns(known: Sequence[AttackRow], epsilon: float) -> NDArray[np.float64]:
    """By seed, ``[S]``."""
    return np.array([row.mean_return for row in sorted(known, key=lambda row: row.seed) if row.epsilon == epsilon])


def curve_table(known: Sequence[AttackRow]) -> ReportTable:
    """Natural return first, then every attack at every epsilon, with intervals over training seeds."""
    lines: list[tuple[Cell, ...]] = []
    possible = {case.name: possible_returns(case.task.env, case.task.env_kwargs) for case in CASES}
    for case, maker in dict.fromkeys((row.case, row.maker) for row in known):
        for attack in (NATURAL, *ATTACKS, LINEAR_ADVERSARY):
            own = rows_of(known, case, maker, attack)
            for epsilon in sorted({row.epsilon for row in own}):
                flips = share_interval([row.flip_rate for row in own if row.epsilon == epsilon])
                mean = mean_return(returns(own, epsilon), possible.get(case))
                lines.append((case, maker, attack, epsilon, mean, flips))
    columns = ("case", "maker", "attack", "epsilon", "return", "share of actions flipped")
    return ReportTable(
        "returns", "Mean return over seeds against epsilon in units of the task's scale", columns, tuple(lines)
    )


def order_table(known: Sequence[AttackRow]) -> ReportTable:
    """How much lower the return is under each attack than under the one before it, paired by seed.

    "harms more" and "harms less" are said where the 95 % interval leaves zero out.
    """
    lines: list[tuple[Cell, ...]] = []
    for case, maker in dict.fromkeys((row.case, row.maker) for row in known):
        for weaker, stronger in pairwise(ATTACKS):
            before, after = (rows_of(known, case, maker, attack) for attack in (weaker, stronger))
            for epsilon in sorted({row.epsilon for row in before} & {row.epsilon for row in after}):
                change = difference_interval(returns(after, epsilon), returns(before, epsilon), paired=True)
                verdict = "harms more" if change.upper < 0 else "harms less" if change.lower > 0 else ""
                lines.append((case, maker, weaker, stronger, epsilon, change, verdict))
    columns = ("case", "maker", "attack", "then", "epsilon", "change of the return", "the second")
    return ReportTable("order", "From one attack to the next", columns, tuple(lines))


@in_style
def figure(known: Sequence[AttackRow], aliasing: float | None) -> Figure:
    """Return against epsilon, a panel per case and maker, with intervals over seeds, clipped to the range of the data.

    Args:
        known: rows of one task.
        aliasing: the epsilon from which states can look alike, marked in every panel; None for none.
    """
    policies = list(dict.fromkeys((row.case, row.maker) for row in known))
    drawn, places = panels(len(policies), PANELS, (2.4, 1.9) if len(policies) > 1 else SINGLE, sharex=True, sharey=True)
    for panel, (case, maker) in zip(places, policies, strict=True):
        for attack, color, width in zip(ATTACKS, COLORS, line_widths(len(ATTACKS)), strict=False):
            own = rows_of(known, case, maker, attack)
            if own:
                epsilons = [0.0, *sorted({row.epsilon for row in own})]
                levels = [returns(rows_of(known, case, maker, NATURAL), 0.0)]
                levels += [returns(own, epsilon) for epsilon in epsilons[1:]]
                found = np.stack(levels)  # [L, S]
                mean = mean_interval(found, axis=1)
                lower, upper = (
                    np.maximum(mean.lower, found.min(axis=None)),
                    np.minimum(mean.upper, found.max(axis=None)),
                )
                panel.plot(epsilons, mean.value, color=color, marker="o", markersize=3, linewidth=width, label=attack)
                panel.fill_between(epsilons, lower, upper, color=color, alpha=0.12, linewidth=0)
        if aliasing is not None:
            mark_epsilon(panel, aliasing, ALIASED)
        panel.set_title(f"{slug_in_words(case)}, {maker}", fontsize=8)
    drawn.supxlabel("epsilon [scale of the task]", fontsize=9)
    drawn.supylabel("return", fontsize=9)
    legend_below(drawn, columns=3)
    return drawn
