"""Tunes, trains and attacks every case, and writes what is found as rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rlkit.adversarial import ModuleVictim, certified_action_rate, visited
from rlkit.figure_style import svg

from ...report import terminal
from ...report.ledger import ReportTable, write_bytes, write_tables
from ...workflows.policies import RLKIT, Subject
from ..common import rows
from ..common.policy_cache import rlkit_policy
from ..common.study import Study, StudyOptions
from ..common.tasks import CARTPOLE
from .analysis import NATURAL, TEST, TUNING, CertifiedRow, DefenseRow, chosen_configuration, figure, tables
from .attacks import ATTACKERS, Attacker, played
from .masking import MaskingRow, adversary_table, complete, masking_table, measure_masking, of_masked
from .settings import (
    CASES,
    CEILING,
    EPSILONS,
    LINEAR,
    REPORTED_ON,
    SEEDS,
    SELECTED_ON,
    THREAT,
    TUNING_EPSILON,
    TUNING_SEEDS,
    Configuration,
    DefenseCase,
)

CERTIFIED_STATES, MAX_BOXES = 20, 1_000  # natural states of every seed, and boxes of each, for the certified rate

Rows = Sequence[tuple[Configuration, int]]  # the configuration and the seed of every row of a policy


def hand_made(name: str) -> ModuleVictim:
    """Return the linear policy, or the one that pushes right always."""
    module = nn.Linear(4, 2)
    with torch.no_grad():
        module.weight.zero_()
        module.bias.copy_(torch.tensor([0.0, 0.0 if name == CEILING else 1.0]))
        if name == CEILING:
            module.weight[1] = torch.tensor(LINEAR)
    return ModuleVictim([module])


def subject_of(case: DefenseCase, of: Rows, folder: Path) -> Subject:
    """The policy of a case, by hand or trained, with the environment that it is evaluated in."""
    policy: Any = hand_made(case.name) if not case.algo else rlkit_policy(case.training(of), folder)
    seeds = [seed for _, seed in of]

    def environments(episodes: int, first_seed: int) -> Any:
        return CARTPOLE.environments(len(seeds), episodes, first_seed)

    return Subject(policy, RLKIT, case.algo, tuple(seeds), CARTPOLE.env, {}, environments)


def attacked(
    subject: Subject, case: DefenseCase, stage: str, of: Rows, name: str, epsilons: Sequence[float]
) -> list[DefenseRow]:
    """Return the rows of a case without attack and under one attack, at every epsilon at which it is used."""
    attacker: Attacker = ATTACKERS[name]
    used = [epsilon for epsilon in epsilons if epsilon in attacker.epsilons]
    together = [[epsilon] for epsilon in used] if attacker.fitted else [used]
    found: list[DefenseRow] = []
    for group in together:
        curve = played(subject, attacker.fit(subject, THREAT.budget(group[0])), group)
        returns_of = [(NATURAL, 0.0, curve.natural)] if not found else []
        returns_of += [(name, epsilon, curve.returns[0, place]) for place, epsilon in enumerate(group)]
        found += [
            DefenseRow(
                case.name, stage, str(configuration), seed, label, epsilon,
                float(each[:SELECTED_ON].mean()), float(each[SELECTED_ON:].mean()),
            )
            for label, epsilon, returns in returns_of
            for (configuration, seed), each in zip(of, returns, strict=True)
        ]  # fmt: skip
    return found


def measure(
    file: Path,
    case: DefenseCase,
    stage: str,
    of: Rows,
    folder: Path,
    attackers: Iterable[str],
    epsilons: Sequence[float],
) -> None:
    """Attack the policy of a case as far as rows are missing; each attack is added when it is done."""
    known = {row.attack for row in rows.read(file, DefenseRow) if (row.case, row.stage) == (case.name, stage)}
    missing = [name for name in attackers if name not in known]
    if not missing:
        return
    subject = subject_of(case, of, folder)
    for name in missing:
        found = attacked(subject, case, stage, of, name, epsilons)
        rows.append(file, [row for row in found if row.attack not in known])
        known |= {NATURAL, name}
        terminal.say(f"{case.name}, {stage}: {name}")


def certify(file: Path, case: DefenseCase, of: Rows, folder: Path) -> None:
    """Decide at natural states of every seed which actions can be provoked, if there is no row of the case."""
    if case.name in {row.case for row in rows.read(file, CertifiedRow)}:
        return
    subject = subject_of(case, of, folder)
    obs = visited(subject.policy, subject.make_env(REPORTED_ON, THREAT.first_seed), CERTIFIED_STATES)
    found = []
    for epsilon in EPSILONS:
        rates = certified_action_rate(subject.policy, obs, THREAT.budget(epsilon), max_boxes=MAX_BOXES)
        for s, (_, seed) in enumerate(of):
            found.append(CertifiedRow(case.name, seed, epsilon, *(float(rate[s]) for rate in rates)))
    rows.append(file, found)
    terminal.say(f"{case.name}: certified")


def mask(case: DefenseCase, of: Rows, options: StudyOptions) -> None:
    """Ask whether the gradients of a defended case mislead, if rows are missing."""
    file = options.data / "masking-rows.csv"
    if complete(of_masked(file, case.name)):
        return
    plain = next(each for each in CASES if each.name == case.twin)
    twin = subject_of(plain, tune(plain, options), options.models / plain.name)
    measure_masking(file, case.name, subject_of(case, of, options.models / case.name), twin.policy)


def tune(case: DefenseCase, options: StudyOptions) -> Rows:
    """Compare the configurations on the tuning seeds, and return the rows to test: every test seed with the best one.

    A policy made by hand is a single row.
    """
    if not case.algo:
        return [(Configuration(), SEEDS[0])]
    file = options.data / "defense-rows.csv"
    tuned = next(each for each in CASES if each.name == (case.chosen_in or case.name))
    of = [(each, seed) for each in tuned.configurations for seed in TUNING_SEEDS]
    attackers = [name for name, attacker in ATTACKERS.items() if not attacker.fitted]
    measure(file, tuned, TUNING, of, options.models / f"{tuned.name}-tuning", attackers, (TUNING_EPSILON,))
    name = chosen_configuration(rows.read(file, DefenseRow), tuned.name)
    return [(next(each for each in tuned.configurations if str(each) == name), seed) for seed in SEEDS]


def run(cases: Sequence[DefenseCase], options: StudyOptions) -> Sequence[ReportTable]:
    """Measure the cases as far as rows are missing, and return the tables of all rows.

    All cases are attacked by what needs no fit first, then by the attacks that are fitted. Then defended policies are
    attacked without their gradients and by adversaries trained longer, and all are certified.
    """
    file = options.data / "defense-rows.csv"
    of: dict[str, Rows] = {}
    for fitted in (False, True):
        attackers = [name for name, attacker in ATTACKERS.items() if attacker.fitted == fitted]
        for case in cases:
            of[case.name] = of.get(case.name) or tune(case, options)
            measure(file, case, TEST, of[case.name], options.models / case.name, attackers, EPSILONS)
            written(options.data)
    for case in cases:
        if case.twin is not None:
            mask(case, of[case.name], options)
            written(options.data)
    for case in cases:
        certify(options.data / "certified-rows.csv", case, of[case.name], options.models / case.name)
    return written(options.data)


def written(data: Path) -> Sequence[ReportTable]:
    """Write the tables and the figure of all rows, and return the tables."""
    known = rows.read(data / "defense-rows.csv", DefenseRow)
    made = tables(known, rows.read(data / "certified-rows.csv", CertifiedRow))
    masking = rows.read(data / "masking-rows.csv", MaskingRow)
    found = (masking_table(masking, known), adversary_table(masking))
    made = (*made, *(table for table in found if table.rows))
    write_tables(made, data)
    write_bytes(data / "defenses.svg", svg(figure(known)))
    return made


STUDY = Study(CASES, run, takes=("models",))
