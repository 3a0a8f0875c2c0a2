"""Agents on a slippery grid against the exact optimum: every seed's greedy policy is evaluated in the table."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rlkit.agents import Agent
from rlkit.envs import GridWorld
from rlkit.envs.render import draw_values
from rlkit.figure_style import in_style, svg
from rlkit.planning import evaluate
from rlkit.plotting import Curve
from rlkit.statistics import Estimate, median_interval

from ..report.ledger import Picture, ReportTable, RunRecord
from ..workflows.exact import (
    Exact,
    all_scores,
    curve_picture,
    evaluate_exactly,
    exact_answer,
    exact_results,
    exact_table,
    gamma_of,
    mistakes_picture,
)
from ..workflows.policies import backend_of, of_agent
from ..workflows.train import Training, TrainingResult


class GridExact(NamedTuple):
    """A grid with both its optima: under the step limit and at the agent's gamma."""

    grid: GridWorld
    exact: Exact
    horizon: int
    stationary: float  # what the policy that is optimal at gamma earns under the step limit
    error_bound: float  # of the optimum, by rounding


class GridResult(NamedTuple):
    """Results of an agent on the grid."""

    run: RunRecord
    optimum: float
    returns: NDArray[np.float64]  # [S], exact, of the final greedy policies
    median: Estimate[float]  # of the returns


def solved_grid(training: Training, agent: Agent) -> GridExact:
    """Solve the grid of a training, under the step limit and at the agent's gamma."""
    grid = GridWorld(**training.env_kwargs)
    exact = exact_answer(grid, gamma_of(agent))
    assert exact is not None
    assert exact.limited is not None
    assert exact.stationary is not None
    return GridExact(grid, exact, exact.limited.horizon, exact.stationary, exact.limited.error_bound)


def grid_result(training: Training, trained: TrainingResult, known: GridExact, curve: Curve) -> GridResult:
    """The record of the grid part."""
    agent, exact = trained.agent, known.exact
    found = evaluate_exactly(agent, exact)
    median = median_interval(found.returns)
    subject = of_agent(agent, training.env, training.env_kwargs)
    numbers: dict[str, Any] = {
        "median_return": median,
        "optimum_error_bound": known.error_bound,
        **exact_results(agent.seeds, exact, found),
        "cpu_seconds_per_seed": trained.cpu_seconds / agent.num_seeds,
        "curve": {"timesteps": curve.x, "returns": curve.y},
    }
    run = RunRecord(
        kind="grid",
        title=f"{subject.name} on the slippery grid {known.grid.name} against the exact optimum",
        settings={
            "environment": training.env,
            "env_kwargs": training.env_kwargs,
            "rules": str(known.grid),
            "backend": backend_of(agent.env),
            "algorithm": subject.name,
            "training_seeds": agent.seeds,
            "copies_per_seed": training.num_envs,
            "steps_per_seed": training.steps,
            "hyperparameters": asdict(agent.config),
            "engine": agent.engine.name,
        },
        results=numbers,
        tables=(_reference_table(known, median), exact_table(agent.seeds, exact, found)._replace(name="seeds")),
        pictures=(
            curve_picture(subject.name, exact, curve),
            _value_picture(agent, found.returns, known),
            *mistakes_picture(exact, found),
        ),
        notes=(
            f"Returns here are exact: each seed's greedy policy is evaluated in the table that the simulator "
            f"samples, for episodes of at most {known.horizon} steps. The optimum under this limit comes from "
            f"backward induction (rounding error below {known.error_bound:.1g}). Its actions may depend on the number "
            "of steps left, which a learned policy does not observe.",
        ),
    )
    return GridResult(run, exact.optimum, found.returns, median)


def _reference_table(known: GridExact, median: Estimate[float]) -> ReportTable:
    """Learned beside exact."""
    optimum, gamma = known.exact.optimum, known.exact.by_gamma.gamma
    rows = (
        ("learned, median seed", median, optimum - median.value),
        (f"exact optimum in {known.horizon} steps", optimum, 0.0),
        (f"exactly optimal policy of gamma {gamma:g}", known.stationary, optimum - known.stationary),
    )
    title = f"Expected return of an episode of at most {known.horizon} steps"
    return ReportTable("exact", title, ("policy", "return", "regret"), rows)


@in_style
def _value_picture(agent: Agent, returns: NDArray[np.float64], known: GridExact) -> Picture:
    """Draw the exact value and the actions of the median seed's greedy policy beside the optimal ones."""
    grid, solution = known.grid, known.exact.by_gamma
    row = int(np.argsort(returns, kind="stable")[(len(returns) - 1) // 2])
    greedy = all_scores(agent, grid)[row].argmax(axis=-1)  # [N]
    learned = evaluate(grid.mdp, greedy, solution.gamma)  # [N]
    deciding = ~grid.mdp.ended
    shown = np.concatenate([learned[deciding], solution.value[deciding]])
    limits = float(shown.min(axis=0)), float(shown.max(axis=0))
    rows, columns = grid.letters.shape
    figure = Figure(figsize=(2 * (0.62 * columns + 0.8), 0.62 * rows + 0.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    title = f"Learned, seed {agent.seeds[row]}"
    draw_values(grid, learned, greedy, axes=left, limits=limits, title=title, color_bar=False)
    draw_values(grid, solution.value, solution.optimal_actions, axes=right, limits=limits, title="Optimal")
    caption = (
        f"Exact value of every state at gamma {solution.gamma:g} (colors and numbers) and actions (arrows): the greedy "
        f"policy of the median seed, and the optimal policy, whose bounds are {solution.width:.1g} apart."
    )
    return Picture("values", caption, svg(figure))
