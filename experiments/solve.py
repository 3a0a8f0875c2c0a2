"""The exact answer of a finite problem, discounted and under its step limit."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from matplotlib.figure import Figure

from rlkit.envs.gridworld import GridWorld
from rlkit.envs.maps import MAPS
from rlkit.envs.render import draw_values
from rlkit.mdp import TabularMDP
from rlkit.planning import FiniteHorizonSolution, Solution, backward_induction, evaluate_finite, start_value
from rlkit.planning import solve as solve_mdp
from rlkit.plotting import png

from .ledger import Picture, Run, Table
from .policies import made_with

GRID = "rlkit/GridWorld-v0"
PICTURED_TILES = 64  # of a side; larger maps have no legible picture


class Problem(NamedTuple):
    """A finite MDP, with its map where it has one."""

    name: str
    mdp: TabularMDP
    grid: GridWorld | None


class Answer(NamedTuple):
    """Both optima of a problem."""

    discounted: Solution
    limited: FiniteHorizonSolution | None  # None without a step limit


def find_problem(name: str, env_kwargs: Mapping[str, Any] | None = None) -> Problem:
    """The problem behind a map file, a saved table (.npz), a named map or the id of an environment with a table.

    Raises:
        ValueError: none of these, or a map or table that is not sound.
    """
    kwargs = dict(env_kwargs or {})
    with made_with(name, kwargs):
        return _made_problem(name, kwargs)


def _made_problem(name: str, kwargs: dict[str, Any]) -> Problem:
    if Path(name).is_file() and Path(name).suffix == ".npz":
        return Problem(Path(name).name, TabularMDP.load(name), None)
    if Path(name).is_file():
        return _grid_problem(Path(name).name, GridWorld(Path(name).read_text(encoding="utf-8"), **kwargs))
    if name in MAPS:
        return _grid_problem(name, GridWorld(name, **kwargs))
    if name == GRID:
        grid = GridWorld(**kwargs)
        return _grid_problem(grid.name, grid)
    try:
        env = gymnasium.make(name, **kwargs)
    except gymnasium.error.Error as error:
        near = difflib.get_close_matches(name, [*MAPS, GRID, *gymnasium.registry], n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"{name!r} is neither a file, nor a named map, nor a known environment: {hint}"
            f"The named maps are {', '.join(MAPS)}"
        ) from error
    return Problem(name, TabularMDP.from_gymnasium(env), None)


def _grid_problem(name: str, grid: GridWorld) -> Problem:
    return Problem(name, grid.mdp, grid)


def answer(problem: Problem, gamma: float, tolerance: float, limit: int | None = None) -> Answer:
    """The discounted optimum with certified bounds, and the undiscounted one under a step limit.

    Raises:
        ValueError: gamma, tolerance or limit out of range.
        NotConverged: the tolerance was not reached.
    """
    steps = limit if limit is not None else problem.mdp.max_steps
    return Answer(
        solve_mdp(problem.mdp, gamma, tolerance),
        None if steps is None else backward_induction(problem.mdp, steps),
    )


def solve(problem: Problem, gamma: float = 0.99, tolerance: float = 1e-9, limit: int | None = None) -> Run:
    """Solve a problem and say what is known about its answer."""
    solution, limited = answer(problem, gamma, tolerance, limit)
    mdp = problem.mdp

    def at_start(value: np.ndarray) -> float:
        return float(start_value(mdp, value))

    numbers: dict[str, Any] = {
        "start_value": at_start(solution.value),
        "start_lower": at_start(solution.lower),
        "start_upper": at_start(solution.upper),
        "widest_bounds": solution.width,
        "policy_loss_bound": solution.policy_loss_bound,
        "iterations": solution.iterations,
        "seconds": solution.seconds,
        "converged": solution.converged,
        "step_limit": None,
    }
    if limited is not None:
        policy_value = evaluate_finite(mdp, solution.policy, limited.horizon)[0]
        numbers |= {
            "step_limit": limited.horizon,
            "limited_optimum": at_start(limited.value[0]),
            "limited_error_bound": limited.error_bound,
            "discounted_policy_under_limit": at_start(policy_value),
        }
    return Run(
        kind="solve",
        title=f"Exact solution of {problem.name}",
        settings={
            "environment": problem.name,
            "states": mdp.num_states,
            "actions": mdp.num_actions,
            "successors": mdp.num_successors,
            "gamma": gamma,
            "tolerance": tolerance,
        },
        results=numbers,
        tables=(_summary(numbers, gamma), _state_table(problem, solution)),
        pictures=_value_map(problem, solution),
    )


def _summary(numbers: Mapping[str, Any], gamma: float) -> Table:
    """What the terminal shows."""
    rows: list[tuple[str, float | None, float | None, float | None]] = [
        (
            f"optimal value of the start, gamma {gamma:g}",
            numbers["start_value"],
            numbers["start_lower"],
            numbers["start_upper"],
        )
    ]
    if numbers["step_limit"] is not None:
        limit, earned = numbers["step_limit"], numbers["discounted_policy_under_limit"]
        optimum, error = numbers["limited_optimum"], numbers["limited_error_bound"]
        rows += [
            (f"greatest return in {limit} steps, any policy", optimum, optimum - error, optimum + error),
            (f"return in {limit} steps of the gamma-optimal policy", earned, None, None),
        ]
    columns = ("quantity", "value", "lower", "upper")
    return Table("solution", "Exact answer, with proven bounds", columns, tuple(rows), digits=11)


def _state_table(problem: Problem, solution: Solution) -> Table:
    """Value, bounds and optimal actions of every state."""
    mdp = problem.mdp
    places = problem.grid.tile_of.tolist() if problem.grid is not None else [(None, None)] * mdp.num_states
    rows = tuple(
        (
            state,
            *places[state],
            float(solution.value[state]),
            float(solution.lower[state]),
            float(solution.upper[state]),
            " ".join(map(str, np.flatnonzero(solution.optimal_actions[state]).tolist())),
        )
        for state in range(mdp.num_states)
    )
    columns = ("state", "row", "column", "value", "lower", "upper", "optimal actions")
    return Table("values", "Value of every state", columns, rows, digits=6)


def _value_map(problem: Problem, solution: Solution) -> tuple[Picture, ...]:
    """Values and every optimal action on the map."""
    if problem.grid is None or max(problem.grid.letters.shape) > PICTURED_TILES:
        return ()
    title = f"{problem.name}, optimal values, gamma {solution.gamma:g}"
    figure = draw_values(problem.grid, solution.value, solution.optimal_actions, title=title)
    assert isinstance(figure, Figure)
    return (Picture("values", "Optimal value of every state; arrows are the optimal actions.", png(figure)),)
