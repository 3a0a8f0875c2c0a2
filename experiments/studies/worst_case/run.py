"""Train missing policies, bracket their worst case, evaluate every attack exactly, and table the distances."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rlkit.adversarial import (
    Attack,
    AttackedValue,
    Bracket,
    Budget,
    Timing,
    attacked_value,
    bracket,
    choices_of_distributions,
    worst_case,
)
from rlkit.envs import GridWorld, find_dynamics
from rlkit.figure_style import svg

from ...report import terminal
from ...report.ledger import ReportTable, write_bytes, write_tables
from ...workflows.policies import RLKIT, Subject
from ..common import rows
from ..common.policy_cache import rlkit_policy
from ..common.study import Study, StudyOptions
from ..common.tasks import GRID
from .analysis import ALWAYS, OPTIMAL, UNLIMITED, WORST, AttackedRow, BoundRow, Floats, figure, tables
from .attacks import ADVERSARIES, attacks, natural_actions, timings
from .settings import ATTACKS_LEFT, CASES, EPSILONS, MAX_BOXES, THREAT, WorstCaseCase

TIMED = ("PGD-20", "value-aware")  # attacks that are tried with every timing, beside the worst case
BOUNDS, ATTACKED = "bounds-rows.csv", "attacked-rows.csv"


class Returns(NamedTuple):
    """Exact expected returns of all seeds under one attack and timing."""

    limit: str
    attack: str
    timing: str
    earned: Floats  # [S]


def run(cases: Sequence[WorstCaseCase], options: StudyOptions) -> Sequence[ReportTable]:
    """Measure the cases and epsilons without rows, and table all rows."""
    for case in cases:
        run_case(case, options.models / case.name, options.data)
    bounds, attacked = rows.read(options.data / BOUNDS, BoundRow), rows.read(options.data / ATTACKED, AttackedRow)
    found = tables(bounds, attacked)
    write_tables(found, options.data)
    write_bytes(options.data / "returns.svg", svg(figure(bounds, attacked)))
    return found


def run_case(case: WorstCaseCase, folder: Path, data: Path) -> None:
    """Measure the epsilons of a case that have no rows, then fit the adversaries that have no rows."""
    own = [row for row in rows.read(data / ATTACKED, AttackedRow) if row.case == case.name]
    measured = {row.epsilon for row in own if row.attack not in ADVERSARIES}
    fitted = {(row.epsilon, row.attack) for row in own}
    missing = [epsilon for epsilon in EPSILONS if epsilon not in measured]
    unfitted = [each for each in product(EPSILONS, ADVERSARIES) if each not in fitted]
    if not missing and not unfitted:
        return
    world, subject = find_dynamics(GRID.env, env_kwargs=dict(GRID.env_kwargs)), subject_of(case, folder)
    assert isinstance(world, GridWorld)
    if missing:
        measure(case, missing, world, subject, data)
    for epsilon, name in unfitted:
        made = {name: ADVERSARIES[name](subject, epsilon)}
        found = returns_at_every_step(world, subject, THREAT.budget(epsilon), made)
        rows.append(data / ATTACKED, attacked_rows(case, epsilon, found))
        terminal.say(f"{case.name}: {name}, epsilon {epsilon:g}")


def measure(case: WorstCaseCase, missing: Sequence[float], world: GridWorld, subject: Subject, data: Path) -> None:
    """Bracket the worst case at epsilons without rows and evaluate every attack; rows are added epsilon by epsilon."""
    bounded = {row.epsilon for row in rows.read(data / BOUNDS, BoundRow) if row.case == case.name}
    made, rules = attacks(world, subject), timings(world, subject)
    for epsilon in missing:
        budget = THREAT.budget(epsilon)
        unlimited, limited = (
            bracket(world, subject.policy, budget, attacks=left, max_boxes=MAX_BOXES) for left in (None, ATTACKS_LEFT)
        )
        if epsilon not in bounded:
            rows.append(data / BOUNDS, [*bound_rows(case, epsilon, unlimited), *bound_rows(case, epsilon, limited)])
        found = [
            *returns_at_every_step(world, subject, budget, made),
            *returns_of_timings(world, subject, budget, made, rules, unlimited),
        ]
        rows.append(data / ATTACKED, attacked_rows(case, epsilon, found))
        terminal.say(f"{case.name}: epsilon {epsilon:g}")


def subject_of(case: WorstCaseCase, folder: Path) -> Subject:
    """The policies of a case, read or trained, with their environment."""
    return GRID.subject(rlkit_policy(case.training, folder), RLKIT, case.training.algo, case.training.seeds)


def bound_rows(case: WorstCaseCase, epsilon: float, found: Bracket) -> list[BoundRow]:
    """The rows of one bracket, one per seed."""
    limit = UNLIMITED if found.timing is None else str(ATTACKS_LEFT)
    start = found.at_start()
    columns = (start["natural"], start["lower"], start["upper"], found.undecided)
    return [
        BoundRow(case.name, seed, epsilon, limit, float(natural), float(lower), float(upper), int(undecided))
        for seed, natural, lower, upper, undecided in zip(case.training.seeds, *columns, strict=True)
    ]


def attacked_rows(case: WorstCaseCase, epsilon: float, found: Iterable[Returns]) -> list[AttackedRow]:
    """The rows of returns, one per seed."""
    return [
        AttackedRow(case.name, seed, epsilon, each.limit, each.attack, each.timing, float(earned))
        for each in found
        for seed, earned in zip(case.training.seeds, each.earned, strict=True)
    ]


def returns_at_every_step(
    world: GridWorld, subject: Subject, budget: Budget, made: Mapping[str, Attack]
) -> Iterator[Returns]:
    """Evaluate every attack at every step."""
    for name, attack in made.items():
        yield Returns(UNLIMITED, name, ALWAYS, attacked_value(world, subject.policy, attack, budget).start)


def returns_of_timings(
    world: GridWorld,
    subject: Subject,
    budget: Budget,
    made: Mapping[str, Attack],
    rules: Mapping[str, Timing],
    unlimited: Bracket,
) -> Iterator[Returns]:
    """Evaluate some attacks with every timing under the limit of attacks, and with the optimal timing of each.

    The attack "worst case" shows what an adversary without a limit shows.
    """
    for name, attack in {**{each: made[each] for each in TIMED}, WORST: unlimited.attack}.items():
        for rule, timing in rules.items():
            found = attacked_value(
                world, subject.policy, attack, budget, timing=timing, attacks_per_episode=ATTACKS_LEFT
            )
            yield Returns(str(ATTACKS_LEFT), name, rule, found.start)
        shown = attacked_value(world, subject.policy, attack, budget)
        yield Returns(str(ATTACKS_LEFT), name, OPTIMAL, optimally_timed(world, subject, shown))


def optimally_timed(world: GridWorld, subject: Subject, shown: AttackedValue) -> Floats:
    """The least return over all rules of when to attack, for a fixed attack under the limit of attacks, ``[S]``."""
    own = np.eye(world.mdp.num_actions)[natural_actions(world, subject)]
    provoked = np.stack([own, shown.policy], axis=2)
    allowed = np.ones(provoked.shape[:3], np.bool_)
    choices = choices_of_distributions(own, provoked, allowed)
    _, attained, _ = worst_case(world.mdp, choices, attacks=ATTACKS_LEFT).at_start()
    return attained


STUDY = Study(CASES, run, takes=("models", "device"))
