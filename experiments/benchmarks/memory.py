"""Peak memory of a process that solves the grid of a million tiles: ``python -m rlkit.experiments.benchmarks.memory``.

Each problem is solved in a process of its own, from its imports to ``solution.q``, and twice: the first process on a
machine compiles the loops, which are then kept on disk, and its peak is printed beside the second one's.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

COMMAND = "python -m rlkit.experiments.benchmarks.memory"
PROBLEMS = {
    "map": "grid",
    "table": "dataclasses.replace(grid.tabular, name='without its map')",
    "table whose states differ": "different(grid)",
}
PROGRAM = """
import dataclasses
import numpy as np
from rlkit.mdp import GridMDP
from rlkit.mdp import TabularMDP
from rlkit.planning import solve

def peak():  # kB; not ru_maxrss: that is carried over from the process that started this one
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))

def different(grid):  # a table with other probabilities in every state
    table = dataclasses.replace(grid.tabular, name="without its map")
    del grid.__dict__["tabular"]
    probability = np.array(table.probability)
    probability[:, :, 0] -= np.linspace(0, 1e-3, table.num_states)[:, None]
    probability[:, :, 1] += np.linspace(0, 1e-3, table.num_states)[:, None]
    probability.flags.writeable = False  # so that the table takes it without a copy
    return dataclasses.replace(table, probability=probability)

print(peak())
goal = np.zeros((1000, 1000), bool)
goal[-1, -1] = True
holes = (np.random.default_rng(0).random(goal.shape) < 0.05) & ~goal
grid = GridMDP(np.ones_like(goal), goal | holes, entry_reward=goal.astype(float), chances=(1/3, 1/3, 0.0))
solution = solve({problem}, {gamma}, 1e-6, {method!r})
assert solution.converged and solution.q.shape == (10**6, 4)
print(peak(), solution.bytes)
"""


class Peak(NamedTuple):
    """Memory of one process, in bytes."""

    imports: int
    process: int  # the imports included
    compiling: int  # the same of the first process, which compiles what the cache does not have
    counted: int  # ``Solution.bytes``


def peak(problem: str, gamma: float, method: str = "auto", cache: Path | None = None) -> Peak:
    """Measure the peak memory for one of ``PROBLEMS``; Linux only.

    Args:
        problem: its name.
        gamma: the discount.
        method: the solver.
        cache: where machine code is kept; a new folder, so that the first process compiles, if None.
    """
    program = PROGRAM.format(problem=PROBLEMS[problem], gamma=gamma, method=method)
    with tempfile.TemporaryDirectory() as new:
        environment = os.environ | {"NUMBA_CACHE_DIR": str(cache or new)}
        command = [sys.executable, "-c", program]
        runs = [
            subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
            for _ in range(2)
        ]
    (_, compiling, _), (imports, process, counted) = (map(int, said.split()) for said in runs)
    return Peak(imports * 1024, process * 1024, compiling * 1024, counted)


def main() -> None:
    """Print a row a problem, in megabytes."""
    argparse.ArgumentParser(prog="rlkit.experiments.benchmarks.memory", description=__doc__).parse_args()
    print("| problem | gamma | imports | process | the first process | `Solution.bytes` |\n|---|---|---|---|---|---|")
    for problem in PROBLEMS:
        for gamma in (0.9, 0.999):
            said = " | ".join(f"{size / 1e6:.0f}" for size in peak(problem, gamma))
            print(f"| {problem} | {gamma} | {said} |", flush=True)


if __name__ == "__main__":
    main()
