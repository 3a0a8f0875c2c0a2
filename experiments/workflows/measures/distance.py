"""Distance to the nearest observation that changes the action."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from rlkit.adversarial import Attack, DeepFool, DistanceCurve, distance_curve
from rlkit.figure_style import ALIASED, svg
from rlkit.plotting import Curve, Reference, curve_panels
from rlkit.statistics import mean_interval

from ...report.ledger import Cell, Picture, ReportTable
from ..attack import ATTACKS, AttackPlan
from ..policies import Subject
from .states import EPISODES, Measurement, natural_states, uniforms

POINTS = 41  # of the drawn curve


def distance(subject: Subject, plan: AttackPlan) -> Measurement:
    """The adversarial distance by DeepFool and by every attack of the threat, up to its largest epsilon."""
    obs = natural_states(subject, plan)
    attacks = (DeepFool(), *(ATTACKS[name] for name in plan.attacks if name in ATTACKS and name != "deepfool"))
    curves = [curve(subject, plan, attack, obs) for attack in attacks]
    caption = (
        "Share of natural states whose action can be changed within epsilon, for every training seed and on average."
    )
    return Measurement(
        results=[_result(each) for each in curves],
        tables=(_table(curves, plan),),
        picture=Picture("distance", caption, svg(_figure(curves, plan))),
        note=(
            f"Adversarial distance is the smallest epsilon found that changes the action, at {obs.shape[1]} states of "
            f"{EPISODES} natural episodes of every training seed: an upper bound, because a nearer observation may "
            "exist."
        ),
    )


def curve(subject: Subject, plan: AttackPlan, attack: Attack, obs: Tensor) -> DistanceCurve:
    """One attack at these states."""
    width = attack.noise_width(obs[0, 0].numel())
    u = uniforms(subject, obs, width) if width else None
    return distance_curve(attack, subject.policy, obs, plan.budget, plan.epsilons, u=u)


def median(measured: DistanceCurve) -> Cell:
    """The median over states with its interval over seeds; a text if a seed's median exceeds the searched range."""
    beyond = ~np.isfinite(measured.median)
    if not beyond.any():
        return mean_interval(measured.median)
    return f"above {max(measured.epsilons):g} in {beyond.sum(axis=0)} of {len(beyond)} seeds"


def _result(measured: DistanceCurve) -> dict[str, object]:
    """The results for scripts; an infinite median is null."""
    return {
        "attack": measured.attack,
        "median": median(measured),
        "median_of_seeds": measured.median,
        "epsilons": measured.epsilons,
        "flipped": measured.points(),
        "queries": measured.queries,
    }


def _table(curves: Sequence[DistanceCurve], plan: AttackPlan) -> ReportTable:
    rows = tuple((each.attack, median(each), *each.points(), each.queries) for each in curves)
    columns = ("attack", "median", *(f"within {epsilon:g}" for epsilon in plan.epsilons), "queries a state")
    title = f"Adversarial distance in {plan.unit} (norm {plan.budget.norm}): median, and share of states within"
    return ReportTable("distance", title, columns, rows, digits=3)


def _figure(curves: Sequence[DistanceCurve], plan: AttackPlan) -> Figure:
    fine = tuple(np.linspace(0.0, max(plan.epsilons), POINTS).tolist())
    shares = {each.attack: Curve(fine, each._replace(epsilons=fine).flipped) for each in curves}
    mark = None if plan.aliasing is None else Reference(ALIASED, plan.aliasing)
    return curve_panels([("", shares)], f"epsilon [{plan.unit}]", "share of states that flip", mark=mark)
