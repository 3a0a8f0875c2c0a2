"""The solvers' benchmarks at tiny sizes: what they count and check, not how fast anything is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlkit.compiled.jit import CACHE, COMPILED
from rlkit.experiments.benchmarks import growth, memory, methods, planning, problems
from rlkit.experiments.studies.common.rows import append
from rlkit.planning import policy_iteration, solve

LAKE = next(problems.instances(()))


def test_errors_are_held_to_certified_bounds() -> None:
    exact = policy_iteration(LAKE.table, 0.99).value
    assert LAKE.error(exact) <= problems.TRUE_ERROR / 50
    assert LAKE.error(exact + 1e-3) == pytest.approx(1e-3, rel=1e-3)
    assert LAKE.error(exact - 1e-3) == pytest.approx(1e-3, rel=1e-3)


def test_a_solver_that_misses_is_shown_and_not_compared() -> None:
    right = solve(LAKE.table, 0.99).value
    solvers: list[Any] = [
        ("rlkit, table", lambda: lambda: right),
        ("Careful, one", lambda: lambda: right + 1e-7),
        ("Hasty, one", lambda: lambda: right + 1e-3),
    ]
    timings = list(planning.measure(LAKE, solvers, repeats=2))
    assert [timing.passes for timing in timings] == [True, True, False]
    assert [len(timing.seconds) for timing in timings] == [2, 2, 2]
    (line,) = planning.ratios([timing._replace(seconds=(0.5,)) for timing in timings])
    assert line.endswith("Careful 1.00")


def test_a_slow_library_is_called_once_and_rlkit_again_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "SLOW", 0.0)
    right = solve(LAKE.table, 0.99).value
    solvers: list[Any] = [(name, lambda: lambda: right) for name in ("rlkit, table", "One, slow", "Two, slow")]
    timings = list(planning.measure(LAKE, solvers, repeats=5))
    assert [(timing.solver, len(timing.seconds)) for timing in timings] == [
        ("rlkit, table", 1),  # each as soon as it is there
        ("One, slow", 1),
        ("Two, slow", 1),
        ("rlkit, table", 3),
    ]
    assert all(len(timing.wall) == len(timing.seconds) for timing in timings)
    base, other = timings[-1]._replace(seconds=(1.0, 2.0, 3.0)), timings[1]._replace(seconds=(4.0,))
    (listed,) = planning.ratios([base, other])
    assert listed.endswith("One 2.00")


def test_our_solvers_of_a_map_are_the_table_and_the_map() -> None:
    grid = problems.goal_grid(6)
    instance = problems.Instance("grid", problems.without_map(grid), grid, 0.9)
    values = {name: build()() for name, build in planning.rlkit_solvers(instance)}
    assert list(values) == ["rlkit, table", "rlkit, map"]
    assert max(instance.error(value) for value in values.values()) <= problems.TRUE_ERROR


def test_other_libraries_get_the_problem_that_rlkit_solves() -> None:
    table = problems.without_map(problems.goal_grid(4))
    rows = planning.rows_of(table)
    value = np.append(policy_iteration(table, 0.9).value, 0.0)  # and of where episodes have ended
    q = rows.reward + 0.9 * (rows.transitions @ value)
    best = np.full(len(value), -np.inf)
    np.maximum.at(best, rows.state, q)
    np.testing.assert_allclose(best, value, atol=1e-12)


@pytest.mark.slow
def test_what_grows_is_drawn(tmp_path: Path) -> None:
    rows = [growth.Growth(letter, n, n / 1e3, 9, n / 2e3, 9) for letter in growth.VARIED for n in (1, 10)]
    append(tmp_path / "growth.csv", rows)
    growth.main(["--rows", str(tmp_path / "growth.csv"), "--figure", str(tmp_path / "new" / "growth.svg")])
    assert (tmp_path / "new" / "growth.svg").stat().st_size < 100_000


@pytest.mark.slow
def test_a_method_is_timed_in_a_process_of_its_own() -> None:
    seconds, taken = methods.seconds_of(LAKE.table, 0.99, "policy iteration", 1.0)
    assert 0 < seconds < 1
    assert taken == "policy iteration"
    assert methods.seconds_of(LAKE.table, 0.99, "stencil", 1.0)[0] == np.inf
    names = [name for name, _, _ in methods.problems(10)]
    assert len(names) > 12


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or not COMPILED, reason="reads /proc; takes minutes without numba")
@pytest.mark.parametrize(
    ("problem", "method"), [("map", "auto"), ("table", "auto"), ("table", "modified policy iteration")]
)
def test_a_process_that_solves_a_million_tiles_takes_less_than_600_megabytes(problem: str, method: str) -> None:
    """The imports are in that: 116 MB, and 190 where the system keeps more of the libraries' files mapped."""
    used = memory.peak(problem, 0.9, method, CACHE and CACHE.parents[1])
    assert used.process < 600e6
    assert used.counted < 400e6


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or not COMPILED, reason="reads /proc; takes minutes without numba")
def test_full_memories_of_a_training_are_counted_and_take_at_most_24_bytes_a_transition() -> None:
    used = memory.training_peak(8, 10_000, CACHE and CACHE.parents[1])
    assert 17 * 8 * 10_000 < used.counted <= 24 * 8 * 10_000  # a state in float32, and more
    assert used.process > used.imports + used.counted


@pytest.mark.slow
def test_solving_imports_nothing_heavy_that_it_does_not_need() -> None:
    program = "import sys, rlkit.planning; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "matplotlib", "scipy.linalg", "flint"} & set(done.stdout.split())
