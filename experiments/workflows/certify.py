"""``rlkit certify``: how often no observation within a threat can change the action of a policy."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rlkit.adversarial import (
    CertifiedRadius,
    CertifiedRates,
    Threat,
    certified_action_rate,
    certified_radius,
    visited,
)
from rlkit.evaluation import EVALUATION_SEED
from rlkit.statistics import share_interval

from ..report.ledger import Cell, ReportTable, RunRecord
from .policies import Subject, backend_of
from .threat import described, refuse_episode_budget

EPISODES = 10  # natural ones of every training seed, whose states are decided
HALVINGS = 12  # of the interval of a radius
QUANTILES = (0.1, 0.5, 0.9)  # of the radii of every seed
NOTE = (
    "Certified: no observation within epsilon changes the greedy action, rounding included. Changed: an observation "
    "that changes it was found. Open: undecided. The states are a sample from natural episodes; intervals are over "
    "training seeds. A certificate at natural states says nothing about states that are reached under attack."
)


class Certificates(NamedTuple):
    """Certified rates and radii of a policy at natural states."""

    rates: dict[float, CertifiedRates]  # by epsilon
    seconds: dict[float, float]
    radius: CertifiedRadius | None  # up to the largest epsilon


def certify(
    subject: Subject, threat: Threat, states: int = 200, max_boxes: int = 10_000, radius: bool = True
) -> RunRecord:
    """Decide at natural states of every training seed which actions an observation within the threat can cause.

    Args:
        subject: the policy.
        threat: norm, scale, epsilons, mask and bounds.
        states: number of states per seed, spread evenly over ten natural episodes.
        max_boxes: most boxes per state; what needs more stays open.
        radius: whether to enclose the radius of every state too.

    Raises:
        ValueError: states below 1, or a policy or observations that the verification does not cover.
    """
    if states < 1:
        raise ValueError(f"states must be at least 1, got {states}")
    refuse_episode_budget(threat, "certificates of single decisions are")
    obs = visited(subject.policy, subject.make_env(EPISODES, threat.first_seed), states)
    rates, seconds = {}, {}
    for epsilon in threat.epsilons:
        began = time.perf_counter()
        rates[epsilon] = certified_action_rate(subject.policy, obs, threat.budget(epsilon), max_boxes=max_boxes)
        seconds[epsilon] = time.perf_counter() - began
    largest = threat.budget(threat.epsilons[-1])
    nearest = certified_radius(subject.policy, obs, largest, HALVINGS, max_boxes=max_boxes) if radius else None
    return certificates_run(subject, threat, states, Certificates(rates, seconds, nearest))


def certificates_run(subject: Subject, threat: Threat, states: int, found: Certificates) -> RunRecord:
    """The record of certificates."""
    tables = [rate_table(found, threat, states * len(subject.seeds))]
    if found.radius is not None:
        tables.append(radius_table(found.radius, threat))
    return RunRecord(
        kind="certify",
        title=f"Certificates of {subject.name} on {subject.env}",
        settings={
            "environment": subject.env,
            "env_kwargs": subject.env_kwargs,
            "backend": backend_of(subject.make_env(1, EVALUATION_SEED)),
            "algorithm": subject.name,
            "training_seeds": subject.seeds,
            "states": states,
            "threat": threat.digest,
            **{name: value for name, value in threat.as_dict().items() if name not in ("env", "env_kwargs")},
        },
        results={
            "seeds": list(subject.seeds),
            "rates": {
                str(epsilon): {name: part.tolist() for name, part in rates._asdict().items()}
                for epsilon, rates in found.rates.items()
            },
            "radius": None if found.radius is None else _quantiles(found.radius),
        },
        tables=tuple(tables),
        notes=(NOTE,),
    )


def rate_table(found: Certificates, threat: Threat, count: int) -> ReportTable:
    """Shares of states over training seeds, a line for each epsilon."""
    rows: list[tuple[Cell, ...]] = []
    for epsilon, rates in found.rates.items():
        shares = [share_interval(part.cpu().numpy()) for part in rates]
        rows.append((epsilon, *shares, round(1000 * found.seconds[epsilon] / count, 3)))
    title = f"Share of natural states, {described(threat)}"
    return ReportTable("certified", title, ("epsilon", "certified", "changed", "open", "ms a state"), tuple(rows))


def radius_table(radius: CertifiedRadius, threat: Threat) -> ReportTable:
    """Quantiles of the radius over states, the mean over training seeds of both sides."""
    each = _quantiles(radius)
    rows = tuple(
        (quantile, float(np.mean(each["certified"][i])), float(np.mean(each["achieved"][i])))
        for i, quantile in enumerate(QUANTILES)
    )
    title = (
        f"Distance to the nearest observation of another action in {threat.unit}, up to {threat.epsilons[-1]:g}: mean "
        "over seeds of quantiles over states"
    )
    return ReportTable("radius", title, ("quantile", "at least", "at most"), rows)


def _quantiles(radius: CertifiedRadius) -> dict[str, Any]:
    """Quantiles over the states of every seed, each side ``[quantiles, S]``; no finite distance is infinite."""

    def of(side: torch.Tensor) -> list[list[float]]:
        distances: NDArray[np.float64] = side.cpu().numpy()
        # the smallest distance that at least this share of states does not exceed: an order statistic, never NaN
        found: list[list[float]] = np.quantile(distances, QUANTILES, axis=1, method="inverted_cdf").tolist()
        return found

    return {"quantiles": list(QUANTILES), "certified": of(radius.certified), "achieved": of(radius.achieved)}
