"""Tunes, trains and attacks every case, and writes what is found as rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rlkit.adversarial import ModuleVictim, bracket, certified_action_rate, visited
from rlkit.envs import find_dynamics
from rlkit.figure_style import svg

from ...report import terminal
from ...report.ledger import ReportTable, write_bytes, write_tables
from ...workflows.policies import AGENT_FILE, RLKIT, Subject
from ..common import rows
from ..common.policy_cache import rlkit_policy
from ..common.study import Study, StudyOptions
from ..common.tasks import CARTPOLE, GRID
from .analysis import (
    NATURAL,
    TEST,
    TUNING,
    CertifiedRow,
    ChosenRow,
    DefenseRow,
    WorstCaseRow,
    bound_table,
    chosen_configuration,
    figure,
    gradient_table,
    longer_table,
    of_case,
    tables,
)
from .attacks import MAX_BOXES as GRID_BOXES
from .attacks import attackers_of, outcomes
from .input_gradients import COMPARED, IN_ORDER, DistanceRow, distance_rows, distance_table, order_table
from .masking import (
    MaskingRow,
    adversary_table,
    complete,
    masking_table,
    measure_masking,
    of_masked,
    strengthened_table,
)
from .settings import (
    CASES,
    CEILING,
    COMPARISONS,
    DISTILLATION,
    EQUAL,
    FIRST,
    LINEAR,
    PLAIN,
    REPORTED_ON,
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


def teacher_of(case: DefenseCase, of: Rows, folder: Path, device: str = "cpu") -> str:
    """The file of the plain policies of the same seeds that are distilled, trained if missing; "" for other cases."""
    if case.defense != DISTILLATION:
        return ""
    comparison, teachers = case.comparison, folder / "teacher"
    training = comparison.training(PLAIN, [(comparison.teacher, seed) for _, seed in of])
    rlkit_policy(replace(training, device=device), teachers)
    return str(teachers / AGENT_FILE)


def subject_of(case: DefenseCase, of: Rows, folder: Path, device: str = "cpu") -> Subject:
    """The policy of a case, by hand or trained, with the environment that it is evaluated in."""
    task = case.comparison.task
    policy: Any = hand_made(case.name)
    if case.defense:
        training = case.training(of, teacher_of(case, of, folder, device))
        policy = rlkit_policy(replace(training, device=device), folder)
    return task.subject(policy, RLKIT, case.comparison.algo if case.defense else "", [seed for _, seed in of])


def attacked(
    subject: Subject, case: DefenseCase, stage: str, of: Rows, name: str, epsilons: Sequence[float]
) -> list[DefenseRow]:
    """Return the rows of a case without attack and under one attack, at every epsilon at which it is used."""
    threat, attacker = case.comparison.threat, attackers_of(case.comparison.task)[name]
    used = attacker.used_at(epsilons)
    together = [[epsilon] for epsilon in used] if attacker.fitted else [used]
    found: list[DefenseRow] = []
    for group in together:
        natural, *under = outcomes(subject, threat, attacker.fit(subject, threat.budget(group[0]), threat), group)
        labeled = [*([(NATURAL, natural)] if not found else []), *((name, each) for each in under)]
        found += [
            DefenseRow(case.name, stage, str(configuration), seed, label, each.epsilon, float(selected), float(earned))
            for label, each in labeled
            for (configuration, seed), selected, earned in zip(of, each.selected, each.earned, strict=True)
        ]
    return found


def measure(
    file: Path,
    case: DefenseCase,
    stage: str,
    of: Rows,
    folder: Path,
    attackers: Iterable[str],
    epsilons: Sequence[float],
    device: str = "cpu",
) -> None:
    """Attack the policy of a case as far as rows are missing; each attack is added when it is done."""
    known = {row.attack for row in rows.read(file, DefenseRow) if (row.case, row.stage) == (case.name, stage)}
    missing = [name for name in attackers if name not in known]
    if not missing:
        return
    subject = subject_of(case, of, folder, device)
    for name in missing:
        found = attacked(subject, case, stage, of, name, epsilons)
        rows.append(file, [row for row in found if row.attack not in known])
        known |= {NATURAL, name}
        terminal.say(f"{case.name}, {stage}: {name}")


def certify(file: Path, case: DefenseCase, of: Rows, folder: Path, device: str = "cpu") -> None:
    """Decide at natural states of every seed which actions can be provoked, if there is no row of the case."""
    if case.name in {row.case for row in rows.read(file, CertifiedRow)}:
        return
    subject, threat = subject_of(case, of, folder, device), case.comparison.threat
    obs = visited(subject.policy, subject.make_env(REPORTED_ON, threat.first_seed), CERTIFIED_STATES)
    found = []
    for epsilon in case.comparison.epsilons:
        rates = certified_action_rate(subject.policy, obs, threat.budget(epsilon), max_boxes=MAX_BOXES)
        for s, (_, seed) in enumerate(of):
            found.append(CertifiedRow(case.name, seed, epsilon, *(float(rate[s]) for rate in rates)))
    rows.append(file, found)
    terminal.say(f"{case.name}: certified")


def enclose(file: Path, case: DefenseCase, of: Rows, folder: Path, device: str = "cpu") -> None:
    """Bound the exact worst case of a grid's policies from below, if there is no row of the case."""
    if case.name in {row.case for row in rows.read(file, WorstCaseRow)}:
        return
    subject, threat = subject_of(case, of, folder, device), case.comparison.threat
    world = find_dynamics(subject.env, env_kwargs=dict(subject.env_kwargs))
    found = []
    for epsilon in case.comparison.epsilons:
        each = bracket(world, subject.policy, threat.budget(epsilon), max_boxes=GRID_BOXES)
        start = each.at_start()
        for s, (_, seed) in enumerate(of):
            bounds = float(start["lower"][s]), float(start["upper"][s])
            found.append(WorstCaseRow(case.name, seed, epsilon, *bounds, int(each.undecided[s])))
    rows.append(file, found)
    terminal.say(f"{case.name}: enclosed")


def measure_distances(file: Path, case: DefenseCase, of: Rows, folder: Path, device: str = "cpu") -> None:
    """Enclose the distances to a change of the action on a grid, if there is no row of the case."""
    if case.name in {row.case for row in rows.read(file, DistanceRow)}:
        return
    rows.append(file, distance_rows(case, subject_of(case, of, folder, device)))
    terminal.say(f"{case.name}: distances")


def mask(case: DefenseCase, of: Rows, options: StudyOptions) -> None:
    """Ask whether the gradients of a defended case mislead, if rows are missing."""
    file = options.data / "masking-rows.csv"
    if complete(of_masked(file, case.name)):
        return
    plain = next(each for each in CASES if each.name == case.twin)
    twin = subject_of(plain, tune(plain, options), options.models / plain.name, options.device)
    subject, threat = subject_of(case, of, options.models / case.name, options.device), case.comparison.threat
    measure_masking(file, case.name, subject, threat, twin.policy)


def tune(case: DefenseCase, options: StudyOptions) -> Rows:
    """Compare the configurations on the tuning seeds, and return the rows to test: every test seed with the best one.

    The choice is written once and read from then on; a case with a given configuration has none. A policy made by hand
    is a single row.
    """
    seeds = case.comparison.seeds
    if not case.defense:
        return [(Configuration(), seeds[0])]
    if case.given is not None:
        return [(case.given, seed) for seed in seeds]
    file, choices = options.data / "defense-rows.csv", options.data / "chosen-rows.csv"
    tuned = next(each for each in CASES if each.name == (case.chosen_in or case.name))
    frozen = {row.case: row.configuration for row in rows.read(choices, ChosenRow)}
    if tuned.name not in frozen:
        of = [(each, seed) for each in tuned.configurations for seed in case.comparison.tuning_seeds]
        attackers = [name for name, attacker in attackers_of(case.comparison.task).items() if attacker.tunes]
        models, epsilons = options.models / f"{tuned.name}-tuning", case.comparison.epsilons[-1:]
        measure(file, tuned, TUNING, of, models, attackers, epsilons, options.device)
        frozen[tuned.name] = chosen_configuration(rows.read(file, DefenseRow), tuned)
        rows.append(choices, [ChosenRow(tuned.name, frozen[tuned.name])])
    return [(next(each for each in tuned.configurations if str(each) == frozen[tuned.name]), seed) for seed in seeds]


def run(cases: Sequence[DefenseCase], options: StudyOptions) -> Sequence[ReportTable]:
    """Measure the cases as far as rows are missing, and return the tables of all rows.

    All cases are attacked by what needs no fit first, then by the attacks that are fitted. On the cart-pole, defended
    policies are then attacked without their gradients and by adversaries trained longer. There and on Acrobot natural
    states are certified. On grids the worst case is enclosed, and distances of the penalties of input gradients are
    measured.
    """
    file = options.data / "defense-rows.csv"
    of: dict[str, Rows] = {}
    for fitted in (False, True):
        for case in cases:
            attackers = [name for name, each in attackers_of(case.comparison.task).items() if each.fitted == fitted]
            of[case.name] = of.get(case.name) or tune(case, options)
            models, epsilons = options.models / case.name, case.comparison.epsilons
            measure(file, case, TEST, of[case.name], models, attackers, epsilons, options.device)
            tabulated(options.data)
    on_grid = [case for case in cases if case.comparison.task is GRID]
    for case in on_grid:
        models = options.models / case.name
        enclose(options.data / "bounds-rows.csv", case, of[case.name], models, options.device)
    for case in (case for case in cases if case.comparison.name == COMPARED and case.arm in (*IN_ORDER, EQUAL.arm)):
        models = options.models / case.name
        measure_distances(options.data / "distance-rows.csv", case, of[case.name], models, options.device)
    on_cartpole = [case for case in cases if case.comparison.task is CARTPOLE]
    for case in (case for case in on_cartpole if case.twin is not None):
        mask(case, of[case.name], options)
        tabulated(options.data)
    for case in (case for case in cases if case.comparison.task is not GRID):
        models = options.models / case.name
        certify(options.data / "certified-rows.csv", case, of[case.name], models, options.device)
    known = rows.read(file, DefenseRow)
    for comparison in COMPARISONS:
        if any(of_case(known, case.name) for case in CASES if case.comparison is comparison):
            name = "defenses" if comparison is FIRST else comparison.name
            write_bytes(options.data / f"{name}.svg", svg(figure(known, comparison)))
    return tabulated(options.data)


def tabulated(data: Path) -> Sequence[ReportTable]:
    """Write the tables of all rows, and return them."""
    known = rows.read(data / "defense-rows.csv", DefenseRow)
    masking = rows.read(data / "masking-rows.csv", MaskingRow)
    distances = rows.read(data / "distance-rows.csv", DistanceRow)
    further = (
        gradient_table(),
        longer_table(known),
        bound_table(rows.read(data / "bounds-rows.csv", WorstCaseRow)),
        distance_table(distances),
        order_table(distances),
        masking_table(masking, known),
        adversary_table(masking),
        strengthened_table(masking, known),
    )
    made = (*tables(known, rows.read(data / "certified-rows.csv", CertifiedRow)), *further)
    made = tuple(table for table in made if table.rows)
    write_tables(made, data)
    return made


STUDY = Study(CASES, run, takes=("models", "device"))
