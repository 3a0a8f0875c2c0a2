"""The figure of the variances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from rlkit.figure_style import COLORS, MUTED, in_style, legend_below, panels

from .variance import VarianceRow


@in_style
def variance_figure(known: Sequence[VarianceRow]) -> Figure:
    """Draw the variance of every baseline at every stage, relative to none: medians over seeds with quartiles."""
    stages = list(dict.fromkeys(row.stage for row in known))
    baselines = list(dict.fromkeys(row.cell for row in known if row.cell != "none"))
    none = {(row.stage, row.seed): row.variance for row in known if row.cell == "none"}
    figure, (axes,) = panels(1, size=(7.2, 3.6))
    for number, baseline in enumerate(baselines):
        ratios = [
            [row.variance / none[stage, row.seed] for row in known if (row.cell, row.stage) == (baseline, stage)]
            for stage in stages
        ]
        low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75), axis=1)
        x = np.arange(len(stages)) + 0.1 * (number - (len(baselines) - 1) / 2)
        errors, color = (middle - low, high - middle), COLORS[number]
        axes.errorbar(x, middle, errors, fmt="o", markersize=4, capsize=2, color=color, label=baseline)
    axes.axhline(1.0, color=MUTED, linewidth=0.8, label="without baseline")
    axes.set_xticks(np.arange(len(stages)), [f"{stage:,}" for stage in stages])
    axes.set_xlabel("environment steps of training with baseline value")
    axes.set_ylabel("variance / without baseline")
    legend_below(figure, columns=3)
    return figure
