"""The figure of returns and flips."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from rlkit.figure_style import in_style, legend_below, panels
from rlkit.plotting import Curve, draw_curves


@in_style
def robustness_figure(quantities: Mapping[str, Mapping[str, Curve]], unit: str) -> Figure:
    """Draw quantities against epsilon: a panel for each label of a quantity, a curve for each network."""
    figure, places = panels(len(quantities))
    for axes, (label, curves) in zip(places, quantities.items(), strict=True):
        draw_curves(axes, curves, f"epsilon [{unit}]", label, marker="o")
    legend_below(figure, columns=3)
    return figure
