"""Figures: learning curves and robustness curves with intervals, and dots per seed.

Every figure is drawn off screen in the style of ``rlkit.figure_style`` and returned. No function opens a window or
leaves global state of matplotlib changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from rlkit.figure_style import (
    COLORS,
    DASHES,
    MOST_LINES,
    MUTED,
    in_style,
    legend_below,
    line_widths,
    mark_epsilon,
    panels,
    portions,
)
from rlkit.statistics import mean_interval

SEEDS_FOR_BAND = 3  # fewest seeds for which an interval is drawn
SEEDS_AS_LINES = 10  # most seeds that are drawn one by one
SINGLE = (7.2, 4.2)  # inches of a panel that stands alone


class Curve(NamedTuple):
    """One quantity of S seeds along a common axis."""

    x: ArrayLike  # [T]
    y: ArrayLike  # [T, S]; NaN where a seed has no value yet


class Reference(NamedTuple):
    """A constant level for comparison, such as an exact optimum."""

    label: str
    level: float


@in_style
def learning_curves(
    curves: Mapping[str, Curve],
    *,
    ylabel: str = "return",
    references: Sequence[Reference] = (),
    title: str = "",
) -> Figure:
    """Draw a quantity against environment steps, one color per name; more than five names share several panels.

    Args:
        curves: name -> curve.
        ylabel: label of the quantity.
        references: levels drawn as horizontal lines.
        title: title of the figure.

    Raises:
        ValueError: see ``draw_curves``.
    """
    figure = curve_panels([("", curves)], "environment steps per seed", ylabel, title, references)
    for axes in figure.axes:
        axes.xaxis.set_major_formatter("{x:,.0f}")
    return figure


@in_style
def robustness_curves(
    policies: Mapping[str, Mapping[str, Curve]], *, xlabel: str, ylabel: str = "return", mark: Reference | None = None
) -> Figure:
    """Draw return against epsilon, one color per attack: a panel per policy with common axes.

    A policy with more than five attacks gets several panels.

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
    return curve_panels(list(policies.items()), xlabel, ylabel, marker="o", mark=mark)


@in_style
def curve_panels(
    groups: Sequence[tuple[str, Mapping[str, Curve]]],
    xlabel: str,
    ylabel: str,
    title: str = "",
    references: Sequence[Reference] = (),
    marker: str = "",
    mark: Reference | None = None,
) -> Figure:
    """Draw groups of curves with common axes, at most five curves a panel, and one legend below.

    A name has the same color in every group.

    Args:
        groups: title and curves by name, of each group.
        xlabel: label of x.
        ylabel: label of y.
        title: title of the figure.
        references: levels drawn as horizontal lines.
        marker: marker of matplotlib for the points of the mean; "" for none.
        mark: a place on the x axis to mark with a vertical line in every panel.

    Raises:
        ValueError: see ``draw_curves``.
    """
    colors = dict(zip(dict.fromkeys(name for _, curves in groups for name in curves), cycle(COLORS), strict=False))
    places = [(group, curves, names) for group, curves in groups for names in portions(list(curves)) or [[]]]
    alone = len(places) == 1
    figure, drawn = panels(len(places), size=SINGLE if alone else (4.6, 3.4), sharex=True, sharey=True)
    for axes, (group, curves, names) in zip(drawn, places, strict=True):
        shown = {name: curves[name] for name in names}
        left = axes.get_subplotspec().is_first_col()  # type: ignore[union-attr]  # panels are subplots
        draw_curves(axes, shown, xlabel, ylabel if left else "", group, references, marker, colors)
        axes.tick_params(labelbottom=True)
        if mark is not None:
            mark_epsilon(axes, mark.level, mark.label)
    if title:
        figure.suptitle(title, fontsize=10)
    legend_below(figure)
    return figure


def draw_curves(
    axes: Axes,
    curves: Mapping[str, Curve],
    xlabel: str,
    ylabel: str,
    title: str = "",
    references: Sequence[Reference] = (),
    marker: str = "",
    colors: Mapping[str, str] | None = None,
) -> None:
    """Draw the mean over seeds with Student's 95 % interval, one color per name; up to ten seeds also as thin lines.

    A gap of a seed (NaN) is filled with its last value. The mean begins where every seed has a value. Intervals are
    clipped to the range of the data. Below three seeds no interval is drawn, and the legend says so: the interval of
    two seeds is 13 times as wide as their distance. The first line is the widest, so that equal ones are all seen. The
    caller draws the legend.

    Args:
        axes: axes to draw on.
        curves: name -> curve, at most five.
        xlabel: label of x.
        ylabel: label of y.
        title: title of the axes.
        references: levels drawn as horizontal lines.
        marker: marker of matplotlib for the points of the mean; "" for none.
        colors: name -> color; None takes those of ``rlkit.figure_style`` in order.

    Raises:
        ValueError: there is no curve, there are more than five, or x and y of a curve have different lengths.
    """
    if not curves:
        raise ValueError("curves must hold at least one curve, got none")
    if len(curves) > MOST_LINES:
        raise ValueError(f"a panel shows at most {MOST_LINES} curves, got {len(curves)}: draw several panels")
    for (name, curve), color, width in zip(curves.items(), COLORS, line_widths(len(curves)), strict=False):
        _draw_seeds(axes, name, curve, color if colors is None else colors[name], marker, width)
    for reference, style in zip(references, cycle(DASHES), strict=False):
        axes.axhline(reference.level, color=MUTED, linewidth=1.1, linestyle=style, label=reference.label)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.margins(x=0.01)


def _draw_seeds(axes: Axes, name: str, curve: Curve, color: str, marker: str, width: float) -> None:
    """Draw seeds, mean and interval of one curve."""
    x, y = np.asarray(curve.x, dtype=np.float64), filled_forward(curve.y)
    if y.ndim != 2 or x.shape != y.shape[:1]:
        raise ValueError(f"curve {name!r} has x of shape {x.shape} and y of shape {y.shape}: expected [T] and [T, S]")
    num_seeds = y.shape[1]
    if 1 < num_seeds <= SEEDS_AS_LINES:
        axes.plot(x, y, color=color, linewidth=0.6, alpha=0.35)
    complete = np.isfinite(y).all(axis=1)  # [T]
    if not complete.any():
        return
    mean = mean_interval(y[complete], axis=1)
    label = f"{name}, {_spread(num_seeds)}"
    axes.plot(x[complete], mean.value, color=color, marker=marker, linewidth=width, label=label)
    if num_seeds >= SEEDS_FOR_BAND:
        least, greatest = np.nanmin(y, axis=None), np.nanmax(y, axis=None)
        lower, upper = np.maximum(mean.lower, least), np.minimum(mean.upper, greatest)
        axes.fill_between(x[complete], lower, upper, color=color, alpha=0.18, linewidth=0)


def strips(
    axes: Axes,
    groups: Mapping[str, ArrayLike],
    ylabel: str,
    title: str = "",
    limits: tuple[float, float] | None = None,
) -> None:
    """Draw one dot per seed for every group, and next to them the mean with Student's 95 % interval.

    A group of one or two seeds shows its mean without an interval. Dots are spread sideways by rank.

    Args:
        axes: axes to draw on.
        groups: name -> numbers ``[S]``, one per seed.
        ylabel: label of the numbers.
        title: title of the axes.
        limits: least and greatest number that is possible, to which intervals are cut; None where they are not known.

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
        ends = np.array([mean.lower, mean.upper] if len(numbers) >= SEEDS_FOR_BAND else [mean.value] * 2)
        lower, upper = ends if limits is None else ends.clip(*limits)
        reach = np.maximum([[mean.value - lower], [upper - mean.value]], 0.0)  # the mean of equal numbers is rounded
        axes.errorbar(place + 0.25, mean.value, yerr=reach, fmt="s", color=color, markersize=4.5, capsize=3)
    axes.set_xticks(range(len(groups)), list(groups))
    axes.set(xlim=(-0.6, len(groups) - 0.4), ylabel=ylabel, title=title)
    axes.grid(visible=False, axis="x")


def _spread(num_seeds: int) -> str:
    """Describe a line and its band for the legend."""
    if num_seeds >= SEEDS_FOR_BAND:
        return f"mean of {num_seeds} seeds, 95 % interval"
    return "1 seed" if num_seeds == 1 else f"mean of {num_seeds} seeds, too few for a band"


def filled_forward(y: ArrayLike) -> NDArray[np.float64]:
    """Replace every NaN of ``y [T, S]`` by the last number of the seed before it; leading NaNs stay."""
    values = np.array(y, dtype=np.float64)
    for t in range(1, len(values)):
        values[t] = np.where(np.isnan(values[t]), values[t - 1], values[t])
    return values
