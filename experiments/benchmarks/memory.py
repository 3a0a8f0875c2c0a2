"""Peak memory of whole processes: ``python -m rlkit.experiments.benchmarks.memory``.

One kind of process trains 256 seeds of DQN whose memories are full. The others solve the grid of a million tiles. Each
problem is solved in a process of its own, from its imports to ``solution.q``, and twice: the first process on a
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
PEAK = """
def peak():  # kB; not ru_maxrss: that is carried over from the process that started this one
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
TRAINING = """
from rlkit.agents import DQN
print(peak())
settings = dict(buffer_size={size}, learning_starts={size} - 200, batch_size=64, device="cpu")
replay = DQN("CartPole-v1", seeds={seeds}, **settings).learn({size} + 200).memory.replay
print(peak(), sum(tensor.numel() * tensor.element_size() for tensor in replay.tensors(0).values()))
"""
PROGRAM = """
import dataclasses
import numpy as np
from rlkit.mdp import GridMDP
from rlkit.mdp import TabularMDP
from rlkit.planning import solve

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
    counted: int  # ``Solution.bytes``, or of the replay memories


def peak(problem: str, gamma: float, method: str = "auto", cache: Path | None = None) -> Peak:
    """Measure the peak memory for one of ``PROBLEMS``; Linux only.

    Args:
        problem: its name.
        gamma: the discount.
        method: the solver.
        cache: where machine code is kept; a new folder, so that the first process compiles, if None.
    """
    return _peak(PROGRAM.format(problem=PROBLEMS[problem], gamma=gamma, method=method), cache)


def training_peak(seeds: int = 256, size: int = 50_000, cache: Path | None = None) -> Peak:
    """Measure the peak memory of DQN on CartPole-v1 whose memories are full; ``counted`` is of the memories.

    Args:
        seeds: that train together.
        size: of each memory, in transitions.
        cache: as of ``peak``.
    """
    return _peak(TRAINING.format(seeds=seeds, size=size), cache)


def _peak(program: str, cache: Path | None) -> Peak:
    """Measure the peak memory of a program that prints its memory after the imports and at the end."""
    with tempfile.TemporaryDirectory() as new:
        environment = os.environ | {"NUMBA_CACHE_DIR": str(cache or new)}
        command = [sys.executable, "-c", PEAK + program]
        runs = [
            subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
            for _ in range(2)
        ]
    (_, compiling, _), (imports, process, counted) = (map(int, said.split()) for said in runs)
    return Peak(imports * 1024, process * 1024, compiling * 1024, counted)


def main() -> None:
    """Print a row of the training and a row a problem, in megabytes."""
    argparse.ArgumentParser(prog="rlkit.experiments.benchmarks.memory", description=__doc__).parse_args()
    training = " | ".join(f"{size / 1e6:.0f}" for size in training_peak())
    print("| training | imports | process | the first process | memories |\n|---|---|---|---|---|")
    print(f"| 256 seeds of DQN, 50,000 transitions each | {training} |\n")
    print("| problem | gamma | imports | process | the first process | `Solution.bytes` |\n|---|---|---|---|---|---|")
    for problem in PROBLEMS:
        for gamma in (0.9, 0.999):
            said = " | ".join(f"{size / 1e6:.0f}" for size in peak(problem, gamma))
            print(f"| {problem} | {gamma} | {said} |", flush=True)


if __name__ == "__main__":
    main()
