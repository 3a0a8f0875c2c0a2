"""Train missing policies, run missing attacks, and make the tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from rlkit.adversarial import NATURAL, Attack, Victim, robustness_curve, visited
from rlkit.figure_style import svg

from ...report import terminal
from ...report.ledger import ReportTable, write_bytes, write_tables
from ...workflows.attack import aliasing
from ...workflows.fitted_attacks import LINEAR_ADVERSARY, linear
from ...workflows.policies import RLKIT
from ..common import rows
from ..common.policy_cache import POLICIES
from ..common.study import Study, StudyOptions
from ..common.tasks import LINEAR_EPSILONS, TASKS, THREATS
from .analysis import AttackRow, curve_table, figure, order_table, rows_of
from .objectives import ATTACKS as PAIRED
from .objectives import STATES, Pair, objective_table, pairs
from .settings import ATTACKS, CASES, EPISODES, SEEDS, RobustnessCase, names_of


def run(cases: Sequence[RobustnessCase], options: StudyOptions) -> Sequence[ReportTable]:
    """Train and attack what has no row yet, draw a figure per task, and table returns, attacks and objectives."""
    attacked_rows, paired_rows = options.data / "rows.csv", options.data / "pairs.csv"
    for case, maker in product(cases, options.makers):
        run_case(case, maker, options.models, attacked_rows)
        compare_objectives(case, maker, options.models, paired_rows)
    known = rows.read(attacked_rows, AttackRow)
    for task in TASKS:
        own = [row for row in known if row.case in names_of(task)]
        if own:
            limit = aliasing(task.env, task.env_kwargs, task.budget())
            write_bytes(options.data / f"{task.name}.svg", svg(figure(own, limit)))
    tables = (curve_table(known), order_table(known), objective_table(rows.read(paired_rows, Pair)))
    write_tables(tables, options.data)
    return tables


def attacked(
    case: RobustnessCase, maker: str, victim: Victim, name: str, attack: Attack, epsilons: Sequence[float]
) -> list[AttackRow]:
    """The natural return, and that under one attack at every epsilon, of every seed."""
    curve = robustness_curve(
        victim,
        lambda episodes: case.task.environments(len(SEEDS), episodes),
        [attack],
        epsilons,
        case.task.budget(),
        EPISODES,
        seeds=SEEDS,
    )
    rates = curve.flips[0].sum(axis=-1) / curve.lengths[0].sum(axis=-1)  # [L, S]
    found = [
        AttackRow(case.name, maker, seed, NATURAL, 0.0, float(earned), 0.0)
        for seed, earned in zip(SEEDS, curve.natural.mean(axis=-1), strict=True)
    ]
    for epsilon, earned, rate in zip(curve.epsilons, curve.returns[0].mean(axis=-1), rates, strict=True):
        found += [
            AttackRow(case.name, maker, seed, name, epsilon, float(earned[s]), round(float(rate[s]), 6))
            for s, seed in enumerate(SEEDS)
        ]
    return found


def under_linear_adversaries(case: RobustnessCase, maker: str, victim: Any) -> list[AttackRow]:
    """Search a linear adversary for every seed and epsilon, and return the rows under it."""
    threat = THREATS[case.task.env]
    subject = case.task.subject(victim, maker, case.training.algo, SEEDS)
    found: list[AttackRow] = []
    for epsilon in LINEAR_EPSILONS[case.task.name]:
        adversary = linear(subject, threat.budget(epsilon), threat)
        under = attacked(case, maker, victim, LINEAR_ADVERSARY, adversary, [epsilon])
        found += [row for row in under if row.attack == LINEAR_ADVERSARY]
    return found


def policies(case: RobustnessCase, maker: str, models: Path) -> Victim:
    """The policies of one maker, all seeds, read or trained."""
    return POLICIES[maker](case.training if maker == RLKIT else case.sb3_training, models / case.name)


def run_case(case: RobustnessCase, maker: str, models: Path, path: Path) -> None:
    """Attack one maker's policies as far as rows are missing in the file; each attack is added when it is done."""
    known = {row.attack for row in rows_of(rows.read(path, AttackRow), case.name, maker)}
    wanted = (*ATTACKS, LINEAR_ADVERSARY) if case.task.name in LINEAR_EPSILONS else ATTACKS
    missing = [attack for attack in wanted if attack not in known]
    if not missing:
        return
    victim = policies(case, maker, models)
    for attack in missing:
        if attack == LINEAR_ADVERSARY:
            found = under_linear_adversaries(case, maker, victim)
        else:
            found = attacked(case, maker, victim, attack, ATTACKS[attack], case.task.epsilons)
        rows.append(path, [row for row in found if row.attack not in known])
        known |= {NATURAL, attack}
        terminal.say(f"{case.name}, {maker}: {attack}")


def compare_objectives(case: RobustnessCase, maker: str, models: Path, path: Path) -> None:
    """Both objectives at natural states of one maker's policies, as far as the file has no rows of them."""
    known = {(row.case, row.maker, row.attack, row.epsilon) for row in rows.read(path, Pair)}
    missing = [each for each in product(PAIRED, case.task.epsilons) if (case.name, maker, *each) not in known]
    if not missing:
        return
    victim = policies(case, maker, models)
    obs = visited(victim, case.task.environments(len(SEEDS), EPISODES), STATES)
    for attack, epsilon in missing:
        rows.append(path, pairs(case, maker, victim, obs, attack, epsilon))
    terminal.say(f"{case.name}, {maker}: margin and cross-entropy")


STUDY = Study(CASES, run, takes=("models", "makers", "device"))
