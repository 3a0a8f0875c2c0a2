"""One look for all figures: colors that color-blind readers can distinguish, fonts, grids, legends, and SVG files.

A function that draws is decorated with ``in_style``, which sets matplotlib's parameters while it runs and restores
them. The colors of text, lines and background have dark counterparts, which ``svg`` writes into the file for readers
who prefer a dark page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#1f2933")  # Okabe & Ito 2008
DASHES = ("--", ":", "-.")  # of levels and marks
INK, MUTED, GRID, PAPER = "#1f2933", "#56606b", "#dde2e7", "#ffffff"
DARK = {INK: "#e3e8ed", MUTED: "#a7b1bb", GRID: "#39424c", PAPER: "#15191e"}  # the same on a dark page
ON_LIGHT, ON_DARK = "#000001", "#fefefe"  # text and arrows on colored tiles, on a dark page too
DIVERGING = "RdBu_r"  # color map of differences, zero in the middle
VALUES = "viridis"  # color map of values
MOST_LINES = 5  # of a panel; more are drawn as small multiples
PANEL = (4.6, 3.2)  # inches
PANELS_PER_ROW = 2
LEGEND_HANDLE, LEGEND_LETTER = 0.6, 0.066  # inches of a legend's line and gaps, and of a letter
NARROWEST, WIDER = 1.2, 0.4  # points: of the last of several lines in a panel, and of each more than of the next
DPI = 110
ALIASED = "states can look alike"  # label of the mark at ``aliasing_epsilon``

LegendPlace = Literal["outside upper center", "outside lower center"]

STYLE: dict[str, Any] = {
    "figure.facecolor": PAPER,
    "figure.constrained_layout.use": True,
    "axes.facecolor": "none",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=COLORS),
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "text.color": INK,
    "font.size": 9,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "image.cmap": VALUES,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",
    "svg.hashsalt": "rlkit",
    "path.simplify_threshold": 0.3,
}

in_style = mpl.rc_context(STYLE)  # type: ignore[arg-type]  # a decorator, and a context


def panels(
    count: int, side_by_side: int = PANELS_PER_ROW, size: tuple[float, float] = PANEL, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """Make a figure with ``count`` panels, row by row; places that are left over stay empty.

    Args:
        count: number of panels.
        side_by_side: most panels side by side.
        size: width and height of a panel in inches.
        **shared: arguments of ``Figure.subplots``, such as ``sharey=True``.
    """
    columns = min(count, side_by_side)
    rows = -(-count // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False, **shared).flatten()
    for empty in places[count:]:
        empty.set_axis_off()
    return figure, list(places[:count])


def portions(names: Sequence[str], most: int = MOST_LINES) -> list[list[str]]:
    """Divide names into as few groups of at most ``most`` as possible, of nearly equal sizes, in order."""
    groups = -(-len(names) // most)
    return [list(part) for part in np.array_split(np.array(names, dtype=object), groups)] if groups else []


def line_widths(count: int) -> list[float]:
    """Return widths of ``count`` lines, the first widest, so that equal lines drawn over each other are all seen."""
    if count == 1:
        return [STYLE["lines.linewidth"]]
    return [NARROWEST + WIDER * after for after in reversed(range(count))]


def legend_below(figure: Figure, columns: int = 2) -> None:
    """Write one legend for all panels below them, where it hides nothing; every label once.

    It has at most ``columns`` columns, and no more than fit the width of the figure. Where a common label of the x axes
    is below, the legend is above.
    """
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        longest = max(map(len, entries))
        fitting = int(figure.get_figwidth() / (LEGEND_HANDLE + LEGEND_LETTER * longest))
        columns = max(min(columns, len(entries), fitting), 1)
        place: LegendPlace = "outside upper center" if figure.get_supxlabel() else "outside lower center"
        figure.legend(entries.values(), entries, loc=place, ncols=columns)


def mark_epsilon(axes: Axes, epsilon: float, label: str) -> None:
    """Mark a place on the x axis with a dotted line."""
    axes.axvline(epsilon, color=MUTED, linewidth=1.1, linestyle=":", label=label)


def blank_zeros(values: NDArray[Any]) -> NDArray[Any]:
    """Mask cells that are zero, so that a map leaves them blank."""
    return np.ma.masked_where(np.isnan(values) | (np.abs(values) < 1e-12), values)


def png(figure: Figure, dpi: int = DPI) -> bytes:
    """Convert a figure to the bytes of a PNG file, with ``dpi`` pixels per inch."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": ""}, pil_kwargs={"optimize": True})
    return buffer.getvalue()


@in_style
def svg(figure: Figure) -> bytes:
    """Convert a figure to the bytes of an SVG file, the same bytes for the same figure.

    Texts stay texts. A reader that prefers a dark page and knows style sheets shows it in the colors of ``DARK``.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", dpi=DPI, metadata={"Date": None, "Creator": None})
    drawn = re.sub(r"\n\s+<metadata>.*?</metadata>", "", buffer.getvalue().decode("utf-8"), flags=re.DOTALL)
    rules = "".join(
        f'[style*="{part}: {light}"]{{{part}:{dark}!important}}'
        for light, dark in DARK.items()
        for part in ("fill", "stroke")
    )
    sheet = (
        f"<style>@media (prefers-color-scheme: dark){{text:not([style*='fill:']){{fill:{DARK[INK]}}}{rules}}}</style>"
    )
    return re.sub(r"(<svg [^>]*>)", rf"\1\n {sheet}", drawn, count=1).encode("utf-8")
