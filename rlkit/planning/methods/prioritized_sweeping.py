"""Prioritized sweeping by blocks: only blocks whose values may still change are swept."""

from __future__ import annotations

import numpy as np

from rlkit.mdp import TabularMDP

from ..certify import bounds_from, conclude, kept_on_interrupt, verified_iterations, verified_task
from ..kernels.sweeps import Blocks, sweep_blocks
from ..operators import Problem, as_table, table_arrays
from ..solution import Solution
from .modified_policy_iteration import from_below

BLOCK = 4096  # states of a block: their values and outcomes stay in the second-level cache while they are worked on
REDUCTION = 0.1  # of the priority at which work stops, from one round to the next


def prioritized_sweeping(
    mdp: Problem, gamma: float, tolerance: float = 1e-9, max_iterations: int | None = None, block: int = BLOCK
) -> Solution:
    """Find the optimum by Gauss-Seidel sweeps over the blocks of states whose values may still change.

    States are cut into blocks of consecutive numbers (Wingate & Seppi 2005). A block's priority is a bound of its
    change: gamma times the largest change, since its last sweep, of a block that it leads to (Moore &
    Atkeson 1993). Rounds go over the blocks forwards and backwards and skip those below a threshold, which falls by a
    factor of ten whenever no block is above it. The method is fast where rewards are rare and states many: at any time
    the values of most states do not change.

    ``iterations`` counts backups in units of a sweep over all states, rounded up.

    Args:
        mdp: a ``TabularMDP``, ``GridMDP`` or ``LatticeMDP``.
        gamma: discount, in [0, 1).
        tolerance: largest distance of the bounds, in units of return.
        max_iterations: maximum number of such sweeps; None for no limit.
        block: number of states per block.

    Raises:
        ValueError: gamma outside [0, 1); a tolerance that is not positive, or below what rounding allows; a block
            that is not positive.
        NotConverged: ``max_iterations`` sweeps were not enough; its ``solution`` holds valid bounds.
    """
    task = verified_task("prioritized_sweeping", mdp, gamma, tolerance)
    verified_iterations(max_iterations)
    if block < 1:
        raise ValueError(f"block {block}: give a positive number of states")
    table = as_table(mdp)
    value = from_below(task, table, None)  # [N + 1]
    blocks = cut_into_blocks(table, block)
    limit = np.iinfo(np.int64).max if max_iterations is None else max_iterations * table.num_states
    enough = task.residual
    largest = np.abs(table.expected_reward).max(axis=(0, 1), where=table.available, initial=0.0)
    threshold = max(enough, float(largest))
    work = 8 * (len(value) + 2 * len(blocks.priority) + len(blocks.leaders))
    arrays = table_arrays(table)
    with kept_on_interrupt(task, lambda: (value[:-1], int(blocks.backups.sum()) // table.num_states)):
        while True:
            done = sweep_blocks(arrays, value, task.gamma, blocks, threshold, limit)
            iterations = -(-done // table.num_states)
            limit_reached = done >= limit
            if threshold <= enough or limit_reached:
                certificate = bounds_from(task, value[:-1])
                settled = enough < task.residual * 2.0**-60
                solution = conclude(
                    task, certificate, iterations, settled=settled, limit_reached=limit_reached, work=work
                )
                if solution is not None:
                    return solution
                enough /= 2
            threshold = max(threshold * REDUCTION, enough)


def cut_into_blocks(mdp: TabularMDP, size: int) -> Blocks:
    """Blocks of ``size`` states, all of the greatest priority, and which blocks lead into each."""
    num_blocks = -(-mdp.num_states // size)
    found = []
    chunk = max(1, 2**20 // (mdp.num_actions * mdp.num_successors))  # states at a time: no copy of the whole table
    for first in range(0, mdp.num_states, chunk):
        arrival = mdp.arrival[first : first + chunk]
        source = (np.arange(first, first + len(arrival)) // size)[:, None, None]
        pairs = np.where(arrival < mdp.num_states, arrival // size * num_blocks + source, -1)
        found.append(np.unique(pairs))
    pairs = np.unique(np.concatenate(found))
    pairs = pairs[pairs >= 0]
    pointers = np.searchsorted(pairs, np.arange(num_blocks + 1) * num_blocks)
    return Blocks(
        size=size,
        pointers=pointers,
        leaders=pairs % num_blocks,
        priority=np.full(num_blocks, np.inf),
        backups=np.zeros(num_blocks, np.int64),
    )
