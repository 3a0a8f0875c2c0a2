"""Train many seeds, and compare ensembles of disjoint seeds with their members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlkit.statistics import Estimate, difference_interval, holm, mean_interval, sign_flip_test

from ...report.ledger import Cell, ReportTable
from ...workflows.evaluate import play
from ...workflows.exact import exact_returns
from ...workflows.sweep.experiment import Batch
from ...workflows.train import Training
from ..common import rows
from ..common.devices import trained_at_once
from ..common.outcomes import final_returns, finite_of
from ..common.scores import EPISODES
from ..common.study import Study, StudyOptions
from ..common.sweeps import Part, RunRow, parts, train_missing_runs, with_rows

CASES = parts(__file__, "dqn", "ppo", "a2c", "lake")
MEMBERS = 5  # seeds of an ensemble


@dataclass(frozen=True)
class MemberRow(RunRow):
    """One seed's policy, and the ensemble that it is a member of."""

    greedy: float  # return of the seed's policy: exact on the lake, else the mean of EPISODES episodes
    group: int  # number of the ensemble
    ensemble: float  # return of the ensemble on the same episodes


def run(cases: Sequence[Part], options: StudyOptions) -> Sequence[ReportTable]:
    """Train the runs without rows, and table ensembles beside their members."""
    file = options.data / "ensembles.csv"
    for part in cases:
        train_missing_runs(part.experiment, file, MemberRow, measure, options.device)
    return (outcome_table(rows.read(file, MemberRow)),)


def measure(batch: Batch, training: Training) -> list[MemberRow]:
    """Train runs as one computation, and evaluate each and the ensembles of successive ones."""
    agent = trained_at_once(training).agent
    ensembles, problem = agent.ensemble(MEMBERS), finite_of(training)
    if problem is None:
        together = play(ensembles, ensembles.evaluation_env(EPISODES)).seed_means
    else:
        assert problem.mdp.max_steps is not None
        together = exact_returns(ensembles, problem, problem.mdp.max_steps)
    alone = final_returns(agent, training)
    return [
        MemberRow(run.cell, run.seed, float(alone[row]), row // MEMBERS, float(together[row // MEMBERS]))
        for row, run in enumerate(batch)
    ]


def outcome_table(known: Sequence[MemberRow]) -> ReportTable:
    """Return a line per agent: members, ensembles, and what an ensemble gains, paired by ensemble."""
    groups = {part.name: by_group([row for _, row in with_rows(part.experiment, known)]) for part in CASES}
    found = {name: values for name, values in groups.items() if values.size}
    p_values = holm([sign_flip_test(together - alone) for alone, together in found.values()])
    lines: list[tuple[Cell, ...]] = []
    for (name, (alone, together)), p in zip(found.items(), p_values, strict=True):
        better = int((together > alone).sum(axis=0))
        lines.append(
            (name, len(alone), mean_interval(alone), mean_interval(together), gain(alone, together), better, p)
        )
    columns = ("agent", "ensembles", "mean of members", "mean of ensembles", "gain", "ensembles above members", "p")
    return ReportTable("ensembles", f"Ensembles of {MEMBERS} seeds and their members", columns, tuple(lines))


def by_group(known: Sequence[MemberRow]) -> NDArray[np.float64]:
    """Return the mean return of each ensemble's members, and that of the ensemble, ``[2, groups]``."""
    groups = {group: [row for row in known if row.group == group] for group in sorted({row.group for row in known})}
    pairs = [(np.mean([row.greedy for row in of]), of[0].ensemble) for of in groups.values()]
    return np.array(pairs, dtype=np.float64).T


def gain(alone: NDArray[np.float64], together: NDArray[np.float64]) -> Estimate[float]:
    """Return the mean return of the ensembles divided by that of all members, minus 1.

    The interval is that of the difference, paired by ensemble, divided by the mean return of all members.
    """
    difference, base = difference_interval(together, alone, paired=True), float(alone.mean(axis=0))
    return difference._replace(
        value=difference.value / base, lower=difference.lower / base, upper=difference.upper / base
    )


STUDY = Study(CASES, run, takes=("device",))
