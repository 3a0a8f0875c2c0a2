"""Trains missing policies, attacks them, and tables their returns under attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rlkit.adversarial import AttackedPolicy, ModuleVictim
from rlkit.evaluation import rollout
from rlkit.statistics import median_interval

from ...report import terminal
from ...report.ledger import Cell, ReportTable, write_tables
from ..common import rows
from ..common.policy_cache import rlkit_policy
from ..common.study import Study, StudyOptions
from ..common.tasks import CARTPOLE
from .settings import ATTACKERS, CASES, CEILING, EPISODES, EPSILONS, LINEAR, SEEDS, Attacker, DefenseCase

NATURAL = "natural"


@dataclass(frozen=True)
class DefenseRow:
    """The mean return of one seed's policy under an attack."""

    case: str
    attack: str  # "natural" for none
    epsilon: float
    seed: int
    earned: float


def by_hand(name: str) -> ModuleVictim:
    """Return the linear policy, or the one that pushes right always, for every seed."""
    module = nn.Linear(4, 2)
    with torch.no_grad():
        module.weight.zero_()
        module.bias.copy_(torch.tensor([0.0, 0.0 if name == CEILING else 1.0]))
        if name == CEILING:
            module.weight[1] = torch.tensor(LINEAR)
    return ModuleVictim([module] * len(SEEDS))


def avoided(obs: Tensor) -> Tensor:
    """Return the actions that the linear policy avoids, ``[S, B, 4] -> [S, B]``."""
    return (obs @ torch.tensor(LINEAR, dtype=obs.dtype) <= 0).to(torch.int64)


def measured(case: DefenseCase, policy: Any, seeds: Sequence[int]) -> list[DefenseRow]:
    """Play the same episodes without attack, and under every attack at every epsilon."""

    def played(shown: Any, attack: str, epsilon: float) -> list[DefenseRow]:
        returns = rollout(shown, CARTPOLE.environments(len(seeds), EPISODES)).returns.mean(dim=1).tolist()
        return [DefenseRow(case.name, attack, epsilon, seed, one) for seed, one in zip(seeds, returns, strict=True)]

    found = played(policy, NATURAL, 0.0)
    for attacker in ATTACKERS:
        for epsilon in EPSILONS:
            found += played(attacked(policy, attacker, epsilon, seeds), attacker.name, epsilon)
    return found


def attacked(policy: Any, attacker: Attacker, epsilon: float, seeds: Sequence[int]) -> AttackedPolicy:
    """Return the policy with an attacker between it and its observations."""
    target = avoided if attacker.provokes else None
    return AttackedPolicy(policy, attacker.attack, CARTPOLE.budget(epsilon), seeds, target=target, once=True)


def run(cases: Sequence[DefenseCase], options: StudyOptions) -> Sequence[ReportTable]:
    """Measure the cases that have no row yet, and return the tables of all rows."""
    file: Path = options.data / "defense-rows.csv"
    done = {row.case for row in rows.read(file, DefenseRow)}
    for case in (case for case in cases if case.name not in done):
        if case.training is None:
            found = measured(case, by_hand(case.name), SEEDS)
        else:
            policy = rlkit_policy(case.training, options.models / case.name)
            found = measured(case, policy, case.training.seeds)
        rows.append(file, found)
        terminal.say(f"measured {case.name}")
    tables = (table(rows.read(file, DefenseRow)),)
    write_tables(tables, options.data)
    return tables


def strongest(known: Sequence[DefenseRow], case: str, epsilon: float) -> tuple[str, np.ndarray]:
    """Return the attack with the lowest median at an epsilon, and the returns of the seeds under it, sorted by seed."""
    found = {
        attacker.name: np.array(
            [row.earned for row in sorted(known, key=lambda row: row.seed)
             if (row.case, row.attack, row.epsilon) == (case, attacker.name, epsilon)]
        )
        for attacker in ATTACKERS
    }  # fmt: skip
    name = min(found, key=lambda name: float(np.median(found[name])))
    return name, found[name]


def table(known: Sequence[DefenseRow]) -> ReportTable:
    """Tabulate the natural return and, at every epsilon, the median under the strongest attack with its interval.

    The last columns are of the largest epsilon: the strongest attack, and how many seeds are above their plain twin.
    """
    present = {row.case for row in known}
    lines: list[tuple[Cell, ...]] = []
    for case in (case for case in CASES if case.name in present):
        natural = [row.earned for row in known if (row.case, row.attack) == (case.name, NATURAL)]
        under = [strongest(known, case.name, epsilon) for epsilon in EPSILONS]
        above: Cell = None
        if case.twin in present:
            above = int((under[-1][1] > strongest(known, case.twin, EPSILONS[-1])[1]).sum())
        medians = [median_interval(natural), *(median_interval(earned) for _, earned in under)]
        lines.append((case.name, len(natural), *medians, under[-1][0], above))
    columns = ("policy", "seeds", NATURAL, *(f"{epsilon:g}" for epsilon in EPSILONS), "strongest", "above plain")
    return ReportTable("defenses", "Median return under the strongest attack, by epsilon", columns, tuple(lines))


STUDY = Study(CASES, run, takes=("models",))
