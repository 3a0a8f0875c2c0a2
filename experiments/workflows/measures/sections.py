"""Linearity of a policy around its states: scores along a line, and the margin over a plane of observations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from rlkit.adversarial import Section, cross_section, first_order_flip
from rlkit.figure_style import COLORS, DIVERGING, INK, MOST_LINES, MUTED, in_style, legend_below, svg
from rlkit.statistics import Estimate, share_interval

from ...report.ledger import Picture, ReportTable
from ..attack import AttackPlan
from ..policies import Subject
from .states import EPISODES, Measurement, natural_states, uniforms

SIDE = 10  # points of a ray to either side of the truth
DRAWN = 3  # states, of the first training seed

Floats = NDArray[np.float64]


class Plane(NamedTuple):
    """The section through one state."""

    state: int  # its number among the natural states
    radii: tuple[float, ...]  # L, with 0 in the middle
    scores: Floats  # [L up, L across, A]
    margin: Floats  # [L up, L across]
    action: NDArray[np.int64]  # [L up, L across]

    def ray(self, across: bool) -> Floats:
        """The scores on one axis, ``[L, A]``."""
        return self.scores[SIDE] if across else self.scores[:, SIDE]


def sections(subject: Subject, plan: AttackPlan) -> Measurement:
    """Shares of all states that flip along either direction, and rays and planes of a few."""
    obs = natural_states(subject, plan)
    u = uniforms(subject, obs, obs[0, 0].numel())
    table = _shares(subject, plan, obs, u)
    planes = drawn_planes(subject, plan, obs, u)
    caption = (
        f"Training seed {subject.seeds[0]} at {len(planes)} states. Above: scores of the actions along the steepest "
        "direction, and along random signs. Below: the lead of another action over the plane of both directions; the "
        "line is where this lead begins."
    )
    return Measurement(
        results={"flips": [dict(zip(table.columns, row, strict=True)) for row in table.rows]},
        tables=(table, _rays(planes), _points(planes)),
        picture=Picture("sections", caption, svg(_figure(planes, plan))),
        note=(
            f"The shares are over {obs.shape[1]} states of {EPISODES} natural episodes of every training seed, along "
            "the gradient of the margin and along random signs. A linear policy changes its action where predicted."
        ),
    )


def _shares(subject: Subject, plan: AttackPlan, obs: Tensor, u: Tensor) -> ReportTable:
    """At every epsilon: states that flip along the steepest direction, as predicted, and along random signs."""
    section = cross_section(subject.policy, obs, plan.budget, (0.0, *plan.epsilons), u)
    changed = section.action != section.action[0, 0]  # [1 + L, 1 + L, S, B]
    straight = first_order_flip(subject.policy, obs, plan.budget)
    rows = tuple(
        (epsilon, over_seeds(changed[0, i]), over_seeds(straight < epsilon), over_seeds(changed[i, 0]))
        for i, epsilon in enumerate(plan.epsilons, start=1)
    )
    columns = ("epsilon", "steepest direction", "predicted by the gradient", "random signs")
    title = f"Share of states that flip, epsilon in {plan.unit} (norm {plan.budget.norm})"
    return ReportTable("sections", title, columns, rows, digits=3)


def over_seeds(changed: Tensor) -> Estimate[float]:
    """Share of states ``[S, B]`` bool, with its interval over seeds."""
    return share_interval(changed.double().mean(dim=1).cpu().numpy())


def drawn_planes(subject: Subject, plan: AttackPlan, obs: Tensor, u: Tensor) -> list[Plane]:
    """Sections as far as the largest epsilon, through a few states of the first training seed."""
    chosen = [obs.shape[1] * (2 * i + 1) // (2 * DRAWN) for i in range(DRAWN)]
    radii = tuple(max(plan.epsilons) * i / SIDE for i in range(-SIDE, SIDE + 1))
    found = cross_section(subject.policy, obs[:, chosen], plan.budget, radii, u[:, chosen])
    return [_plane(found, column, state, radii) for column, state in enumerate(chosen)]


def _plane(found: Section, column: int, state: int, radii: tuple[float, ...]) -> Plane:
    scores, margin, action = (x[:, :, 0, column].cpu().numpy() for x in (found.scores, found.margin, found.action))
    return Plane(state, radii, scores.astype(np.float64), margin.astype(np.float64), action)


def _rays(planes: Sequence[Plane]) -> ReportTable:
    """Every score on both lines through every drawn state."""
    rows = tuple(
        (plane.state, direction, radius, *scores)
        for plane in planes
        for direction, across in (("steepest", True), ("random", False))
        for radius, scores in zip(plane.radii, plane.ray(across).tolist(), strict=True)
    )
    actions = (f"score of action {a}" for a in range(planes[0].scores.shape[-1]))
    return ReportTable("rays", "Scores along a line", ("state", "direction", "radius", *actions), rows)


def _points(planes: Sequence[Plane]) -> ReportTable:
    """Every point of the drawn planes."""
    rows = tuple(
        (plane.state, across, up, float(plane.margin[i, j]), int(plane.action[i, j]))
        for plane in planes
        for i, up in enumerate(plane.radii)
        for j, across in enumerate(plane.radii)
    )
    return ReportTable("planes", "Margin over a plane", ("state", "steepest", "random", "margin", "action"), rows)


@in_style
def _figure(planes: Sequence[Plane], plan: AttackPlan) -> Figure:
    figure = Figure(figsize=(1.2 + 2.9 * len(planes), 7.6), layout="constrained")
    steepest, random, below = figure.subplots(3, len(planes), sharex=True, squeeze=False)
    largest = max(float(np.abs(plane.margin).max(axis=None)) for plane in planes) or 1.0
    for plane, first, second, surface in zip(planes, steepest, random, below, strict=True):
        second.sharey(first)
        for axes, across in ((first, True), (second, False)):
            _draw_ray(axes, plane, across)
        first.set_title(f"Visited state {plane.state}")
        image = surface.pcolormesh(
            plane.radii,
            plane.radii,
            plane.margin,
            cmap=DIVERGING,
            vmin=-largest,
            vmax=largest,
            shading="nearest",
            rasterized=True,
        )
        if plane.margin.min(axis=None) < 0 < plane.margin.max(axis=None):
            surface.contour(plane.radii, plane.radii, plane.margin, levels=[0.0], colors=INK, linewidths=1.0)
        surface.set_xlabel("steepest direction")
        surface.grid(visible=False)
    below[0].set_ylabel("random signs")
    steepest[0].set_ylabel("scores, steepest direction")
    random[0].set_ylabel("scores, random signs")
    figure.colorbar(image, ax=list(below), label="lead of another action")
    figure.supxlabel(f"epsilon [{plan.unit}]", fontsize=9)
    legend_below(figure, columns=4)
    return figure


def _draw_ray(axes: Axes, plane: Plane, across: bool) -> None:
    """Draw the scores of up to five actions along a line, those that are highest at the observation, by color."""
    scores = plane.ray(across)  # [points, A]
    highest = np.argsort(-scores[len(scores) // 2])[:MOST_LINES]
    for action in sorted(highest.tolist()):
        axes.plot(plane.radii, scores[:, action], color=COLORS[action % len(COLORS)], label=f"action {action}")
    axes.axvline(0.0, color=MUTED, linewidth=0.7)
