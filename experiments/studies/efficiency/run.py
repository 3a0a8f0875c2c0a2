"""Table steps to a return, stability and cost of the agents, from the rows of the studies ``tuned`` and ``matched``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu

from rlkit.figure_style import svg
from rlkit.plotting import Curve, learning_curves
from rlkit.statistics import holm, median_interval, share_interval

from ...report.ledger import Cell, ReportTable, write_bytes
from ...workflows.evaluate import mean_return, possible_returns
from ...workflows.policies import RLKIT, SB3
from ..common import rows
from ..common.outcomes import steps_to
from ..common.scores import Point, Score, curve, of_case
from ..common.study import Study, StudyOptions
from .flops import training_flops
from .settings import CASES, LEVELS, SOLVED, EfficiencyCase

RESULTS = Path("results")  # where the other studies keep their rows


def run(cases: Sequence[EfficiencyCase], options: StudyOptions) -> Sequence[ReportTable]:
    """Draw the training returns, and table efficiency, stability and cost."""
    curves = {case.name: training_returns(case) for case in cases}
    figure = learning_curves(
        {name.upper(): each for name, each in curves.items()}, ylabel="return of training episodes"
    )
    write_bytes(options.data / "efficiency.svg", svg(figure))
    tuned, matched = (rows.read(RESULTS / name / f"{name}.csv", Score) for name in ("tuned", "matched"))
    return (
        efficiency_table(cases, curves),
        stability_table(cases, curves, tuned),
        comparison_table(curves),
        cost_table(cases, curves, tuned, matched),
    )


def training_returns(case: EfficiencyCase) -> Curve:
    """Return the training returns of a case, ``[T, S]``.

    Raises:
        FileNotFoundError: the rows of the study ``tuned`` are not there.
    """
    path = RESULTS / "tuned" / f"curve-{case.tuned.name}.csv"
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}: run in the repository, or run the study tuned first")
    return curve(rows.read(path, Point))


def steps_until(curve: Curve, level: float) -> list[int]:
    """Return the environment steps to a training return, by seed; all steps where it is not reached."""
    y = np.asarray(curve.y)
    timesteps = np.broadcast_to(np.asarray(curve.x)[:, None], y.shape)
    reached = steps_to({"timesteps": timesteps, "episode_return": y}, level)
    return [int(timesteps[-1, 0]) if steps is None else steps for steps in reached]


def shares_lost(curve: Curve, level: float) -> list[float]:
    """Return the share of log rows below ``level`` after the first that is not, of each seed that has later ones.

    Rows in which no episode ended have no return (NaN) and are left out.
    """
    found = []
    for returns in np.asarray(curve.y).T:
        above = returns[~np.isnan(returns)] >= level
        later = above[above.argmax() + 1 :] if above.any() else above[:0]
        if len(later):
            found.append(float(1.0 - later.mean()))
    return found


def efficiency_table(cases: Sequence[EfficiencyCase], curves: Mapping[str, Curve]) -> ReportTable:
    """Return the median environment steps to each of ``LEVELS``."""
    lines: list[tuple[Cell, ...]] = []
    for case in cases:
        steps = [steps_until(curves[case.name], level) for level in LEVELS]
        reached = int(np.count_nonzero(np.nanmax(np.asarray(curves[case.name].y), axis=0) >= SOLVED))
        quartiles = np.quantile(steps[-1], (0.25, 0.75))
        spread = f"{quartiles[0]:,.0f} to {quartiles[1]:,.0f}"
        budget = case.tuned.training.steps
        lines.append((case.name, budget, len(steps[0]), reached, *(median_interval(each) for each in steps), spread))
    columns = ("agent", "budget", "seeds", "reach 475", "median to 400", "median to 475", "middle half of seeds to 475")
    return ReportTable("efficiency", "Environment steps to a training return", columns, tuple(lines))


def stability_table(
    cases: Sequence[EfficiencyCase], curves: Mapping[str, Curve], known: Sequence[Score]
) -> ReportTable:
    """Return the share of a solved task that is lost again, and the final returns."""
    lines: list[tuple[Cell, ...]] = []
    for case in cases:
        lost, final = shares_lost(curves[case.name], SOLVED), of_case(known, case.tuned.name)
        greedy = np.array([row.greedy for row in final])
        sampled = np.array([row.sampled for row in final if row.sampled is not None])
        limits = possible_returns(case.tuned.training.env, case.tuned.training.env_kwargs)
        unsolved = int((greedy < SOLVED).sum(axis=0))
        means = mean_return(greedy, limits), mean_return(sampled, limits) if len(sampled) else None
        lines.append((case.name, len(lost), share_interval(lost), *means, float(greedy.min(axis=0)), unsolved))
    columns = ("agent", "seeds at 475", "share of later log rows below 475", "final greedy", "final sampled",
               "least greedy", "seeds below 475")  # fmt: skip
    return ReportTable("stability", "What is lost again, and where seeds end", columns, tuple(lines))


def comparison_table(curves: Mapping[str, Curve]) -> ReportTable:
    """Compare every two agents in steps to 475 and in shares lost: Mann-Whitney tests, corrected by Holm over all."""
    pairs = list(combinations(curves, 2))
    samples = {name: (steps_until(each, SOLVED), shares_lost(each, SOLVED)) for name, each in curves.items()}
    raw = [[float(mannwhitneyu(samples[a][i], samples[b][i]).pvalue) for a, b in pairs] for i in (0, 1)]
    corrected = np.reshape(holm(np.ravel(raw)), (2, len(pairs)))
    lines: list[tuple[Cell, ...]] = [
        (f"{a}, {b}", float(np.median(samples[a][0]) / np.median(samples[b][0])), *map(float, corrected[:, i]))
        for i, (a, b) in enumerate(pairs)
    ]
    columns = ("agents", "ratio of median steps to 475", "p of steps", "p of shares lost")
    return ReportTable("comparisons", "Differences between agents", columns, tuple(lines))


def cost_table(
    cases: Sequence[EfficiencyCase], curves: Mapping[str, Curve], tuned: Sequence[Score], matched: Sequence[Score]
) -> ReportTable:
    """Return the cost of the median seed's training to 475, and stable-baselines3's CPU time a step."""
    lines: list[tuple[Cell, ...]] = []
    for case in cases:
        steps = int(np.median(steps_until(curves[case.name], SOLVED)))
        seconds = seconds_per_step(tuned, case.tuned.name, RLKIT)
        flops = training_flops(case.tuned.training.algo, *numbers_of(case), steps, inputs=4, actions=2)
        other = None if case.matched is None else seconds_per_step(matched, case.matched, SB3)
        each = None if other is None else 1e5 * other
        lines.append(
            (case.name, steps, steps * seconds, 1e5 * seconds, each, flops / 1e9, flops / steps, "not measured")
        )
    columns = ("agent", "steps to 475", "CPU s to 475", "CPU s / 1e5 steps", "of stable-baselines3", "GFLOP to 475",
               "FLOP / step", "joules")  # fmt: skip
    return ReportTable("cost", "Cost of one seed until the median training return is 475", columns, tuple(lines))


def seconds_per_step(known: Sequence[Score], case: str, maker: str) -> float:
    """Return the mean CPU seconds of training per environment step."""
    return float(np.mean([row.cpu_seconds / row.steps for row in of_case(known, case, maker)]))


def numbers_of(case: EfficiencyCase) -> tuple[dict[str, Any], int]:
    """Return the hyper-parameters of a case, and its copies of the environment."""
    agent = case.tuned.training.make_agent()
    return asdict(agent.config), agent.env.num_envs


STUDY = Study(CASES, run)
