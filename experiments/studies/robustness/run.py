"""Training what is not there, attacking what has no row yet, and the table, the order of attacks and the figures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from rlkit.adversarial import NATURAL, Victim, robustness_curve, visited
from rlkit.plotting import png

from ...report import terminal
from ...report.ledger import flattened, write_bytes, write_csv
from ...workflows.attack import aliasing
from ...workflows.policies import OURS, PEER
from ..common import rows
from ..common.case_selection import parsed
from ..common.policy_cache import POLICIES
from ..common.tasks import TASKS
from .analysis import AttackRow, curve_table, figure, order_table, rows_of
from .objectives import ATTACKS as PAIRED
from .objectives import STATES, Pair, objective_table, pairs
from .settings import ATTACKS, CASES, EPISODES, SEEDS, RobustnessCase, names_of

MAKERS = (OURS, PEER)


def attacked(case: RobustnessCase, maker: str, victim: Victim, attack: str) -> list[AttackRow]:
    """The natural return, and that under one attack at every epsilon, of every seed."""
    curve = robustness_curve(
        victim,
        lambda episodes: case.task.environments(len(SEEDS), episodes),
        [ATTACKS[attack]],
        case.task.epsilons,
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
            AttackRow(case.name, maker, seed, attack, epsilon, float(earned[s]), round(float(rate[s]), 6))
            for s, seed in enumerate(SEEDS)
        ]
    return found


def policies(case: RobustnessCase, maker: str, models: Path) -> Victim:
    """One maker's of all seeds, read or trained."""
    return POLICIES[maker](case.ours if maker == OURS else case.peer, models / case.name)


def run_case(case: RobustnessCase, maker: str, models: Path, path: Path) -> None:
    """Attack one maker's policies as far as rows are missing in the file; each attack is added when it is done."""
    known = {row.attack for row in rows_of(rows.read(path, AttackRow), case.name, maker)}
    missing = [attack for attack in ATTACKS if attack not in known]
    if not missing:
        return
    victim = policies(case, maker, models)
    for attack in missing:
        found = attacked(case, maker, victim, attack)
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


def main(args: Sequence[str] | None = None) -> int:
    """Run what is named and has no row yet, show the tables and draw a figure per task; the exit code."""
    parser = argparse.ArgumentParser(prog="rlkit.experiments.studies.robustness", description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join(case.name for case in CASES))
    parser.add_argument("--makers", nargs="+", choices=MAKERS, default=MAKERS, help="whose policies")
    parser.add_argument("--models", type=Path, default=Path("runs/robustness"), help="policies, read and added to")
    parser.add_argument("--data", type=Path, default=Path("results/robustness"), help="rows, tables and figures")
    options, cases = parsed(parser, args, CASES)
    for case in cases:
        for maker in options.makers:
            run_case(case, maker, options.models, options.data / "rows.csv")
            compare_objectives(case, maker, options.models, options.data / "pairs.csv")
    known = rows.read(options.data / "rows.csv", AttackRow)
    paired = rows.read(options.data / "pairs.csv", Pair)
    for table in (curve_table(known), order_table(known), objective_table(paired)):
        terminal.show_table(table)
        write_csv(options.data / f"{table.name}.csv", *flattened(table))
    for task in TASKS:
        own = [row for row in known if row.case in names_of(task)]
        if own:
            limit = aliasing(task.env, task.env_kwargs, task.budget())
            write_bytes(options.data / f"{task.name}.png", png(figure(own, limit)))
    return 0
