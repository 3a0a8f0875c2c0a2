"""``method="auto"`` beside every other method of ``solve``: ``python -m rlkit.experiments.benchmarks.methods``.

CPU time of one thread, the least of three repetitions (of more where they are short), each method in a process of its
own that is ended when it has taken ``--patience`` times as long as ``auto`` did. What is printed is a method's time
divided by the best one's: that of ``auto`` is never far from 1.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any, get_args

import numpy as np

from rlkit.mdp import TabularMDP, layered
from rlkit.planning import Problem, solve
from rlkit.planning.operators import extents
from rlkit.planning.solve import Method

from .problems import TRUE_ERROR, garnet_table, instances, slow_grid, without_map

COMMAND = "python -m rlkit.experiments.benchmarks.methods"
REPEATS = 3
SHORT = 0.1  # seconds; short solves are repeated for so long
OVERHEAD = 20.0  # seconds that a process may take to start, read its problem and compile


def problems(size: int) -> Iterator[tuple[str, Problem, float]]:
    """The benchmark set, the maps with and without their structure, and problems between these kinds."""
    for instance in instances(tuple(sorted({100, size}))):
        yield instance.name + ", table", instance.table, instance.gamma
        if instance.grid is not None:
            yield instance.name + ", map", instance.grid, instance.gamma
    slow = slow_grid(100)
    yield "slow grid 100 x 100, table", without_map(slow), 0.99
    yield "slow grid 30 x 30, table", without_map(slow_grid(30)), 0.9999
    yield "Garnet 2k x 4 x 3, table", garnet_table(2000, 4, 3), 0.9999
    yield "layers 50 x 200, table", layered(50, 200, 4, np.random.default_rng(0)), 0.999
    yield "corridor 3000, table", corridor(3000), 0.9999


def corridor(length: int) -> TabularMDP:
    """A line with a goal at its end. One action goes ahead by 0.6 and back by 0.4, the other the other way round; which
    is which differs from state to state."""
    state = np.arange(length)
    towards, away = np.minimum(state + 1, length - 1), np.maximum(state - 1, 0)
    first = np.random.default_rng(0).random(length) < 0.5
    good, bad = np.stack([towards, away], axis=1), np.stack([away, towards], axis=1)  # [N, 2]
    successor = np.where(first[:, None, None], np.stack([good, bad], 1), np.stack([bad, good], 1))  # [N, 2, 2]
    probability = np.broadcast_to([0.6, 0.4], successor.shape)
    ends = (successor == length - 1) & (state[:, None, None] >= length - 2)
    return TabularMDP(successor, probability, ends.astype(np.float64), ends)


def seconds_of(problem: Problem, gamma: float, method: Method, limit: float | None) -> tuple[float, str]:
    """CPU seconds of the fastest run, infinite if it was ended after ``limit`` wall seconds, and the method taken."""
    here, there = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.Process(target=_timed, args=(problem, gamma, method, there))
    child.start()
    there.close()
    answer: tuple[float, str] = (math.inf, method)
    if here.poll(None if limit is None else limit + OVERHEAD):
        answer = here.recv()
    child.kill()
    child.join()
    return answer


def _timed(problem: Problem, gamma: float, method: Method, answer: Connection) -> None:
    """Solve once to warm up, then at least three times; send the least time, or infinity and why there is none."""
    if isinstance(problem, TabularMDP):
        _ = problem.arrival, problem.expected_reward
    extents(problem)
    try:
        taken: list[float] = []
        solution = solve(problem, gamma, TRUE_ERROR, method)
        while len(taken) < REPEATS or sum(taken) < SHORT:
            began = time.process_time()
            solution = solve(problem, gamma, TRUE_ERROR, method)
            taken.append(time.process_time() - began)
        answer.send((min(taken), solution.method))
    except (ValueError, RuntimeError) as failed:
        answer.send((math.inf, str(failed)[:60]))


def main(args: list[str] | None = None) -> None:
    """Print the table, a row a problem."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--size", type=int, default=300, help="tiles along the larger goal grid; 1000 takes an hour")
    parser.add_argument("--patience", type=float, default=30.0)
    parser.add_argument("--only", default="", help="problems whose name contains this")
    options = parser.parse_args(args)
    methods: list[Any] = [method for method in get_args(Method) if method != "auto"]
    print("| problem | gamma | auto, ms | its method | auto |", " | ".join(methods), "|")
    print("|---|---|---|---|---|" + "---|" * len(methods))
    for name, problem, gamma in problems(options.size):
        if options.only not in name:
            continue
        own, taken = seconds_of(problem, gamma, "auto", None)
        limit = max(options.patience * own, 0.05) * (REPEATS + 1)
        others = [
            math.inf if method == "stencil" and name.endswith("table") else seconds_of(problem, gamma, method, limit)[0]
            for method in methods
        ]
        best = min(own, *others)
        shares = [f"{seconds / best:.2f}" if seconds < math.inf else "-" for seconds in (own, *others)]
        print(f"| {name} | {gamma:g} | {own * 1e3:.2f} | {taken} | {' | '.join(shares)} |", flush=True)


if __name__ == "__main__":
    main()
