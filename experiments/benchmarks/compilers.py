"""One backup of a map by numba and by torch, eager and compiled: ``python -m rlkit.experiments.benchmarks.compilers``.

CPU time of one thread, the least of the repetitions, on 1000 x 1000 tiles; compiling is counted apart.
"""

from __future__ import annotations

import argparse
import time

import torch

from rlkit.planning.certify import verified_task
from rlkit.planning.kernels.stencil import stencil, sweep
from rlkit.planning.methods.device_iteration import sweeps_of

from .growth import least_seconds
from .problems import TRUE_ERROR, goal_grid

SIZE, GAMMA, REPEATS = 1000, 0.99, 5


def main() -> None:
    """Print one line for each compiler."""
    argparse.ArgumentParser(prog="rlkit.experiments.benchmarks.compilers", description=__doc__).parse_args()
    torch.set_num_threads(1)
    grid = goal_grid(SIZE)
    tiles = stencil(grid, GAMMA)
    loop = least_seconds(lambda: sweep(tiles, 10), REPEATS) / 11  # the residual is an eleventh sweep
    print(f"numba          {loop * 1e3:8.2f} ms")
    goal = verified_task("compilers", grid, GAMMA, TRUE_ERROR)
    backup = sweeps_of([goal], torch.device("cpu"), torch.float64).backup
    value = torch.zeros(grid.num_states, 1, dtype=torch.float64)
    print(f"torch          {least_seconds(lambda: backup(value), REPEATS) * 1e3:8.2f} ms", flush=True)
    fused = torch.compile(backup)
    began = time.perf_counter()
    fused(value)
    compiling = time.perf_counter() - began
    taken = least_seconds(lambda: fused(value), REPEATS) * 1e3
    print(f"torch.compile  {taken:8.2f} ms after {compiling:.0f} s of compiling (by the clock)")


if __name__ == "__main__":
    main()
