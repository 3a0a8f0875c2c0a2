"""How much a compiled call does, that cutting the work changes no bit, and what an interrupted solver hands over."""

from __future__ import annotations

import ast
import importlib
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from finite_problems import needs_numba
from source_tree import ROOT

from rlkit.mdp import GridMDP, Lattice, LatticeMDP, garnet, random_grid
from rlkit.planning import (
    Problem,
    Solution,
    SolverInterrupted,
    followed,
    interval_iteration,
    lattice_iteration,
    prioritized_sweeping,
    solve,
)
from rlkit.planning.certify import kept_on_interrupt, verified_task
from rlkit.planning.kernels import cells, stencil, sweeps, work

pytestmark = needs_numba

SMALL = 600  # outcomes of a call, so that even these problems are cut; more than a row of their maps has


def swept(worth: np.ndarray, times: int) -> int:
    return times * stencil.TILE_OUTCOMES * (worth.shape[0] - 2) * worth.shape[1]


# Every compiled loop that Python calls, and the outcomes that a call with these arguments looks at, at most.
OUTCOMES: dict[tuple[Any, str], Callable[..., int]] = {
    (sweeps, "_back_up_all"): lambda table, *rest: table.arrival.size,
    (sweeps, "_choose_best"): lambda table, *rest: table.arrival.size,
    (sweeps, "_back_up_best"): lambda table, *rest: table.arrival.size,
    (sweeps, "_improve_in_place"): lambda table, *rest: table.arrival.size,
    (sweeps, "_choose_rows"): lambda table, policy, rows: rows.table.arrival.size,
    (sweeps, "_evaluate_in_place"): lambda rows, value, gamma, times, *rest: times * rows.table.arrival.size,
    (sweeps, "_evaluate_by_backups"): lambda rows, v, w, gamma, times, *rest: times * rows.table.arrival.size,
    (sweeps, "_iterate_in_place"): lambda table, rows, value, gamma, policy, stops, done, backwards, rounds: (
        rounds * (table.arrival.size + (stops.evaluation + 1) * rows.table.arrival.size)
    ),
    (sweeps, "_sweep_blocks"): lambda table, *rest: rest[-1] * table.arrival[0].size,
    (stencil, "_sweep_rows"): lambda worth, base, times, up, measured, *rest: swept(worth, times + measured),
    (stencil, "_sweep_rows_with_stay"): lambda worth, b, s, times, up, measured, *rest: swept(worth, times + measured),
    (stencil, "_back_up_rows"): lambda worth, other, base, times, measured, *rest: swept(worth, times + measured),
    (stencil, "_back_up_map"): lambda grid, value, gamma, q, first, last: (
        stencil.TILE_OUTCOMES * (last - first) * grid.terminal.shape[1]
    ),
    (cells, "_improve_cells"): lambda c, value, gamma, policy, backwards, first, last: (
        (last - first) * len(c.corner) * len(c.corners)
    ),
    (cells, "_evaluate_cells"): lambda c, value, gamma, policy, times, backwards, first, last: (
        times * (last - first) * len(c.corners)
    ),
}


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


OPEN = np.ones((9, 13), np.bool_)


def lattice() -> LatticeMDP:
    """Steps of a random walk on a square, which may end everywhere."""
    axes = [np.linspace(0, 1, 9)] * 2
    target, paid = rng().random((3, 81, 2)), rng().normal(size=(3, 81))
    over = rng().random((3, 81)) < 0.1
    return LatticeMDP(Lattice(axes), lambda state, action: (target[action[0]], paid[action[0]], over[action[0]]), 3)


def with_stay() -> GridMDP:
    """A map without an end where staying does not pay what arriving does."""
    return GridMDP(OPEN, ~OPEN, rng().random(OPEN.shape), chances=(0.8, 0.1, 0))


def going_round() -> GridMDP:
    """A map without an end where staying pays what arriving does."""
    return GridMDP(OPEN, ~OPEN, np.zeros(OPEN.shape), step_reward=rng().random(OPEN.shape), chances=(0.8, 0.1, 0))


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "ends": lambda: garnet(150, 4, 3, rng(), ending=0.05),
    "goes on": lambda: garnet(150, 3, 6, rng()),
    "map": lambda: random_grid(20, 23, rng(), walls=0.1),
    "map with stay": with_stay,
    "map without end": going_round,
    "lattice": lattice,
}
METHODS: dict[str, Callable[[Problem], Solution]] = {
    "auto": lambda mdp: solve(mdp, 0.95, 1e-8),
    "value iteration": lambda mdp: solve(mdp, 0.95, 1e-8, "value iteration"),
    "gauss-seidel": lambda mdp: solve(mdp, 0.95, 1e-8, "gauss-seidel"),
    "modified policy iteration": lambda mdp: solve(mdp, 0.95, 1e-8, "modified policy iteration"),
    "prioritized sweeping": lambda mdp: prioritized_sweeping(mdp, 0.95, 1e-8, block=37),
    "inexact policy iteration": lambda mdp: solve(mdp, 0.95, 1e-8, "inexact policy iteration"),
    "policy iteration": lambda mdp: solve(mdp, 0.95, 1e-8, "policy iteration"),
}
CASES = [
    *((problem, method) for problem in ("ends", "goes on", "map") for method in METHODS),
    ("map with stay", "auto"),
    ("map without end", "auto"),
    ("lattice", "lattice"),
    ("map", "interval"),
]


def solved(problem: str, method: str) -> Solution:
    mdp = PROBLEMS[problem]()
    if method == "lattice":
        return lattice_iteration(mdp, 0.95, 1e-8)  # type: ignore[arg-type]
    return interval_iteration(mdp, 1e-6) if method == "interval" else METHODS[method](mdp)


class Looks:
    """Counts the outcomes of every compiled call, and acts at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int | None = None) -> None:
        self.work: dict[str, list[int]] = {}
        self.calls, self._at = 0, at
        for (module, name), outcomes in OUTCOMES.items():
            monkeypatch.setattr(module, name, self._counted(name, getattr(module, name), outcomes))

    def _counted(self, name: str, loop: Callable[..., Any], outcomes: Callable[..., int]) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            self.calls += 1
            if self.calls == self._at:
                raise KeyboardInterrupt
            self.work.setdefault(name, []).append(outcomes(*args))
            return loop(*args)

        return counted


@pytest.fixture(scope="module")
def wholes() -> dict[tuple[str, str], Solution]:
    """Every case in as few calls as can be; this also compiles all loops."""
    return {case: solved(*case) for case in CASES}


@pytest.mark.slow
def test_no_call_does_more_than_the_stated_work_and_cutting_it_changes_no_bit(
    wholes: dict[tuple[str, str], Solution], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Looks(monkeypatch)
    whole_work, seen = {}, set()
    for case, whole in wholes.items():
        monkeypatch.setattr(work, "WORK", 2**40)
        solved(*case)
        for name, amounts in looks.work.items():
            whole_work[name] = max([whole_work.get(name, 0), *amounts])
        looks.work.clear()
        monkeypatch.setattr(work, "WORK", SMALL)
        cut = solved(*case)
        for field in ("value", "policy", "optimal_actions", "lower", "upper", "ahead"):
            np.testing.assert_array_equal(getattr(cut, field), getattr(whole, field), err_msg=f"{case} {field}")
        assert cut.iterations == whole.iterations, case
        for name, amounts in looks.work.items():
            assert max(amounts) <= SMALL, (case, name)
        seen |= set(looks.work)
        looks.work.clear()
    assert seen | set(whole_work) == {name for _, name in OUTCOMES}
    assert all(amount > SMALL for amount in whole_work.values())  # each of them had something to cut


@pytest.mark.slow
def test_every_compiled_loop_that_python_calls_is_counted() -> None:
    called = set()
    for file in sorted((ROOT / "rlkit/planning").rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        made = {"compiled", "inlined"}
        plain = [f for f in functions if not any(getattr(d, "id", "") in made for d in f.decorator_list)]
        for function in plain:
            called |= {node.func.id for node in ast.walk(function) if _calls_a_name(node)}  # type: ignore[attr-defined]
    loops = {
        node.name
        for file in (ROOT / "rlkit/planning/kernels").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and any(getattr(d, "id", "") == "compiled" for d in node.decorator_list)
    }
    assert called & loops == {name for _, name in OUTCOMES}


def _calls_a_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


@pytest.mark.parametrize("outcomes", [1, 7, 2**40])
@pytest.mark.parametrize("count", [1, 2, 9, 10])
def test_pieces_cover_everything_once_and_in_order(outcomes: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "WORK", outcomes)
    found = work.pieces(count, 3)
    assert [place for piece in found for place in range(piece.start, piece.stop)] == list(range(count))
    assert all(1 <= piece.stop - piece.start <= max(outcomes // 3, 1) for piece in found)
    assert work.pieces(count, 3, backwards=True) == found[::-1]


INTERRUPTED = [case for case in CASES if case[1] not in ("policy iteration", "interval")]


@pytest.mark.slow
@pytest.mark.parametrize("case", INTERRUPTED, ids=" by ".join)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_an_interrupted_solver_hands_over_bounds_that_hold(
    case: tuple[str, str], share: float, wholes: dict[tuple[str, str], Solution], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = wholes[case]
    monkeypatch.setattr(work, "WORK", SMALL)
    with pytest.MonkeyPatch.context() as patched:
        looks = Looks(patched)
        solved(*case)
    with pytest.MonkeyPatch.context() as patched:
        Looks(patched, at=max(2, int(share * looks.calls)))
        with pytest.raises(SolverInterrupted) as stopped:
            solved(*case)
    partial = stopped.value.solution
    assert (partial.lower <= whole.upper).all()
    assert (partial.upper >= whole.lower).all()
    assert (partial.optimal_actions | ~whole.optimal_actions).all()
    assert np.isfinite(partial.value).all()


def test_policy_iteration_after_sweeps_hands_over_what_the_sweeps_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any) -> Solution:
        raise KeyboardInterrupt

    mdp = GridMDP(
        np.ones((1, 400), np.bool_), np.arange(400)[None] == 399, (np.arange(400)[None] == 399) * 1.0, chances=(1, 0, 0)
    )
    chooser = importlib.import_module("rlkit.planning.solve")
    monkeypatch.setattr(chooser, "STENCIL_SWEEPS", 40)
    monkeypatch.setattr(chooser, "policy_iteration", interrupted)
    with pytest.raises(SolverInterrupted, match="apart") as stopped:
        solve(mdp, 0.9999)
    assert stopped.value.solution.method == "stencil iteration"
    assert (stopped.value.solution.lower <= 0.9999 ** (398.0 - np.arange(400)) + 1e-9)[:-1].all()


def test_a_large_problem_is_left_without_a_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlkit.planning.certify.MOST_KEPT", 10)
    solve(PROBLEMS["ends"](), 0.95)
    Looks(monkeypatch, at=2)
    with pytest.raises(KeyboardInterrupt) as stopped:
        solve(PROBLEMS["ends"](), 0.95)
    assert not isinstance(stopped.value, SolverInterrupted)


def test_an_interrupt_crosses_processes_with_its_solution() -> None:
    stopped = SolverInterrupted(solve(PROBLEMS["ends"](), 0.95))
    again = pickle.loads(pickle.dumps(stopped))
    np.testing.assert_array_equal(again.solution.lower, stopped.solution.lower)


def test_a_solver_tells_how_far_it_is_while_it_runs() -> None:
    task = verified_task("value_iteration", garnet(5, 2, 2, np.random.default_rng(0)), 0.9, 1e-6)
    done = 1233
    with followed() as progress:
        assert str(progress) == ""
        with kept_on_interrupt(task, lambda: (np.zeros(5), done)):
            done += 1
            assert str(progress) == "1,234 iterations of value iteration"
        assert str(progress) == ""
    with kept_on_interrupt(task, lambda: (np.zeros(5), done)):
        assert str(progress) == ""
