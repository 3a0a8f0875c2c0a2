"""The cart-pole on finer and finer lattices: ``python -m rlkit.experiments.benchmarks.lattice --points 15 31 67``.

Each lattice is solved from the values of the one before (one-way multigrid, Chow & Tsitsiklis 1991), on the CPU,
without a table. CPU seconds of one thread; memory is the peak of the process so far.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from rlkit.envs import CartPole
from rlkit.envs.dynamics import noiseless_step
from rlkit.mdp import CHUNK, Lattice, LatticeMDP, chunks
from rlkit.planning import lattice_iteration

from ..workflows.cartpole.reference import cartpole_lattice

COMMAND = "python -m rlkit.experiments.benchmarks.lattice"
GAMMA = 0.99


def carried_over(value: np.ndarray, coarse: Lattice, fine: Lattice) -> np.ndarray:
    """``value`` of the points of one lattice at those of another, interpolated, ``[N]``."""
    return np.concatenate(
        [coarse.value_at(value, fine.points(part.start, part.stop)) for part in chunks(fine.num_points, CHUNK)]
    )


def peak_memory() -> int:
    """Bytes that this process held at most; Linux only."""
    with open("/proc/self/status", encoding="utf-8") as status:
        return 1024 * int(next(line.split()[1] for line in status if line.startswith("VmHWM")))


def main(args: list[str] | None = None) -> None:
    """Print a row a lattice."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--points", type=int, nargs="+", default=[11, 15, 21, 31], help="along each of the four axes")
    parser.add_argument("--tolerance", type=float, default=1e-2)
    options = parser.parse_args(args)
    print("| points an axis | states | value upright | bounds apart | sweeps | CPU, s | peak memory, GB |")
    print("|---|---|---|---|---|---|---|")
    dynamics, last = CartPole(), None
    for points in options.points:
        began = time.process_time()
        mdp = LatticeMDP(cartpole_lattice(dynamics, points), noiseless_step(dynamics), 2)
        start = None if last is None else carried_over(*last, mdp.lattice)
        solution = lattice_iteration(mdp, GAMMA, options.tolerance, initial=start)
        seconds, upright = time.process_time() - began, float(mdp.lattice.value_at(solution.value, np.zeros(4)))
        print(
            f"| {points} | {mdp.num_states:,} | {upright:.4f} | {solution.width:.4f} | {solution.iterations} "
            f"| {seconds:.1f} | {peak_memory() / 1e9:.2f} |",
            flush=True,
        )
        last = solution.value, mdp.lattice


if __name__ == "__main__":
    main()
