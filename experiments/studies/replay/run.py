"""Choose a learning rate for every arm and task, train the arms with it on other seeds, and compare their returns."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from matplotlib.figure import Figure
from scipy.stats import mannwhitneyu

from rlkit.figure_style import in_style, panels, svg
from rlkit.plotting import strips
from rlkit.statistics import difference_interval, holm

from ...report.ledger import Cell, ReportTable, write_bytes
from ...report.text import slug_in_words
from ...workflows.evaluate import mean_return, possible_returns
from ...workflows.sweep.experiment import Experiment, PlannedRun, batch_training, experiment_of
from ..common import rows
from ..common.outcomes import OutcomeRow, finite_of, optimum_of, train_and_score
from ..common.study import Study, StudyOptions
from ..common.sweeps import Part, parts, train_missing_runs, with_rows
from ..grids.settings import SHARE

CASES = parts(__file__, "arms", "reuse")
TEST_SEEDS = list(range(800, 810))
MEMORY = "memory"  # the arm that must solve a task for the task to count

Rates = dict[tuple[str, str], float]  # by arm and task
Limits = tuple[float, float] | None  # least and greatest return that is possible


def run(cases: Sequence[Part], options: StudyOptions) -> Sequence[ReportTable]:
    """Train the runs without rows, first those that the learning rates are chosen by, and table the test."""
    tables: list[ReportTable] = []
    for part in cases:
        tuning, test = options.data / f"{part.name}-tuning.csv", options.data / f"{part.name}.csv"
        train_missing_runs(part.experiment, tuning, OutcomeRow, train_and_score, options.device)
        rates = best_rates(part.experiment, rows.read(tuning, OutcomeRow))
        found: list[tuple[str, str, float]] = []  # arm, task, return
        for experiment in tests(part, rates):
            train_missing_runs(experiment, test, OutcomeRow, train_and_score, options.device)
            known = with_rows(experiment, rows.read(test, OutcomeRow))
            found += [(run.agent, run.environment, row.greedy) for run, row in known]
        write_bytes(options.data / f"{part.name}.svg", svg(picture(found, limits_of(part.experiment))))
        tables.append(outcome_table(part, rates, found))
    return tables


def best_rates(experiment: Experiment, known: Sequence[OutcomeRow]) -> Rates:
    """Return the learning rate with the highest mean return over the tuning seeds for every arm and task.

    The smaller rate wins a tie.
    """
    earned: dict[tuple[str, str], dict[float, list[float]]] = {}
    for run, row in with_rows(experiment, known):
        of_rate = earned.setdefault((run.agent, run.environment), {})
        of_rate.setdefault(run.settings["learning_rate"], []).append(row.greedy)
    return {
        cell: max(sorted(of_rate), key=lambda rate: float(np.mean(of_rate[rate]))) for cell, of_rate in earned.items()
    }


def tests(part: Part, rates: Rates) -> list[Experiment]:
    """Return an experiment for every task: all arms with their learning rates on ``TEST_SEEDS``."""
    given = tomllib.loads(part.experiment.text)
    del given["settings"]
    given["seeds"] = TEST_SEEDS
    made = []
    for task in given["environments"]:
        name = task.get("name", task["env"])
        agents = [with_rate(agent, rates[agent["name"], name]) for agent in given["agents"]]
        made.append(experiment_of({**given, "environments": [task], "agents": agents}))
    return made


def with_rate(agent: Mapping[str, Any], rate: float) -> dict[str, Any]:
    """Return the entry of an agent with a learning rate."""
    return {**agent, "set": {**agent["set"], "learning_rate": rate}}


def outcome_table(part: Part, rates: Rates, found: Sequence[tuple[str, str, float]]) -> ReportTable:
    """Return a line per task and arm: its returns and their difference from the memory's.

    The p values are those of the Mann-Whitney test, corrected by Holm over all arms and tasks.
    """
    cells = list(dict.fromkeys((task, arm) for arm, task, _ in found))
    earned = {cell: [value for arm, task, value in found if (task, arm) == cell] for cell in cells}
    others = [cell for cell in cells if cell[1] != MEMORY]
    raw = [float(mannwhitneyu(earned[cell], earned[cell[0], MEMORY]).pvalue) for cell in others]
    p_values = dict(zip(others, holm(raw), strict=True))
    runs = {run.environment: run for run in part.experiment.runs}  # one of each task
    goal = {task: goal_of(runs[task]) for task in dict.fromkeys(task for task, _ in cells)}
    limits = limits_of(part.experiment)
    lines: list[tuple[Cell, ...]] = []
    for task, arm in cells:
        values = earned[task, arm]
        gap = None if arm == MEMORY else difference_interval(values, earned[task, MEMORY])
        p = p_values.get((task, arm))
        solving = sum(value >= goal[task] for value in values)
        mean, median = mean_return(np.array(values), limits[task]), float(np.median(values))
        lines.append((task, arm, rates[arm, task], len(values), mean, median, solving, gap, p))
    columns = (
        "task",
        "arm",
        "learning rate",
        "seeds",
        "mean return",
        "median",
        "seeds that solve it",
        "minus memory",
        "p",
    )
    title = f"{part.name}: greedy return of the final policy on the seeds of the test"
    return ReportTable(part.name, title, columns, tuple(lines))


def goal_of(run: PlannedRun) -> float:
    """Return the return from which a run's task counts as solved.

    In a finite problem it is 5 % of the optimum's size below the optimum, elsewhere the threshold that gymnasium
    registers.
    """
    training = batch_training([run.configuration])
    if finite_of(training) is not None:
        optimum = optimum_of(run)
        return optimum - SHARE * abs(optimum)
    threshold = gymnasium.spec(training.env).reward_threshold
    assert threshold is not None
    return threshold


def limits_of(experiment: Experiment) -> dict[str, Limits]:
    """Return the limits of the returns of every task."""
    configurations = {run.environment: run.configuration for run in experiment.runs}
    return {task: possible_returns(given["environment"], given["env_kwargs"]) for task, given in configurations.items()}


@in_style
def picture(found: Sequence[tuple[str, str, float]], limits: Mapping[str, Limits]) -> Figure:
    """Draw the return of every seed by arm, a panel per task."""
    tasks = list(dict.fromkeys(task for _, task, _ in found))
    figure, drawn = panels(len(tasks), side_by_side=1, size=(7.2, 2.6))
    for panel, task in zip(drawn, tasks, strict=True):
        arms = list(dict.fromkeys(arm for arm, where, _ in found if where == task))
        groups = {
            arm.replace("-", "\n"): [value for each, where, value in found if (each, where) == (arm, task)]
            for arm in arms
        }
        strips(panel, groups, "return", slug_in_words(task), limits[task])
    return figure


STUDY = Study(CASES, run, takes=("device",))
