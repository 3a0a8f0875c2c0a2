"""How exact solving grows with a problem, and how near a sweep comes to memory's speed:
``python -m rlkit.experiments.benchmarks.growth``. With ``--rows results/planning/growth.csv`` and ``--figure
results/planning/growth.svg`` it draws the rows of that file, or measures them where it is not there.

CPU time of one thread, the least of the repetitions.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rlkit.compiled.jit import compiled
from rlkit.figure_style import MUTED, in_style, legend_below, panels, svg
from rlkit.planning import solve
from rlkit.planning.kernels.stencil import stencil, sweep
from rlkit.planning.kernels.sweeps import TableArrays, back_up_best
from rlkit.planning.operators import extents

from ..studies.common import rows as rows_of_file
from .problems import TRUE_ERROR, garnet_table, goal_grid, without_map

COMMAND = "python -m rlkit.experiments.benchmarks.growth"
BASE = {"N": 4000, "A": 4, "K": 4, "1/(1-gamma)": 100}
VARIED: dict[str, tuple[int, ...]] = {
    "N": (1000, 4000, 16_000, 64_000, 256_000),
    "A": (2, 4, 8, 16, 32),
    "K": (2, 4, 8, 16, 32),
    "1/(1-gamma)": (10, 100, 1000, 10_000),
}
MEANING = {"N": "states N", "A": "actions A", "K": "successors K", "1/(1-gamma)": "horizon 1 / (1 - gamma)"}


@dataclass(frozen=True)
class Growth:
    """One solve of a Garnet and of a goal grid; the grid has A = 4 and K = 3 and varies in N and gamma only."""

    varied: str
    value: int
    garnet: float  # seconds
    garnet_sweeps: int
    table: float | None  # seconds of a goal grid of about N tiles, as a table
    table_sweeps: int | None


@compiled
def triad(target: np.ndarray, first: np.ndarray, second: np.ndarray, factor: float) -> None:
    """STREAM's triad (McCalpin 1995): two arrays read, one written."""
    for index in range(len(target)):
        target[index] = first[index] + factor * second[index]


def least_seconds(work: Callable[[], Any], repeats: int) -> float:
    """CPU seconds of the fastest of ``repeats`` calls, after one that is not counted."""
    work()
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


def bandwidth(size: int = 3000, repeats: int = 5) -> dict[str, float]:
    """Gigabytes a second that a sweep moves, over a map of size x size tiles and over the table of one a ninth as
    large, beside STREAM's triad on arrays of 192 MB; the arrays of each exceed every cache."""
    first, second, target = (np.ones(24 * 10**6) for _ in range(3))
    moved = {"triad": 3 * first.nbytes / least_seconds(lambda: triad(target, first, second, 3.0), 2 * repeats)}
    tiles = stencil(goal_grid(size), 0.99)
    per_sweep = least_seconds(lambda: sweep(tiles, 10), repeats) / 11  # the residual is an eleventh sweep
    moved["map"] = 24 * tiles.worth.size / per_sweep  # W and base read, W written
    mdp = without_map(goal_grid(size // 3))
    value, best = np.zeros(mdp.num_states + 1), np.zeros(mdp.num_states + 1)
    policy, probability = np.zeros(mdp.num_states, np.int32), np.array(mdp.probability)  # not kept once
    table = TableArrays.of(mdp.arrival, probability, mdp.expected_reward)
    taken = least_seconds(lambda: back_up_best(table, value, 0.99, best, policy), repeats)
    read = sum(array.nbytes for array in (table.arrival, table.probability, table.reward, value))
    moved["table"] = (read + best.nbytes + policy.nbytes) / taken
    return {name: speed / 1e9 for name, speed in moved.items()}


def growth(repeats: int = 3) -> list[Growth]:
    """Seconds of ``solve`` as N, A, K and 1 / (1 - gamma) grow one at a time from 4000, 4, 4 and 100."""
    rows = []
    for letter, values in VARIED.items():
        for value in values:
            case = BASE | {letter: value}
            gamma = 1 - 1 / case["1/(1-gamma)"]
            garnet = garnet_table(case["N"], case["A"], case["K"])
            grid = None if letter in "AK" else without_map(goal_grid(round(case["N"] ** 0.5)))
            seconds: list[Any] = []
            for mdp in (garnet, grid):
                if mdp is None:
                    seconds += [None, None]
                    continue
                _ = mdp.arrival, mdp.expected_reward, extents(mdp)
                sweeps = solve(mdp, gamma, TRUE_ERROR).iterations
                seconds += [least_seconds(partial(solve, mdp, gamma, TRUE_ERROR), repeats), sweeps]
            rows.append(Growth(letter, value, *seconds))
    return rows


@in_style
def draw(rows: list[Growth], path: Path) -> None:
    """Draw milliseconds against what was varied, four panels, both axes logarithmic; slope 1 dotted."""
    figure, places = panels(len(VARIED), len(VARIED), (2.75, 2.6), sharey=True)
    for axes, letter in zip(places, VARIED, strict=True):
        own = [row for row in rows if row.varied == letter]
        values = np.array([row.value for row in own])
        axes.loglog(values, [row.garnet * 1e3 for row in own], "o-", label="Garnet problems")
        axes.loglog(values, own[0].garnet * 1e3 * values / values[0], ":", color=MUTED, lw=0.8, label="in proportion")
        on_grid = [(row.value, row.table * 1e3) for row in own if row.table is not None]
        if on_grid:
            axes.loglog(*zip(*on_grid, strict=True), "s-", label="goal grid")
        axes.set_xticks(values, [f"{value:,}" for value in values])
        axes.minorticks_off()
        axes.set_xlabel(MEANING[letter])
    legend_below(figure, columns=3)
    figure.axes[0].set_ylabel("time to an error of 1e-6 [ms]")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(svg(figure))


def main(args: list[str] | None = None) -> None:
    """Print both tables, and draw the growth into the file ``--figure``; or draw the rows of the file ``--rows``."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--figure", type=Path, default=None, help="where to draw it")
    parser.add_argument("--rows", type=Path, default=None, help="CSV file of rows: drawn if it is there, else written")
    parser.add_argument("--size", type=int, default=3000, help="tiles along the map whose sweep is timed")
    options = parser.parse_args(args)
    if options.rows is not None and options.rows.is_file():
        if options.figure is None:
            parser.error("--rows names a file that is there: add --figure to draw it")
        draw(rows_of_file.read(options.rows, Growth), options.figure)
        return
    speeds = bandwidth(options.size)
    for name, speed in speeds.items():
        print(f"{name:6} {speed:6.1f} GB/s  {speed / speeds['triad']:.2f} of the triad")
    rows = growth()
    print("| varied | value | Garnet, ms | its sweeps | goal grid, ms | its sweeps |\n|---|---|---|---|---|---|")
    for row in rows:
        grid = ("", "") if row.table is None else (f"{row.table * 1e3:.2f}", str(row.table_sweeps))
        print(f"| {row.varied} | {row.value} | {row.garnet * 1e3:.2f} | {row.garnet_sweeps} | {' | '.join(grid)} |")
    if options.rows is not None:
        rows_of_file.append(options.rows, rows)
    if options.figure is not None:
        draw(rows, options.figure)


if __name__ == "__main__":
    main()
