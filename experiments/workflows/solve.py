"""The exact answer of a finite problem, discounted and under its step limit."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from rlkit.envs import GridWorld, find_dynamics
from rlkit.envs.gridtable import ACTIONS
from rlkit.envs.maps import MAPS
from rlkit.envs.render import DrawnGrid, draw_values
from rlkit.figure_style import svg
from rlkit.mdp import TabularMDP
from rlkit.planning import (
    FiniteHorizonSolution,
    Proof,
    Solution,
    SolverInterrupted,
    backward_induction,
    evaluate_finite,
    interval_iteration,
    prove,
    start_value,
)
from rlkit.planning import solve as solve_mdp
from rlkit.planning.solve import Method

from ..report.ledger import Picture, ReportTable, RunRecord
from .policies import made_with

GRID = "rlkit/GridWorld-v0"
PICTURED_TILES = 64  # per side; pictures of larger maps are not legible


class Problem(NamedTuple):
    """A finite MDP, with its map if it has one."""

    name: str
    mdp: TabularMDP
    grid: DrawnGrid | None


class Lake(NamedTuple):
    """The map of gymnasium's FrozenLake, whose states are its tiles row by row."""

    letters: NDArray[np.str_]  # [rows, columns]
    mdp: TabularMDP

    @property
    def tile_of(self) -> NDArray[np.int64]:
        """Row and column of every state, ``[N, 2]``."""
        return np.argwhere(np.ones(self.letters.shape, np.bool_))

    def observations(self) -> NDArray[np.int64]:
        """The observation of every state, which is its number, ``[N]``."""
        return np.arange(self.mdp.num_states)

    def to_map(self, values: ArrayLike) -> NDArray[Any]:
        """``[..., N]`` -> ``[..., rows, columns]``."""
        given = np.asarray(values)
        return given.reshape(*given.shape[:-1], *self.letters.shape)


class Answer(NamedTuple):
    """Both optima of a problem."""

    best: Solution  # at the given gamma
    limited: FiniteHorizonSolution | None  # None without a step limit
    finished: bool = True  # False if a signal came; the bounds of ``best`` are then as far apart as they were


def find_problem(name: str, env_kwargs: Mapping[str, Any] | None = None) -> Problem:
    """Find the problem of a map file, a saved table (.npz), a named map, or the id of an environment with a table.

    Raises:
        ValueError: none of these, or a map or table that is not valid.
    """
    kwargs = dict(env_kwargs or {})
    with made_with(name, kwargs):
        return _made_problem(name, kwargs)


def _made_problem(name: str, kwargs: dict[str, Any]) -> Problem:
    if Path(name).is_file() and Path(name).suffix == ".npz":
        if kwargs:
            raise ValueError(f"{name} holds a complete table: leave out the environment's arguments {kwargs}")
        return Problem(Path(name).name, TabularMDP.load(name), None)
    if Path(name).is_file():
        return _grid_problem(Path(name).name, _read_map(Path(name), kwargs))
    if name in MAPS:
        return _grid_problem(name, GridWorld(name, **kwargs))
    if name == GRID:
        grid = GridWorld(**kwargs)
        return _grid_problem(grid.name, grid)
    dynamics = find_dynamics(name, env_kwargs=kwargs)
    if isinstance(table := getattr(dynamics, "mdp", None), TabularMDP):
        return Problem(name, table, None)
    try:
        env = gymnasium.make(name, **kwargs)
    except gymnasium.error.Error as error:
        near = difflib.get_close_matches(name, [*MAPS, GRID, *gymnasium.registry], n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"{name!r} is neither a file, nor a named map, nor a known environment: {hint}"
            f"The named maps are {', '.join(MAPS)}"
        ) from error
    mdp = TabularMDP.from_gymnasium(env)
    return Problem(name, mdp, lake_of(env, mdp))


def _read_map(path: Path, kwargs: dict[str, Any]) -> GridWorld:
    """The grid world of a text file; every ValueError names the file."""
    try:
        return GridWorld(path.read_text(encoding="utf-8"), **kwargs)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start}: {error.reason}): save it in UTF-8") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def lake_of(env: gymnasium.Env[Any, Any], mdp: TabularMDP) -> Lake | None:
    """The map of gymnasium's FrozenLake; None for any other environment."""
    lake = env.unwrapped
    return Lake(np.asarray(lake.desc).astype(str), mdp) if isinstance(lake, FrozenLakeEnv) else None


def _grid_problem(name: str, grid: GridWorld) -> Problem:
    return Problem(name, grid.mdp, grid)


def answer(
    problem: Problem,
    gamma: float,
    tolerance: float,
    limit: int | None = None,
    method: Method = "auto",
    device: str | None = None,
) -> Answer:
    """The optimum at gamma with certified bounds, and the undiscounted one under a step limit.

    If the first is interrupted, it is what was known by then.

    Raises:
        ValueError: gamma, tolerance, limit, method or device out of range.
        NotConverged: the tolerance was not reached.
    """
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma {gamma}: a discount lies between 0 and 1; 1 is the total reward of whole episodes")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1 step, got {limit}")
    steps = limit if limit is not None else problem.mdp.max_steps
    limited = None if steps is None else backward_induction(problem.mdp, steps)
    if gamma == 1 and (method != "auto" or device is not None):
        raise ValueError("gamma 1 has one method, interval iteration on the CPU: leave out --method and --device")
    try:
        if gamma != 1:
            return Answer(solve_mdp(problem.mdp, gamma, tolerance, method, device), limited)
        reason = "without discounting a small change of values proves nothing, but bounds from both sides do"
        return Answer(replace(interval_iteration(problem.mdp, tolerance), reason=reason), limited)
    except SolverInterrupted as stopped:
        return Answer(stopped.solution, limited, finished=False)


def solve(
    problem: Problem,
    gamma: float = 0.99,
    tolerance: float = 1e-9,
    limit: int | None = None,
    method: Method = "auto",
    device: str | None = None,
    proved: bool = False,
) -> RunRecord:
    """Solve a problem and say what is known about its answer; ``proved`` adds a proof in rational arithmetic.

    An interrupted solve gives the bounds it had, with ``finished`` false among the results, and no proof.

    Raises:
        ValueError: as ``answer``; a proof of a problem that is too large for one, or at gamma 1.
        NotConverged: the tolerance was not reached.
    """
    if proved and gamma == 1:
        raise ValueError("a proof needs gamma below 1: without discounting Bellman's equation has many solutions")
    solution, limited, finished = answer(problem, gamma, tolerance, limit, method, device)
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
        "bytes": solution.bytes,
        "converged": solution.converged,
        "finished": finished,
        "method": solution.method,
        "reason": solution.reason,
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
    proof = prove(solution) if proved and finished else None
    if proof is not None:
        numbers |= {
            "proved_policy_is_optimal": proof.holds,
            "proved_enclosed": proof.encloses,
            "proved_start_value": _digits(proof, mdp),
            "proved_optimal_actions": int(proof.optimal_actions.sum(axis=None)),
            "proved_with": proof.arithmetic,
        }
    return RunRecord(
        kind="solve",
        title=f"Exact solution of {problem.name}",
        settings={
            "environment": problem.name,
            "states": mdp.num_states,
            "actions": mdp.num_actions,
            "successors": mdp.num_successors,
            "gamma": gamma,
            "tolerance": tolerance,
            "method": method,
            "device": device,
        },
        results=numbers,
        tables=(_summary(numbers, gamma), _state_table(problem, solution)),
        pictures=_value_map(problem, solution),
        notes=(
            *(() if finished else ("Interrupted: the bounds hold, and may be wider than the tolerance.",)),
            f"Method: {solution.method}{solution.reason and f' ({solution.reason})'}; {solution.iterations} iterations "
            f"in {solution.seconds:.3g} s. The bounds are at most {solution.width:.2g} apart in any state.",
            *_proof_note(proof, numbers),
        ),
    )


def _digits(proof: Proof, mdp: TabularMDP) -> str:
    """The proved value of the start to 20 digits."""
    exact = sum((Fraction(float(p)) * v for p, v in zip(mdp.start, proof.value, strict=True)), Fraction(0))
    with localcontext(prec=20):
        return str(Decimal(exact.numerator) / Decimal(exact.denominator))


def _proof_note(proof: Proof | None, numbers: Mapping[str, Any]) -> tuple[str, ...]:
    """A sentence about the proof."""
    if proof is None:
        return ()
    own = "the policy found is optimal" if proof.holds else "the policy found is optimal up to rounding in the table"
    return (
        f"Proved in rational arithmetic ({proof.arithmetic}): {own}; the bounds "
        f"{'enclose' if proof.encloses else 'DO NOT enclose'} the optimum in every state; the value of the start is "
        f"{numbers['proved_start_value']}.",
    )


def _summary(numbers: Mapping[str, Any], gamma: float) -> ReportTable:
    """The main numbers, for the terminal."""
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
    return ReportTable("solution", "Exact answer, with proven bounds", columns, tuple(rows), digits=11)


def _state_table(problem: Problem, solution: Solution) -> ReportTable:
    """Value, bounds and optimal actions of every state in which there is something to choose; on a map in words."""
    mdp = problem.mdp
    names = ACTIONS if problem.grid is not None else tuple(map(str, range(mdp.num_actions)))
    places = problem.grid.tile_of.tolist() if problem.grid is not None else [(None, None)] * mdp.num_states
    rows = tuple(
        (
            state,
            *places[state],
            float(solution.value[state]),
            float(solution.lower[state]),
            float(solution.upper[state]),
            " ".join(names[action] for action in np.flatnonzero(solution.optimal_actions[state])),
        )
        for state in np.flatnonzero(~mdp.ended).tolist()
    )
    columns = ("state", "row", "column", "value", "lower", "upper", "optimal actions")
    return ReportTable("values", "Value of every state", columns, rows, digits=6)


def _value_map(problem: Problem, solution: Solution) -> tuple[Picture, ...]:
    """Values and every optimal action on the map."""
    if problem.grid is None or max(problem.grid.letters.shape) > PICTURED_TILES:
        return ()
    label = f"optimal value at gamma {solution.gamma:g}"
    figure = draw_values(
        problem.grid, solution.value, solution.optimal_actions, title="Optimal values and actions", label=label
    )
    assert isinstance(figure, Figure)
    return (Picture("values", "Optimal value of every state; arrows are the optimal actions.", svg(figure)),)
