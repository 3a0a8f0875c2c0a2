"""Train policies of three kinds of networks, and attack them with the same threat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import mannwhitneyu

from rlkit.adversarial import NATURAL, robustness_curve
from rlkit.figure_style import svg
from rlkit.plotting import Curve
from rlkit.statistics import difference_interval, holm, share_interval

from ...report.ledger import Cell, ReportTable, write_bytes
from ...workflows.evaluate import mean_return, possible_returns
from ...workflows.sweep.experiment import Batch
from ...workflows.train import Training
from ..common import rows
from ..common.devices import trained_at_once
from ..common.study import Study, StudyOptions
from ..common.sweeps import Part, RunRow, parts, train_missing_runs
from ..common.tasks import CARTPOLE, SCALE_UNIT
from ..robustness.settings import ATTACKS, BEST, EPISODES
from .figure import robustness_figure

CASES = parts(__file__, "mlp", "linear", "rbf")
MLP = "mlp"  # the network that the others are compared with
MEASURES = {"earned": "return", "flips": "share of steps with a flipped action"}

Found = dict[tuple[str, float], list["NetworkRow"]]  # by network and epsilon


@dataclass(frozen=True)
class NetworkRow(RunRow):
    """One policy without attack, or under the best attack at one epsilon."""

    attack: str  # "natural" for none
    epsilon: float  # in units of the task's scale
    earned: float  # mean return of EPISODES episodes
    flips: float  # share of steps at which the greedy action was changed


def run(cases: Sequence[Part], options: StudyOptions) -> Sequence[ReportTable]:
    """Train and attack the runs without rows, and table returns, flips and the tests."""
    file = options.data / "networks.csv"
    for part in cases:
        train_missing_runs(part.experiment, file, NetworkRow, measure, options.device)
    found = by_epsilon(rows.read(file, NetworkRow))
    if found:
        quantities = {label: curves(found, name) for name, label in MEASURES.items()}
        write_bytes(options.data / "networks.svg", svg(robustness_figure(quantities, SCALE_UNIT)))
    return outcome_table(found), test_table(found)


def measure(batch: Batch, training: Training) -> list[NetworkRow]:
    """Train runs as one computation, and play each without attack and under the best attack at every epsilon."""
    agent = trained_at_once(training).agent
    curve = robustness_curve(
        agent,
        lambda episodes: CARTPOLE.environments(len(batch), episodes),
        ATTACKS[BEST],
        CARTPOLE.epsilons,
        CARTPOLE.budget(),
        EPISODES,
        seeds=agent.seeds,
    )
    flips = curve.flips[0].sum(axis=-1) / curve.lengths[0].sum(axis=-1)  # [L, S]
    levels = [(NATURAL, 0.0, curve.natural.mean(axis=-1), np.zeros(len(batch)))]
    levels += [
        (BEST, epsilon, returns.mean(axis=-1), share)
        for epsilon, returns, share in zip(curve.epsilons, curve.returns[0], flips, strict=True)
    ]
    return [
        NetworkRow(run.cell, run.seed, attack, epsilon, float(earned[row]), round(float(share[row]), 6))
        for attack, epsilon, earned, share in levels
        for row, run in enumerate(batch)
    ]


def by_epsilon(known: Sequence[NetworkRow]) -> Found:
    """Return the rows by network and epsilon."""
    networks = {run.cell: part.name for part in CASES for run in part.experiment.runs}
    found: Found = {}
    for row in known:
        found.setdefault((networks[row.cell], row.epsilon), []).append(row)
    return found


def outcome_table(found: Found) -> ReportTable:
    """Return a line per network and epsilon: returns, flips, and the differences from multilayer perceptrons."""
    lines: list[tuple[Cell, ...]] = []
    limits = possible_returns(CARTPOLE.env, CARTPOLE.env_kwargs)
    for (network, epsilon), of in found.items():
        earned, flips = (np.array(column(of, name)) for name in MEASURES)
        gaps: tuple[Cell, ...] = (None, None)
        if network != MLP and (MLP, epsilon) in found:
            gaps = tuple(difference_interval(column(of, n), column(found[MLP, epsilon], n)) for n in MEASURES)
        lines.append(
            (
                network,
                epsilon,
                len(of),
                mean_return(earned, limits),
                float(earned.min(axis=0)),
                share_interval(flips),
                *gaps,
            )
        )
    columns = ("network", "epsilon", "seeds", "return", "least", "flips", "return minus mlp", "flips minus mlp")
    return ReportTable("networks", "Returns and flipped actions under the best attack", columns, tuple(lines), 3)


def decisive(found: Found) -> float | None:
    """Return the smallest epsilon at which multilayer perceptrons earn less than half of their natural return."""
    means = {epsilon: np.mean(column(of, "earned")) for (network, epsilon), of in found.items() if network == MLP}
    return min((epsilon for epsilon, mean in means.items() if mean < means[0.0] / 2), default=None)


def test_table(found: Found) -> ReportTable:
    """Return the tests against multilayer perceptrons at the decisive epsilon: Mann-Whitney, corrected by Holm."""
    lines: list[tuple[Cell, ...]] = []
    if (epsilon := decisive(found)) is not None:
        networks = [network for network, level in found if network != MLP and level == epsilon]
        cells = [(network, name) for network in networks for name in MEASURES]
        sides = [[column(found[each, epsilon], name) for each in (network, MLP)] for network, name in cells]
        p_values = holm([float(mannwhitneyu(x, y).pvalue) for x, y in sides])
        lines += [(*cell, epsilon, p) for cell, p in zip(cells, p_values, strict=True)]
    title = "Against multilayer perceptrons, where these lose half of their return"
    return ReportTable("networks-tests", title, ("network", "measure", "epsilon", "p"), tuple(lines))


def curves(found: Found, name: str) -> dict[str, Curve]:
    """Return one number by network: epsilons ``[T]`` and the number ``[T, S]``."""
    levels: dict[str, dict[float, list[float]]] = {}
    for (network, epsilon), of in found.items():
        levels.setdefault(network, {})[epsilon] = column(of, name)
    return {network: Curve(list(at), np.array(list(at.values()))) for network, at in levels.items()}


def column(of: Sequence[NetworkRow], name: str) -> list[float]:
    """Return one number of rows."""
    return [getattr(row, name) for row in of]


STUDY = Study(CASES, run, takes=("device",))
