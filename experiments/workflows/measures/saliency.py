"""Influence of every feature of the observation on the scores, over a natural episode."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rlkit.adversarial import SaliencyOfEpisode, episode_saliencies
from rlkit.figure_style import in_style, svg
from rlkit.plotting import strips
from rlkit.statistics import mean_interval, share_interval

from ...report.ledger import Picture, ReportTable
from ..attack import AttackPlan
from ..policies import Subject
from .states import Measurement, feature_names

SHOWN = 20  # most features in a figure: those of the largest saliency

Floats = NDArray[np.float64]


def saliency(subject: Subject, plan: AttackPlan) -> Measurement:
    """The saliency of every feature over the first natural episode of every training seed."""
    episodes = episode_saliencies(subject.policy, subject.make_env(1, plan.threat.first_seed), budget=plan.budget)
    courses = [course(episode) for episode in episodes]
    means = np.stack([each.mean(axis=0) for each in courses])  # [S, D]
    names = feature_names(subject, means.shape[1])
    shown = np.sort(np.argsort(-means.mean(axis=0), kind="stable")[:SHOWN])
    labels, first = [names[i] for i in shown], courses[0][:, shown]
    caption = (
        f"Saliency of every feature over an episode of training seed {subject.seeds[0]}, and its mean over an episode "
        "of every seed with the interval over seeds."
    )
    return Measurement(
        results={"features": names, "mean_of_seeds": means},
        tables=(_means(labels, means[:, shown], plan), _steps(labels, first, episodes[0].action.tolist())),
        picture=Picture("saliency", caption, svg(_figure(labels, first, means[:, shown]))),
        note=(
            "Saliency is |d score of the greedy action / d feature| per unit of epsilon, over the first natural "
            "episode of every training seed" + (f"; the {SHOWN} largest are listed." if len(names) > SHOWN else ".")
        ),
    )


def course(episode: SaliencyOfEpisode) -> Floats:
    """A table of the saliency at every step, ``[T, D]``."""
    steps: Floats = episode.saliency.flatten(1).double().cpu().numpy()
    return steps


def _means(labels: Sequence[str], means: Floats, plan: AttackPlan) -> ReportTable:
    """A table of means over the episode, with intervals over seeds; means ``[S, n]``."""
    total = means.sum(axis=1, keepdims=True)
    shares = means / np.where(total > 0, total, 1.0)
    rows = tuple(
        (name, mean_interval(size), share_interval(share))
        for name, size, share in zip(labels, means.T, shares.T, strict=True)
    )
    title = f"Saliency over an episode, epsilon in {plan.unit}"
    return ReportTable("saliency", title, ("feature", "mean saliency", "share"), rows, digits=3)


def _steps(labels: Sequence[str], first: Floats, actions: Sequence[int]) -> ReportTable:
    """A table of the first seed's episode, ``[T, n]``."""
    rows = tuple((t, action, *step) for t, (action, step) in enumerate(zip(actions, first.tolist(), strict=True)))
    title = "Saliency at every step of the first training seed's episode"
    return ReportTable("saliency_steps", title, ("step", "action", *labels), rows)


@in_style
def _figure(labels: Sequence[str], first: Floats, means: Floats) -> Figure:
    """A heat map of the first seed's episode, and every seed's mean."""
    figure = Figure(figsize=(9.6, 1.6 + 0.35 * max(len(labels), 5)), layout="constrained")
    episode, seeds = figure.subplots(1, 2, width_ratios=(3, 2))
    image = episode.imshow(first.T, aspect="auto", interpolation="nearest", cmap="Blues", vmin=0.0)
    episode.set_yticks(range(len(labels)), labels)
    episode.set(xlabel="step of the episode", title="One episode of the first seed")
    episode.grid(visible=False)
    figure.colorbar(image, ax=episode, label="saliency per unit of epsilon")
    strips(seeds, dict(zip(labels, means.T, strict=True)), "mean saliency", "All seeds", (0.0, math.inf))
    seeds.tick_params(axis="x", rotation=30 if len(labels) <= 8 else 90)
    return figure
