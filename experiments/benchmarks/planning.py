"""Exact solvers beside QuantEcon, Storm and pymdptoolbox: ``python -m rlkit.experiments.benchmarks.planning``.

One process, one thread, every solver on the same arrays, repeated in turn so that a slow minute of the machine hits
all of them. A solver's time is from the problem in its own form to values whose true error is at most 1e-6; the error
is measured against a solution with bounds 1e-8 apart, and a solver that misses is shown with its error, not its time.
What a solver needs to take the problem in (Storm's model, our ``arrival`` table) is measured apart, as ``building``.
Peers that are not installed are left out and named.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from rlkit.gridmdp import GridMDP
from rlkit.mdp import TabularMDP
from rlkit.planning import policy_iteration, solve
from rlkit.planning.operators import extents
from rlkit.planning.stencil import stencil, sweep

TRUE_ERROR = 1e-6
COMMAND = "python -m rlkit.experiments.benchmarks.planning"


class Instance(NamedTuple):
    """A problem to be timed."""

    name: str
    table: TabularMDP  # without its map
    grid: GridMDP | None
    gamma: float


class Timing(NamedTuple):
    """One solver on one instance; seconds are of its solve call."""

    instance: str
    gamma: float
    solver: str
    seconds: tuple[float, ...]
    building: float
    error: float  # largest distance from V*, in value

    @property
    def passes(self) -> bool:
        """Whether the answer is as good as was asked."""
        return self.error <= TRUE_ERROR


def goal_grid(size: int, seed: int = 0) -> GridMDP:
    """size x size tiles, slip 1/3 to each side, a goal of reward 1 in a corner, 5 % holes."""
    goal = np.zeros((size, size), np.bool_)
    goal[-1, -1] = True
    holes = (np.random.default_rng(seed).random(goal.shape) < 0.05) & ~goal
    holes[0, 0] = False
    return GridMDP(np.ones_like(goal), goal | holes, goal.astype(np.float64), chances=(1 / 3, 1 / 3, 0.0))


def slow_grid(size: int, seed: int = 0) -> GridMDP:
    """size x size slippery tiles without an end, a reward in [0, 1] on every tile."""
    everywhere = np.ones((size, size), np.bool_)
    rewards = np.random.default_rng(seed).random(everywhere.shape)
    return GridMDP(everywhere, ~everywhere, step_reward=rewards, chances=(1 / 3, 1 / 3, 0.0))


def garnet_table(states: int, actions: int, successors: int, seed: int = 0) -> TabularMDP:
    """A Garnet (Archibald et al. 1995): random successors, random chances, a reward in [0, 1] for each action."""
    rng = np.random.default_rng(seed)
    shape = (states, actions, successors)
    reward = np.repeat(rng.random(shape[:2])[:, :, None], successors, axis=2)
    chances = rng.dirichlet(np.ones(successors), shape[:2])
    return TabularMDP(rng.integers(0, states, shape), chances, reward, np.zeros(shape, np.bool_))


def without_map(grid: GridMDP) -> TabularMDP:
    """The table alone, so that a solver cannot use the map."""
    table = grid.tabular
    return TabularMDP(table.successor, table.probability, table.reward, table.terminated, start=table.start)


def instances(large: bool) -> Iterator[Instance]:
    """The instances of the published comparison, and one that mixes slowly."""
    for size in (100, 300, 1000) if large else (100, 300):
        grid = goal_grid(size)
        table = without_map(grid)
        for gamma in (0.99, 0.999):
            yield Instance(f"grid {size} x {size}", table, grid, gamma)
    table = garnet_table(10_000, 10, 10)
    for gamma in (0.99, 0.999):
        yield Instance("Garnet 10k x 10 x 10", table, None, gamma)
    yield Instance("slow grid 100 x 100", without_map(slow_grid(100)), slow_grid(100), 0.9999)


Solver = tuple[str, Callable[[], Callable[[], np.ndarray]]]  # name, and what builds the timed call


def ours(instance: Instance) -> Iterator[Solver]:
    """Our solver on the table, and on the map where there is one."""

    def by_table() -> Callable[[], np.ndarray]:
        _ = instance.table.arrival, instance.table.expected_reward, extents(instance.table)
        return lambda: solve(instance.table, instance.gamma, TRUE_ERROR).value

    yield "rlkit, table", by_table
    grid = instance.grid
    if grid is not None:
        yield "rlkit, map", lambda: lambda: solve(grid, instance.gamma, TRUE_ERROR).value


class Rows(NamedTuple):
    """A problem as peers take it. Where episodes end, one more state is where they have ended; where none does there is
    no such state, as solvers that look at the span of the changes are slow on a chain that it cuts in two."""

    transitions: Any  # [rows, states] sparse
    reward: np.ndarray  # [rows]
    state: np.ndarray  # [rows]
    action: np.ndarray  # [rows]
    ending: bool  # whether the last state, with its one row, is where episodes have ended


def rows_of(mdp: TabularMDP) -> Rows:
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
    return Rows(rows, reward, state, action, ending)


def quantecon(instance: Instance) -> Iterator[Solver]:
    """QuantEcon's DiscreteDP, state-action pairs in sparse form, its three methods."""
    markov = importlib.import_module("quantecon.markov")
    mdp = instance.table

    def build(method: str) -> Callable[[], np.ndarray]:
        rows = rows_of(mdp)
        problem = markov.DiscreteDP(rows.reward, rows.transitions, instance.gamma, rows.state, rows.action)
        return lambda: np.asarray(
            problem.solve(method=method, epsilon=TRUE_ERROR, max_iter=10**7).v[: mdp.num_states], dtype=np.float64
        )

    methods = ["modified_policy_iteration"]
    if not instance.name.startswith("slow"):
        methods.append("value_iteration")
    for method in methods:
        yield f"QuantEcon, {method.replace('_', ' ')}", partial(build, method)


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
        # Storm stops where the last change is small; this is the change at which the error is what was asked.
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


def measure(instance: Instance, solvers: list[Solver], repeats: int) -> list[Timing]:
    """Times of every solver, in turn, after one call each that is not counted."""
    try:
        reference = solve(instance.table, instance.gamma, 1e-8).value
    except ValueError:  # values so large that float64 cannot certify that: policy iteration is as near as it comes
        reference = policy_iteration(instance.table, instance.gamma).value
    calls: dict[str, tuple[Callable[[], np.ndarray], float, float]] = {}
    for name, build in solvers:
        began = time.perf_counter()
        call = build()
        building = time.perf_counter() - began
        calls[name] = (call, building, float(np.abs(call() - reference).max(axis=0)))
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, (call, _, _) in calls.items():
            began = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - began)
    return [
        Timing(instance.name, instance.gamma, name, tuple(seconds[name]), building, error)
        for name, (_, building, error) in calls.items()
    ]


def bandwidth(size: int = 1000, repeats: int = 20) -> dict[str, float]:
    """What a sweep over a map of size x size tiles moves a second, beside copying as many bytes with numpy."""
    table = stencil(goal_grid(size), 0.99)
    source = np.ones(2 * table.worth.size)
    target = np.empty_like(source)
    np.copyto(target, source)
    copying, sweeping = [], []
    for _ in range(repeats):
        began = time.perf_counter()
        np.copyto(target, source)
        copying.append(time.perf_counter() - began)
        began = time.perf_counter()
        sweep(table, 10)
        sweeping.append((time.perf_counter() - began) / 11)  # the residual is an eleventh sweep
    moved = 24 * table.worth.size  # W and base read, W written
    copied = 2 * source.nbytes
    return {
        "copy_gb_per_s": copied / statistics.median(copying) / 1e9,
        "sweep_gb_per_s": moved / statistics.median(sweeping) / 1e9,
        "fraction": moved / statistics.median(sweeping) / (copied / statistics.median(copying)),
        "sweep_ns_per_state": statistics.median(sweeping) * 1e9 / size**2,
    }


def scaling(repeats: int = 3) -> list[dict[str, Any]]:
    """Seconds of ``solve`` on Garnets as N, A, K and 1 / (1 - gamma) grow one at a time."""
    base = {"states": 2000, "actions": 5, "successors": 5, "horizon": 100}
    rows: list[dict[str, Any]] = []
    for letter, values in (
        ("states", (2000, 8000, 32000)),
        ("actions", (5, 10, 20)),
        ("successors", (5, 10, 20)),
        ("horizon", (10, 100, 1000, 10000)),
    ):
        for value in values:
            case = base | {letter: value}
            table = garnet_table(case["states"], case["actions"], case["successors"])
            gamma = 1 - 1 / case["horizon"]
            solve(table, gamma, TRUE_ERROR)
            taken = [solve(table, gamma, TRUE_ERROR).seconds for _ in range(repeats)]
            rows.append({**case, "varied": letter, "seconds": statistics.median(taken)})
    return rows


def main() -> None:
    """Run and print; ``--json`` writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--large", action="store_true", help="the million-state grids too (minutes)")
    parser.add_argument("--only", default="", help="instances whose name contains this, without bandwidth and scaling")
    parser.add_argument("--json", default="", help="where to write the figures")
    options = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}, threads {os.environ.get('OMP_NUM_THREADS')}")
    peers: list[Callable[[Instance], Iterator[Solver]]] = [ours]
    for name, peer in (("quantecon", quantecon), ("stormpy", storm), ("mdptoolbox", toolbox)):
        if importlib.util.find_spec(name) is None:
            print(f"{name} is not installed: left out")
        else:
            peers.append(peer)
    timings: list[Timing] = []
    for instance in instances(options.large):
        if options.only not in instance.name:
            continue
        solvers = [solver for peer in peers for solver in peer(instance)]
        repeats = 1 if instance.table.num_states >= 1_000_000 else options.repeats
        for timing in measure(instance, solvers, repeats):
            timings.append(timing)
            low, middle, high = min(timing.seconds), statistics.median(timing.seconds), max(timing.seconds)
            missed = "" if timing.passes else "  MISSES 1e-6"
            print(
                f"{timing.instance:22} {timing.gamma:<7g} {timing.solver:38} {low:9.4f} {middle:9.4f} {high:9.4f} s"
                f"  building {timing.building:7.2f} s  error {timing.error:.1e}{missed}",
                flush=True,
            )
    if options.only:
        return
    speed, growth = bandwidth(), scaling()
    print(json.dumps(speed))
    for row in growth:
        print(json.dumps(row))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            content = {"command": " ".join([COMMAND, *sys.argv[1:]]), "timings": [t._asdict() for t in timings]}
            json.dump(content | {"bandwidth": speed, "scaling": growth}, file, indent=1)


if __name__ == "__main__":
    main()
