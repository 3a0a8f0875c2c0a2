"""Prioritised sweeping by blocks: work only where values still move."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.mdp import TabularMDP

from ..certify import bounds_from, concluded, verified_iterations, verified_task
from ..kernels.jit import compiled
from ..operators import Problem, as_table
from ..solution import Solution
from .modified_policy_iteration import from_below

Floats = NDArray[np.float64]

SWEEPS = 2  # of a block at a time, the first over all actions and the second over those it chose
BLOCK = 4096  # states of a block: their values and outcomes stay in the second-level cache while they are worked on
REDUCTION = 0.1  # of the priority at which work stops, from one round to the next


def prioritized_sweeping(
    mdp: Problem, gamma: float, tolerance: float = 1e-9, max_iterations: int | None = None, block: int = BLOCK
) -> Solution:
    """The optimum by Gauss-Seidel sweeps over those blocks of states whose values may still move.

    States are cut into blocks of consecutive numbers (Wingate & Seppi 2005). A block's priority is what it would
    change at most: gamma times the largest change, since its last sweep, of a block that it leads to (Moore &
    Atkeson 1993). Rounds go over the blocks forwards and backwards and pass by those below a threshold, which falls
    by a factor of ten whenever none is above it. It pays where rewards are rare and states many: most of a map has
    nothing to learn until the values have come near, and nothing more once they have passed.

    ``iterations`` counts backups in units of a sweep over all states, rounded up.

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
    pointers, leaders = _block_leaders(table, block)
    num_blocks = len(pointers) - 1
    priority = np.full(num_blocks, np.inf)
    backups = np.zeros(num_blocks, np.int64)
    limit = np.iinfo(np.int64).max if max_iterations is None else max_iterations * table.num_states
    enough = task.residual
    threshold = max(enough, float(np.abs(table.expected_reward).max(axis=(0, 1))))
    work = 8 * (len(value) + 2 * num_blocks + len(leaders))
    while True:
        done = _sweep_blocks(
            table.arrival, table.probability, table.expected_reward, value, task.gamma, block,
            pointers, leaders, priority, threshold, backups, limit,
        )  # fmt: skip
        iterations = -(-done // table.num_states)
        tired = done >= limit
        if threshold <= enough or tired:
            certificate = bounds_from(task, value[:-1])
            stuck = enough < task.residual * 2.0**-60
            solution = concluded(task, certificate, iterations, work, stuck, tired)
            if solution is not None:
                return solution
            enough /= 2
        threshold = max(threshold * REDUCTION, enough)


def _block_leaders(mdp: TabularMDP, block: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which blocks lead into a block, as row pointers ``[blocks + 1]`` and their numbers."""
    num_blocks = -(-mdp.num_states // block)
    found = []
    chunk = max(1, 2**20 // (mdp.num_actions * mdp.num_successors))  # states at a time: no copy of the whole table
    for first in range(0, mdp.num_states, chunk):
        arrival = mdp.arrival[first : first + chunk]
        source = (np.arange(first, first + len(arrival)) // block)[:, None, None]
        pairs = np.where(arrival < mdp.num_states, arrival // block * num_blocks + source, -1)
        found.append(np.unique(pairs))
    pairs = np.unique(np.concatenate(found))
    pairs = pairs[pairs >= 0]
    pointers = np.searchsorted(pairs, np.arange(num_blocks + 1) * num_blocks)
    return pointers, pairs % num_blocks


@compiled
def _sweep_blocks(
    arrival: NDArray[Any],
    probability: Floats,
    reward: Floats,
    value: Floats,
    gamma: float,
    block: int,
    pointers: NDArray[np.int64],
    leaders: NDArray[np.int64],
    priority: Floats,
    threshold: float,
    backups: NDArray[np.int64],
    limit: int,
) -> int:
    """Sweep blocks of ``priority`` above ``threshold`` until there are none; the backups done so far, of states."""
    num_states, num_actions, num_successors = arrival.shape
    num_blocks = len(priority)
    total = int(backups.sum())
    chosen = np.zeros(block, np.int64)  # the actions of a block's first turn
    backwards = False
    active = True
    while active:
        active = False
        for index in range(num_blocks):
            number = num_blocks - 1 - index if backwards else index
            if priority[number] <= threshold:
                continue
            active = True
            first, last = number * block, min((number + 1) * block, num_states)
            moved = 0.0
            for turn in range(SWEEPS):  # to and fro: a block in the cache is swept again at a fraction of the cost
                for offset in range(last - first):
                    state = last - 1 - offset if (turn % 2 == 1) != backwards else first + offset
                    highest, own = -np.inf, chosen[state - first]
                    for action in range(num_actions) if turn == 0 else range(own, own + 1):
                        ahead = 0.0
                        for k in range(num_successors):
                            ahead += probability[state, action, k] * value[arrival[state, action, k]]
                        q = reward[state, action] + gamma * ahead
                        if q > highest:
                            highest = q
                            chosen[state - first] = action
                    moved = max(moved, abs(highest - value[state]))
                    value[state] = highest
            backups[number] += SWEEPS * (last - first)
            total += SWEEPS * (last - first)
            priority[number] = 0.0
            for leader in leaders[pointers[number] : pointers[number + 1]]:
                priority[leader] = max(priority[leader], gamma * moved)
            if total >= limit:
                return int(total)
        backwards = not backwards
    return int(total)
