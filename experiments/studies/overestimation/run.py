"""Train deep Q-learning with and without double targets, and compare its values with what policies can earn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlkit.adversarial import visited
from rlkit.agents import Agent
from rlkit.envs.gridtable import reachable
from rlkit.planning import solve
from rlkit.statistics import Estimate, difference_interval, mean_interval, share_interval

from ...report.ledger import Cell, ReportTable
from ...workflows.exact import all_scores
from ...workflows.sweep.experiment import Batch
from ...workflows.train import Training
from ..common import rows
from ..common.devices import trained_at_once
from ..common.outcomes import final_returns, finite_of
from ..common.study import Study, StudyOptions
from ..common.sweeps import Part, RunRow, parts, train_missing_runs, with_rows

CASES = parts(__file__, "lake", "cartpole")
STATES, EPISODES = 500, 10  # observations of each seed's greedy policy, and the episodes that they are of


@dataclass(frozen=True)
class ValueRow(RunRow):
    """The action values of one run, beside the highest value that any policy has."""

    greedy: float  # return of the final policy: exact on the lake, else the mean of 100 episodes
    excess: float  # mean over states of max Q minus the bound: V* on the lake, 1 / (1 - gamma) elsewhere
    above: float  # share of states in which max Q is above the bound


def run(cases: Sequence[Part], options: StudyOptions) -> Sequence[ReportTable]:
    """Train the runs without rows, and table values and returns."""
    file = options.data / "overestimation.csv"
    for part in cases:
        train_missing_runs(part.experiment, file, ValueRow, measure, options.device)
    return (outcome_table(rows.read(file, ValueRow)),)


def measure(batch: Batch, training: Training) -> list[ValueRow]:
    """Train runs as one computation, and compare their values with the bound."""
    agent = trained_at_once(training).agent
    excess = excesses(agent, training)
    greedy = final_returns(agent, training)
    return [
        ValueRow(run.cell, run.seed, float(greedy[row]), float(excess[row].mean()), float((excess[row] > 0.0).mean()))
        for row, run in enumerate(batch)
    ]


def excesses(agent: Agent, training: Training) -> NDArray[np.float64]:
    """Return max_a Q(s, a) minus the highest value of any policy, ``[S, n]``.

    In a finite problem the states are all that can be reached and are not ends, and the bound is V*. Elsewhere they are
    ``STATES`` states that the greedy policies visit, and the bound is that of rewards of at most 1 for ever.
    """
    problem, gamma = finite_of(training), agent.config.gamma
    if problem is None:
        obs = visited(agent, agent.evaluation_env(EPISODES), STATES)
        return np.asarray(agent.q_values(obs).max(dim=-1).values.double().numpy() - 1.0 / (1.0 - gamma))
    states = reachable(problem.mdp) & ~problem.mdp.ended
    best = solve(problem.mdp, gamma).value
    return np.asarray((all_scores(agent, problem).max(axis=-1) - best)[:, states])


def outcome_table(known: Sequence[ValueRow]) -> ReportTable:
    """Return a line per part and kind of target, and one for the difference that double Q-learning makes."""
    lines: list[tuple[Cell, ...]] = []
    for part in CASES:
        found = with_rows(part.experiment, known)
        sides = {double: [row for run, row in found if run.settings["double"] is double] for double in (False, True)}
        for double, of in sides.items():
            if of:
                numbers = ([getattr(row, name) for row in of] for name in ("excess", "above", "greedy"))
                excess, above, greedy = numbers
                most = sum(share > 0.5 for share in above)
                name = "double" if double else "plain"
                means = mean_interval(excess), share_interval(above)
                lines.append((part.name, name, len(of), *means, most, mean_interval(greedy)))
        if all(sides.values()):
            excess_gap, greedy_gap = (gap(sides[True], sides[False], name) for name in ("excess", "greedy"))
            lines.append((part.name, "double minus plain", None, excess_gap, None, None, greedy_gap))
    columns = ("task", "targets", "seeds", "max Q - bound", "share of states above", "seeds with most above", "return")
    return ReportTable("overestimation", "Action values beside what any policy can earn", columns, tuple(lines))


def gap(x: Sequence[ValueRow], y: Sequence[ValueRow], name: str) -> Estimate[float]:
    """Return the difference of the means of one number, ``x`` minus ``y``."""
    return difference_interval([getattr(row, name) for row in x], [getattr(row, name) for row in y])


STUDY = Study(CASES, run, takes=("device",))
