"""The look of all figures: what a style sheet of a dark page finds, legends that fit, panels of few lines."""

from __future__ import annotations

import re

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from rlkit.figure_style import DARK, INK, MOST_LINES, PAPER, blank_zeros, in_style, legend_below, portions, svg
from rlkit.plotting import SEEDS_AS_LINES, Curve, draw_curves, learning_curves, robustness_curves


def luminance(color: str) -> float:
    """Relative luminance of WCAG 2."""
    parts = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_svg_files_are_the_same_every_time_and_turn_dark() -> None:
    first, second = (svg(learning_curves({"a": Curve([0, 1], np.eye(2))})) for _ in range(2))
    assert first == second
    text = first.decode("utf-8")
    assert "<metadata>" not in text
    assert "environment steps per seed</text>" in text  # a text, not outlines
    sheet = re.findall(r"<style>(@media \(prefers-color-scheme: dark\).*?)</style>", text)[0]
    for light, dark in DARK.items():
        assert f'[style*="fill: {light}"]{{fill:{dark}!important}}' in sheet
        assert f"fill: {light}" in text or f"stroke: {light}" in text
    assert luminance(DARK[INK]) > 0.7 > 0.1 > luminance(DARK[PAPER])


def test_the_style_is_set_while_drawing_and_nowhere_else() -> None:
    before = dict(mpl.rcParams)
    inside = in_style(lambda: mpl.rcParams["axes.edgecolor"])()
    assert inside != before["axes.edgecolor"]
    assert dict(mpl.rcParams) == before


@given(st.integers(0, 40), st.integers(1, 7))
def test_portions_keep_order_and_are_of_nearly_equal_sizes(count: int, most: int) -> None:
    names = [str(i) for i in range(count)]
    groups = portions(names, most)
    assert [name for group in groups for name in group] == names
    assert len(groups) == -(-count // most)
    sizes = [len(group) for group in groups]
    assert not sizes or max(sizes) <= min(most, min(sizes) + 1)


def test_equal_curves_are_all_seen_because_each_line_is_narrower_than_the_one_below_it() -> None:
    axes = learning_curves({name: Curve([0, 1], np.zeros((2, 3))) for name in "abc"}).axes[0]
    widths = [line.get_linewidth() for line in axes.lines if line.get_label()[0] != "_"]
    assert len(widths) == 3
    assert widths[0] > widths[1] > widths[2]


def test_more_than_five_curves_are_drawn_in_several_panels_with_one_legend() -> None:
    curves = {f"agent {i}": Curve([0, 1], np.full((2, 3), float(i))) for i in range(7)}
    figure = learning_curves(curves)
    assert [len([line for line in axes.lines if line.get_label()[0] != "_"]) for axes in figure.axes] == [4, 3]
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 7
    with pytest.raises(ValueError, match=f"at most {MOST_LINES} curves, got 7"):
        draw_curves(Figure().add_subplot(), curves, "x", "y")
    attacks = robustness_curves({"policy": curves, "other": dict(list(curves.items())[:2])}, xlabel="epsilon")
    assert [axes.get_title(loc="left") for axes in attacks.axes if axes.lines] == ["policy", "policy", "other"]
    lines = {line.get_label(): line.get_color() for axes in attacks.axes for line in axes.lines}
    assert len({color for label, color in lines.items() if label.startswith("agent")}) == 7


@pytest.mark.parametrize("num_seeds", [SEEDS_AS_LINES, SEEDS_AS_LINES + 1])
def test_seeds_are_lines_only_up_to_ten(num_seeds: int) -> None:
    axes = Figure().add_subplot()
    draw_curves(axes, {"a": Curve([0, 1, 2], np.arange(3.0 * num_seeds).reshape(3, num_seeds))}, "x", "y")
    assert len(axes.lines) == 1 + (num_seeds if num_seeds <= SEEDS_AS_LINES else 0)


def test_a_legend_is_as_wide_as_its_figure_at_most() -> None:
    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for i in range(3):
        axes.plot([0, 1], [i, i], label=f"a label of many words, the number {i} of three, with an interval of 95 %")
    legend_below(figure, columns=3)
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= axes.get_window_extent().y0


def test_a_legend_is_above_where_a_common_label_is_below() -> None:
    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], label="a")
    figure.supxlabel("epsilon")
    legend_below(figure)
    figure.draw_without_rendering()
    assert figure.legends[0].get_window_extent().y0 >= axes.get_window_extent().y1


def test_zeros_and_gaps_of_a_map_are_blank() -> None:
    assert blank_zeros(np.array([0.0, 1e-15, -2.0, np.nan])).mask.tolist() == [True, True, False, True]
