"""Exact solvers of rlkit, QuantEcon, Storm and pymdptoolbox: ``python -m rlkit.experiments.benchmarks.planning``.

One process, one thread, every solver on the same arrays, repeated in turn so that a slow minute of the machine affects
all of them. A solver's time is CPU time, the least of its repetitions, from the problem in its own form to values whose
true error is at most 1e-6: that is checked for every entry against certified bounds, and a solver that misses is shown
with its error and without a ratio. The time to convert the problem (Storm's model, rlkit's ``arrival`` table) is
measured separately, as ``building``. Libraries that are not installed are left out and named.

``--large`` compares the grid of a million tiles alone: every other library once, some for minutes, and rlkit again
after each of them. Results are printed and written as they come.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from rlkit.mdp import TabularMDP
from rlkit.planning import solve
from rlkit.planning.operators import extents

from .problems import TRUE_ERROR, Instance, instances

COMMAND = "python -m rlkit.experiments.benchmarks.planning"
RLKIT = "rlkit"
QUANTECON_SWEEPS = 20  # QuantEcon's default k: evaluation sweeps after an improvement
QUANTECON_SLOW_SWEEPS = (20, 100, 400, 1600)  # where values mix slowly the best k is much larger
SLOW = 2.0  # seconds; another library that takes longer is not repeated


class SolverTiming(NamedTuple):
    """One solver on one instance; seconds are CPU time of its solve call."""

    instance: str
    gamma: float
    solver: str
    seconds: tuple[float, ...]
    wall: tuple[float, ...]  # of the same calls; longer than seconds where the machine was busy
    building: float
    error: float  # largest distance from V* that the certified bounds leave possible, in value

    @property
    def passes(self) -> bool:
        """Whether the answer is within the error that was asked for."""
        return self.error <= TRUE_ERROR


Solver = tuple[str, Callable[[], Callable[[], np.ndarray]]]  # name, and what builds the timed call


def rlkit_solvers(instance: Instance) -> Iterator[Solver]:
    """rlkit's solver on the table, and on the map if there is one."""

    def by_table() -> Callable[[], np.ndarray]:
        _ = instance.table.arrival, instance.table.expected_reward, extents(instance.table)
        return lambda: solve(instance.table, instance.gamma, TRUE_ERROR).value

    yield "rlkit, table", by_table
    grid = instance.grid
    if grid is not None:
        yield "rlkit, map", lambda: lambda: solve(grid, instance.gamma, TRUE_ERROR).value


class SolverTimings(NamedTuple):
    """A problem in the form that other libraries take.

    Where episodes end, one more state stands for their end. Where none ends there is no such state, because solvers
    that look at the span of the changes are slow on a chain of two unconnected parts.
    """

    transitions: Any  # [rows, states] sparse
    reward: np.ndarray  # [rows]
    state: np.ndarray  # [rows]
    action: np.ndarray  # [rows]
    ending: bool  # whether the last state, with its one row, is where episodes have ended


def rows_of(mdp: TabularMDP) -> SolverTimings:
    """The rows of a table, state by state."""
    states, actions = mdp.num_states, mdp.num_actions
    pointers = np.arange(states * actions + 1) * mdp.num_successors
    ending = bool((mdp.arrival == states).any())
    shape = (states * actions, states + ending)
    rows = sparse.csr_matrix((mdp.probability.flatten(), mdp.arrival.flatten(), pointers), shape=shape)
    rows.sum_duplicates()
    reward = mdp.expected_reward.flatten()
    state, action = np.repeat(np.arange(states), actions), np.tile(np.arange(actions), states)
    if ending:
        last = sparse.csr_matrix(([1.0], ([0], [states])), shape=(1, states + 1))
        rows = sparse.vstack([rows, last]).tocsr()
        reward, state, action = np.append(reward, 0.0), np.append(state, states), np.append(action, 0)
    return SolverTimings(rows, reward, state, action, ending)


def quantecon(instance: Instance) -> Iterator[Solver]:
    """QuantEcon's DiscreteDP, state-action pairs in sparse form."""
    markov = importlib.import_module("quantecon.markov")
    mdp = instance.table

    def build(method: str, k: int) -> Callable[[], np.ndarray]:
        rows = rows_of(mdp)
        problem = markov.DiscreteDP(rows.reward, rows.transitions, instance.gamma, rows.state, rows.action)
        return lambda: np.asarray(
            problem.solve(method=method, epsilon=TRUE_ERROR, max_iter=10**7, k=k).v[: mdp.num_states], dtype=np.float64
        )

    slow = instance.name.startswith("slow")
    for k in QUANTECON_SLOW_SWEEPS if slow else (QUANTECON_SWEEPS,):
        yield f"QuantEcon, modified policy iteration, k = {k}", partial(build, "modified_policy_iteration", k)
    if not slow:
        yield "QuantEcon, value iteration", partial(build, "value_iteration", QUANTECON_SWEEPS)


def storm(instance: Instance) -> Iterator[Solver]:
    """Storm's sparse engine, discounted total reward by value iteration."""
    stormpy = importlib.import_module("stormpy")
    mdp = instance.table

    def build() -> Callable[[], np.ndarray]:
        rows = rows_of(mdp)
        matrix, states = rows.transitions, mdp.num_states + rows.ending
        builder = stormpy.datastructures.SparseMatrixBuilder(
            rows=matrix.shape[0], columns=states, entries=matrix.nnz, has_custom_row_grouping=True
        )
        for row in range(matrix.shape[0]):
            if rows.action[row] == 0:
                builder.new_row_group(row)
            part = slice(matrix.indptr[row], matrix.indptr[row + 1])
            order = np.argsort(matrix.indices[part])
            for column, p in zip(matrix.indices[part][order].tolist(), matrix.data[part][order].tolist(), strict=True):
                builder.add_next_value(row, column, p)
        labels = stormpy.models.StateLabeling(states)
        labels.add_label("init")
        labels.add_label_to_state("init", 0)
        rewards = {"r": stormpy.models.SparseRewardModel(optional_state_action_reward_vector=rows.reward.tolist())}
        parts = stormpy.models.SparseModelComponents(builder.build(), labels, rewards)
        model = stormpy.models.SparseMdp(parts)
        formula = stormpy.parse_properties(f'R{{"r"}}max=? [Cdiscount={instance.gamma!r}]')[0]
        environment = stormpy.Environment()
        solver = environment.solver().min_max()
        # Storm stops when the last change is small; at this change the error is the one asked for.
        solver.precision = stormpy.Rational(TRUE_ERROR * (1 - instance.gamma) / instance.gamma)
        solver.relative_termination_criterion = False
        return lambda: np.array(
            stormpy.model_checking(model, formula, environment=environment).get_value_vector()[: mdp.num_states],
            dtype=np.float64,
        )

    yield "Storm, value iteration", build


def toolbox(instance: Instance) -> Iterator[Solver]:
    """pymdptoolbox's value iteration on sparse matrices. It checks its input for a minute on the smallest problem, the
    only one it gets."""
    mdptoolbox = importlib.import_module("mdptoolbox.mdp")
    mdp = instance.table
    if instance.name != "grid 100 x 100" or instance.gamma != 0.99:
        return

    def build() -> Callable[[], np.ndarray]:
        rows = rows_of(mdp)
        last = rows.transitions[-1:]
        matrices = [
            sparse.vstack([rows.transitions[a : -1 : mdp.num_actions], last]).tocsr() for a in range(mdp.num_actions)
        ]
        rewards = np.vstack([rows.reward[:-1].reshape(mdp.num_states, -1), np.zeros(mdp.num_actions)])
        problem = mdptoolbox.ValueIteration(matrices, rewards, instance.gamma, epsilon=TRUE_ERROR, max_iter=10**6)

        def run() -> np.ndarray:
            problem.V, problem.iter = np.zeros(mdp.num_states + 1), 0
            problem.run()
            return np.asarray(problem.V)[:-1]

        return run

    yield "pymdptoolbox, value iteration", build


class SolverRun:
    """A timed solver, called once as soon as it is built."""

    def __init__(self, instance: Instance, solver: Solver) -> None:
        """Build, call, and hold the answer to the certified bounds."""
        self.instance, (self.solver, build) = instance, solver
        began = time.process_time()
        self.solve = build()
        self.building = time.process_time() - began
        self.seconds: list[float] = []
        self.wall: list[float] = []
        self.error = instance.error(self.call())
        self.slow = self.seconds[0] > SLOW

    def call(self) -> np.ndarray:
        """One more repetition."""
        began, began_wall = time.process_time(), time.perf_counter()
        value = self.solve()
        self.seconds.append(time.process_time() - began)
        self.wall.append(time.perf_counter() - began_wall)
        return value

    @property
    def timing(self) -> SolverTiming:
        """The times so far. The first call of a fast solver is not counted."""
        counted = slice(0 if self.slow else 1, None)
        seconds, wall = tuple(self.seconds[counted]), tuple(self.wall[counted])
        return SolverTiming(
            self.instance.name, self.instance.gamma, self.solver, seconds, wall, self.building, self.error
        )


def measure(instance: Instance, solvers: list[Solver], repeats: int) -> Iterator[SolverTiming]:
    """Times of every solver: fast ones take turns, a slow one of another library is called once, then rlkit again.

    A slow solver's timing comes as soon as there is one, and once more at the end if it was called again.
    """
    runs: list[SolverRun] = []
    for solver in solvers:
        run = SolverRun(instance, solver)
        runs.append(run)
        if not run.slow:
            continue
        yield run.timing
        if not run.solver.startswith(RLKIT):
            for own in runs:
                if own.solver.startswith(RLKIT):
                    own.call()
    for _ in range(repeats):
        for run in runs:
            if not run.slow:
                run.call()
    yield from (run.timing for run in runs if not run.slow or len(run.seconds) > 1)


def ratios(timings: list[SolverTiming]) -> Iterator[str]:
    """Least time of each other library divided by that of rlkit; only answers that pass count.

    The time of a library that was called once is divided by the mean of rlkit's calls.
    """
    passing = [timing for timing in timings if timing.passes]
    for base in passing:
        if not base.solver.startswith(RLKIT):
            continue
        best: dict[str, float] = {}
        for timing in passing:
            other = timing.solver.split(",")[0]
            if other != RLKIT and (timing.instance, timing.gamma) == (base.instance, base.gamma):
                own = min(base.seconds) if len(timing.seconds) > 1 else float(np.mean(base.seconds, axis=0))
                best[other] = min(min(timing.seconds) / own, best.get(other, np.inf))
        listed = ", ".join(f"{other} {ratio:.2f}" for other, ratio in best.items())
        yield f"{base.instance:22} {base.gamma:<7g} {base.solver:14} {min(base.seconds) * 1e3:10.2f} ms   {listed}"


def line(timing: SolverTiming) -> str:
    """A timing as it is printed."""
    missed = "" if timing.passes else f"  MISSES {TRUE_ERROR:g}"
    return (
        f"{timing.instance:22} {timing.gamma:<7g} {timing.solver:38} {min(timing.seconds) * 1e3:11.2f} ms"
        f" (wall {min(timing.wall) * 1e3:.2f}, {len(timing.seconds)} calls)"
        f"  building {timing.building:7.2f} s  error {timing.error:.1e}{missed}"
    )


def main(args: list[str] | None = None) -> None:
    """Run and print; ``--json`` writes the figures."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--large", action="store_true", help="the grid of a million tiles (half an hour, 4 GB)")
    parser.add_argument("--only", default="", help="instances whose name contains this")
    parser.add_argument("--gamma", type=float, default=None, help="instances of this discount alone")
    parser.add_argument("--json", default="", help="where to write the figures")
    options = parser.parse_args(args)
    print(f"{platform.machine()}, Python {platform.python_version()}, threads {os.environ.get('OMP_NUM_THREADS')}")
    libraries: list[Callable[[Instance], Iterator[Solver]]] = [rlkit_solvers]
    for name, library in (("quantecon", quantecon), ("stormpy", storm), ("mdptoolbox", toolbox)):
        if importlib.util.find_spec(name) is None:
            print(f"{name} is not installed: left out")
        else:
            libraries.append(library)
    timings: dict[tuple[str, float, str], SolverTiming] = {}
    given = sys.argv[1:] if args is None else args
    for instance in instances((10, 1000) if options.large else (100, 300)):
        if options.only not in instance.name or (options.large and not instance.name.startswith("grid")):
            continue  # the small grid compiles the loops of all libraries
        if options.gamma not in (None, instance.gamma):
            continue
        solvers = [solver for library in libraries for solver in library(instance)]
        for timing in measure(instance, solvers, 1 if options.large else options.repeats):
            timings[timing.instance, timing.gamma, timing.solver] = timing
            print(line(timing), flush=True)
            if options.json:
                content = {"command": " ".join([COMMAND, *given]), "timings": [t._asdict() for t in timings.values()]}
                Path(options.json).write_text(json.dumps(content, indent=1), encoding="utf-8")
    print("\nleast times divided by that of rlkit; by the mean of rlkit's where the other library was called once")
    print("\n".join(ratios(list(timings.values()))))


if __name__ == "__main__":
    main()
