"""Figures: learning curves and robustness curves with intervals, and dots per seed.

Every figure is drawn off screen and returned. No function opens a window or changes global state of matplotlib.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from rlkit.statistics import mean_interval

# colors of Okabe & Ito, which color-blind readers can distinguish; the palest is left out
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DPI = 110
SMALL_DPI = 65  # resolution of figures on the pages
SEEDS_FOR_BAND = 3  # fewest seeds for which an interval is drawn


class Curve(NamedTuple):
    """One quantity of S seeds along a common axis."""

    x: ArrayLike  # [T]
    y: ArrayLike  # [T, S]; NaN where a seed has no value yet


class Reference(NamedTuple):
    """A constant level for comparison, such as an exact optimum."""

    label: str
    level: float


def learning_curves(
    curves: Mapping[str, Curve],
    *,
    ylabel: str = "return",
    references: Sequence[Reference] = (),
    title: str = "",
) -> Figure:
    """Draw a quantity against environment steps, one color per name.

    Args:
        curves: name -> curve.
        ylabel: label of the quantity.
        references: levels drawn as horizontal lines.
        title: title of the figure.

    Raises:
        ValueError: see ``draw_curves``.
    """
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    draw_curves(figure.add_subplot(), curves, "environment steps per seed", ylabel, title, references)
    return figure


def robustness_curves(
    policies: Mapping[str, Mapping[str, Curve]], *, xlabel: str, ylabel: str = "return", mark: Reference | None = None
) -> Figure:
    """Draw return against epsilon: one panel per policy with a common axis, one color per attack.

    Args:
        policies: policy -> attack -> curve.
        xlabel: label of epsilon.
        ylabel: label of the quantity.
        mark: an epsilon to mark with a vertical line in every panel.

    Raises:
        ValueError: there is no policy; see also ``draw_curves``.
    """
    if not policies:
        raise ValueError("policies must hold at least one policy, got none")
    figure = Figure(figsize=(1.0 + 5.2 * len(policies), 4.2), layout="constrained")
    panels = figure.subplots(1, len(policies), sharex=True, sharey=True, squeeze=False)[0]
    for panel, (policy, curves) in zip(panels, policies.items(), strict=True):
        draw_curves(panel, curves, xlabel, ylabel if panel is panels[0] else "", policy, marker="o")
        if mark is not None:
            panel.axvline(mark.level, color="#555555", linewidth=1.1, linestyle=":", label=mark.label)
            panel.legend(frameon=False, fontsize=9)
    return figure


def draw_curves(
    axes: Axes,
    curves: Mapping[str, Curve],
    xlabel: str,
    ylabel: str,
    title: str = "",
    references: Sequence[Reference] = (),
    marker: str = "",
) -> None:
    """Draw the mean over seeds with Student's 95 % interval, and every seed as a thin line; one color per name.

    A gap of a seed (NaN) is filled with its last value. The mean begins where every seed has a value. Intervals are
    clipped to the range of the data. Below three seeds no interval is drawn, and the legend says so: the interval of
    two seeds is 13 times as wide as their distance.

    Args:
        axes: axes to draw on.
        curves: name -> curve.
        xlabel: label of x.
        ylabel: label of y.
        title: title of the axes.
        references: levels drawn as horizontal lines.
        marker: marker of matplotlib for the points of the mean; "" for none.

    Raises:
        ValueError: there is no curve, or x and y of a curve have different lengths.
    """
    if not curves:
        raise ValueError("curves must hold at least one curve, got none")
    for (name, curve), color in zip(curves.items(), cycle(COLORS), strict=False):
        _draw_seeds(axes, name, curve, color, marker)
    for reference, style in zip(references, cycle(("--", ":", "-.")), strict=False):
        axes.axhline(reference.level, color="#555555", linewidth=1.1, linestyle=style, label=reference.label)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.margins(x=0.01)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)


def _draw_seeds(axes: Axes, name: str, curve: Curve, color: str, marker: str) -> None:
    """Draw seeds, mean and interval of one curve."""
    x, y = np.asarray(curve.x, dtype=np.float64), filled_forward(curve.y)
    if y.ndim != 2 or x.shape != y.shape[:1]:
        raise ValueError(f"curve {name!r} has x of shape {x.shape} and y of shape {y.shape}: expected [T] and [T, S]")
    num_seeds = y.shape[1]
    if num_seeds > 1:
        axes.plot(x, y, color=color, linewidth=0.6, alpha=0.35)
    complete = np.isfinite(y).all(axis=1)  # [T]
    if not complete.any():
        return
    mean = mean_interval(y[complete], axis=1)
    label = f"{name}, {_spread(num_seeds)}"
    axes.plot(x[complete], mean.value, color=color, linewidth=1.8, marker=marker, markersize=4, label=label)
    if num_seeds >= SEEDS_FOR_BAND:
        least, greatest = np.nanmin(y, axis=None), np.nanmax(y, axis=None)
        lower, upper = np.maximum(mean.lower, least), np.minimum(mean.upper, greatest)
        axes.fill_between(x[complete], lower, upper, color=color, alpha=0.18, linewidth=0)


def strips(axes: Axes, groups: Mapping[str, ArrayLike], ylabel: str, title: str = "") -> None:
    """Draw one dot per seed for every group, and next to them the mean with Student's 95 % interval.

    A group of one or two seeds shows its mean without an interval. Dots are spread sideways by rank.

    Args:
        axes: axes to draw on.
        groups: name -> numbers ``[S]``, one per seed.
        ylabel: label of the numbers.
        title: title of the axes.

    Raises:
        ValueError: there is no group, or one is not a list of numbers.
    """
    if not groups:
        raise ValueError("groups must hold at least one group, got none")
    for place, ((name, values), color) in enumerate(zip(groups.items(), cycle(COLORS), strict=False)):
        numbers = np.sort(np.asarray(values, dtype=np.float64))
        if numbers.ndim != 1 or not len(numbers):
            raise ValueError(f"group {name!r} has shape {numbers.shape}: expected one number per seed")
        sideways = 0.12 * (np.arange(len(numbers)) % 5 - 2) / 2
        axes.plot(place - 0.1 + sideways, numbers, "o", color=color, markersize=3.5, alpha=0.5, markeredgewidth=0)
        mean = mean_interval(numbers)
        half = mean.upper - mean.value if len(numbers) >= SEEDS_FOR_BAND else 0.0
        axes.errorbar(place + 0.25, mean.value, yerr=half, fmt="s", color=color, markersize=4.5, capsize=3)
    axes.set_xticks(range(len(groups)), list(groups), fontsize=8)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_ylabel(ylabel)
    axes.set_title(title, fontsize=10)
    axes.grid(visible=True, axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _spread(num_seeds: int) -> str:
    """Describe a line and its band for the legend."""
    if num_seeds >= SEEDS_FOR_BAND:
        return f"mean of {num_seeds} seeds, 95 % interval"
    return "1 seed" if num_seeds == 1 else f"mean of {num_seeds} seeds, too few for a band"


def png(figure: Figure, dpi: int = DPI) -> bytes:
    """Convert a figure to the bytes of a PNG file, with ``dpi`` pixels per inch."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": ""}, pil_kwargs={"optimize": True})
    return buffer.getvalue()


def filled_forward(y: ArrayLike) -> NDArray[np.float64]:
    """Replace every NaN of ``y [T, S]`` by the last number of the seed before it; leading NaNs stay."""
    values = np.array(y, dtype=np.float64)
    for t in range(1, len(values)):
        values[t] = np.where(np.isnan(values[t]), values[t - 1], values[t])
    return values
