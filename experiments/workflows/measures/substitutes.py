"""How many answers an attacker needs: substitutes fitted to few queries of a policy, in flips and in returns."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rlkit.adversarial import PGD, Transfer, distill, sweep
from rlkit.figure_style import svg
from rlkit.plotting import Curve, curve_panels
from rlkit.statistics import share_interval

from ...report.ledger import Cell, Picture, ReportTable
from ..attack import AttackPlan, played_curve
from ..evaluate import mean_return, return_difference, return_range
from ..fitted_attacks import fit_states
from ..policies import Subject
from .states import Measurement, natural_states

QUERIES = (50, 150, 500, 1_500, 5_000)  # answers of every seed, at observations and at random points near them
NEIGHBORS = 4  # of the queries, for each observation
FIT_STEPS = 1_000  # of the optimizer
EPISODES = 10


class SubstituteAttack(NamedTuple):
    """PGD on a substitute of a number of queries, executed on the policy at L epsilons."""

    queries: int
    agreement: NDArray[np.float64]  # [S], share of held-out queries at which the substitute acts as the policy
    flips: NDArray[np.float64]  # [L, S], share of natural states whose action changes
    returns: NDArray[np.float64]  # [L, S], means over episodes
    natural: NDArray[np.float64]  # [S]


def substitutes(subject: Subject, plan: AttackPlan) -> Measurement:
    """Flips and returns against the number of labels that the attacker may ask for."""
    found = [substitute_attack(subject, plan, queries) for queries in QUERIES]
    caption = "Mean return of every training seed under PGD on a substitute, against the queries that it is fitted to."
    return Measurement(
        results=[_result(each) for each in found],
        tables=(_table(found, plan, return_range(subject, plan.threat.horizon)),),
        picture=Picture("substitutes", caption, svg(_figure(found, plan))),
        note=(
            "A substitute learns the policy's actions at natural observations and at random points near them, one "
            "action for each query. PGD is computed on the substitute and shown to the policy. Changed actions are "
            f"counted at natural states; returns are means of {EPISODES} episodes of every seed. The attack itself "
            "makes no queries."
        ),
    )


def substitute_attack(subject: Subject, plan: AttackPlan, queries: int) -> SubstituteAttack:
    """Fit a substitute within the largest epsilon, and attack with it at all.

    Raises:
        ValueError: fewer queries than ``distill`` needs, 10 observations and the points near them.
    """
    observations = queries // (1 + NEIGHBORS)
    obs = fit_states(subject, plan.threat, observations)
    budget = plan.threat.budget(plan.epsilons[-1])
    imitation, agreement = distill(
        subject.policy, obs, budget, neighbors=NEIGHBORS, steps=FIT_STEPS, seeds=subject.seeds
    )
    attack = Transfer(PGD(20, every_action=False), imitation)
    swept = sweep(attack, subject.policy, natural_states(subject, plan), plan.budget, plan.epsilons)
    curve = played_curve(subject, plan, EPISODES, plan.threat.first_seed, attack, plan.epsilons)
    return SubstituteAttack(
        imitation.queries,
        agreement.cpu().numpy(),
        swept.success.double().mean(dim=-1).cpu().numpy(),
        curve.returns[0].mean(axis=-1),
        curve.natural.mean(axis=-1),
    )


def _result(found: SubstituteAttack) -> dict[str, Any]:
    """All numbers, for scripts."""
    return {name: value if isinstance(value, int) else value.tolist() for name, value in found._asdict().items()}


def _table(found: list[SubstituteAttack], plan: AttackPlan, limits: tuple[float, float] | None) -> ReportTable:
    rows: list[tuple[Cell, ...]] = []
    for each in found:
        for i, epsilon in enumerate(plan.epsilons):
            change = return_difference(each.returns[i], each.natural, limits, paired=True)
            shares = share_interval(each.agreement), share_interval(each.flips[i])
            rows.append((each.queries, epsilon, *shares, mean_return(each.returns[i], limits), change))
    columns = ("queries", "epsilon", "agreement", "share of states that flip", "return", "change")
    return ReportTable(
        "substitutes", f"PGD on substitutes, in {plan.unit} (norm {plan.budget.norm})", columns, tuple(rows)
    )


def _figure(found: list[SubstituteAttack], plan: AttackPlan) -> Figure:
    curves = {
        f"epsilon {epsilon:g}": Curve([each.queries for each in found], np.array([each.returns[i] for each in found]))
        for i, epsilon in enumerate(plan.epsilons)
    }
    figure = curve_panels([("", curves)], "queries that the substitute is fitted to", "return")
    for axes in figure.axes:
        axes.set_xscale("log")
    return figure
