"""Figures of the tables."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from rlkit.figure_style import (
    COLORS,
    DIVERGING,
    MUTED,
    ON_DARK,
    ON_LIGHT,
    blank_zeros,
    in_style,
    legend_below,
    portions,
)

from ...report.text import slug_in_words
from . import settings
from .analysis import PAIRED, RANDOM, Flipped, Offset, Spread


@in_style
def transfer_figure(known: Sequence[Flipped]) -> Figure:
    """Flips beyond those of noise in per cent of the states: a panel for each task and way to pair seeds."""
    panels = list(dict.fromkeys((settings.task_of(row.source).name, row.roll) for row in known))
    own = [[row for row in known if (settings.task_of(row.source).name, row.roll) == panel] for panel in panels]
    heights = [2 + len({row.source for row in rows}) for rows in own]
    drawn = Figure(figsize=(7.0, 0.25 * sum(heights)), layout="constrained")
    axes = drawn.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
    for each, rows, (task, roll) in zip(axes, own, panels, strict=True):
        image = draw_matrix(each, rows)
        each.set_title(f"{slug_in_words(task)}: shown to {'the ' if roll == 0 else ''}{PAIRED[roll]}")
    drawn.colorbar(image, ax=list(axes), label="share of states flipped, minus that of noise", aspect=40)
    return drawn


def draw_matrix(axes: Axes, known: Sequence[Flipped]) -> AxesImage:
    """Sources by targets, the mean over seeds; return the colored cells."""
    sources, targets = (list(dict.fromkeys(getattr(row, field) for row in known)) for field in ("source", "target"))
    excess = np.zeros((len(sources), len(targets)))
    for (i, source), (j, target) in product(enumerate(sources), enumerate(targets)):
        same = [row.flips - row.noise for row in known if (row.source, row.target) == (source, target)]
        excess[i, j] = np.mean(same)
        if round(100 * excess[i, j]):
            color = ON_DARK if abs(excess[i, j]) > 0.5 else ON_LIGHT
            axes.text(j, i, f"{100 * excess[i, j]:.0f}", ha="center", va="center", fontsize=7, color=color)
    image = axes.imshow(blank_zeros(excess), cmap=DIVERGING, vmin=-0.8, vmax=0.8, aspect="auto")
    axes.set_xticks(range(len(targets)), targets, rotation=40, ha="right", fontsize=7)
    axes.set_yticks(range(len(sources)), sources, fontsize=7)
    axes.set_ylabel("made on")
    axes.grid(visible=False)
    return image


@in_style
def universal_figure(known: Sequence[Offset]) -> Figure:
    """Flips of other seeds against the number of states that an offset was fitted on, and by random offsets.

    A column of panels per source, a row per epsilon and up to five targets, a color per target.
    """
    sources = [source for source in settings.FITTED_ON if any(row.source == source for row in known)]
    epsilons = sorted({row.epsilon for row in known})
    colors = dict(zip(settings.SHOWN_TO, COLORS, strict=False))
    lines = list(product(epsilons, portions(settings.SHOWN_TO)))
    drawn = Figure(figsize=(7.0, 0.7 + 1.7 * len(lines)), layout="constrained")
    panels = drawn.subplots(len(lines), len(sources), sharex=True, sharey=True, squeeze=False)
    for (i, (epsilon, targets)), (j, source) in product(enumerate(lines), enumerate(sources)):
        panel = panels[i, j]
        for target in targets:
            color = colors[target]
            here = [row for row in known if (row.target, row.epsilon) == (target, epsilon)]
            own = [row for row in here if row.source == source and row.roll == max(settings.ROLLS)]
            counts = sorted({row.states for row in own})
            means = [np.mean([row.flips for row in own if row.states == count]) for count in counts]
            panel.plot(counts, means, color=color, marker="o", markersize=3, label=target)
            chance = np.mean([row.flips for row in here if row.source == RANDOM])
            panel.axhline(chance, color=color, linestyle=":", linewidth=0.9)
        panel.set_xscale("log")
        panel.set_title(f"Fitted on {source}, epsilon {epsilon:g}")
    drawn.supylabel("share of states flipped", fontsize=8)
    drawn.supxlabel("states that the offset was fitted on (dotted: random offsets)", fontsize=8)
    legend_below(drawn, columns=4)
    return drawn


@in_style
def dimension_figure(known: Sequence[Spread]) -> Figure:
    """The epsilon that flips beside its prediction, and the alignment of noise beside 1/n, against n.

    A column of panels for each way to lengthen observations.
    """
    encodings = list(dict.fromkeys(row.encoding for row in known))
    drawn = Figure(figsize=(7.0, 4.8), layout="constrained")
    places = drawn.subplots(2, len(encodings), sharex=True, sharey="row", squeeze=False)
    above, below = (dict(zip(encodings, line, strict=True)) for line in places)
    lengths = sorted({row.n for row in known})
    colors = dict(zip(dict.fromkeys(row.policy for row in known), COLORS, strict=False))
    for policy, encoding in dict.fromkeys((row.policy, row.encoding) for row in known):
        own = [[row for row in known if (row.policy, row.encoding, row.n) == (policy, encoding, n)] for n in lengths]
        measured, predicted, noise = (
            [float(np.mean([getattr(row, field) for row in same])) for same in own]
            for field in ("measured", "predicted", "noise")
        )
        dots = {"color": colors[policy], "marker": "o", "markersize": 3, "linestyle": "none"}
        above[encoding].plot(lengths, measured, label=policy, **dots)
        above[encoding].plot(lengths, predicted, color=colors[policy], linewidth=0.9)
        below[encoding].plot(lengths, noise, **dots)
    for encoding in encodings:
        below[encoding].plot(lengths, [1 / n for n in lengths], color=MUTED, linewidth=0.9, label="1 / n")
        above[encoding].set(yscale="log", title=f"{encoding.capitalize()} observations")
        above[encoding].set_xscale("log", base=2)
        below[encoding].set(yscale="log", xlabel="number of features n")
    places[0, 0].set_ylabel("median epsilon that flips\n(lines: predicted)")
    places[1, 0].set_ylabel("squared cosine\nof random signs")
    legend_below(drawn, columns=3)
    return drawn
