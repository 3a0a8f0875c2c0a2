"""Every solver held to rational arithmetic and to the others; maps held to their tables; the choice of a method."""

from __future__ import annotations

import dataclasses
import importlib
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from counts import repeats
from finite_problems import (
    assert_certified,
    assert_encloses,
    chain,
    gammas,
    grids,
    mdps,
    needs_numba,
    rational_optimum,
    rational_q,
    slippery,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit.compiled import jit
from rlkit.envs import GridWorld
from rlkit.mdp import GridMDP, TabularMDP, map_of
from rlkit.planning import (
    NotConverged,
    Solution,
    certify,
    inexact_policy_iteration,
    modified_policy_iteration,
    operators,
    policy_iteration,
    prioritized_sweeping,
    q_backup,
    solve,
    stencil_iteration,
    value_iteration,
)
from rlkit.planning.kernels import stencil, sweeps
from rlkit.planning.methods import modified_policy_iteration as modified
from rlkit.planning.methods import prioritized_sweeping as prioritized
from rlkit.planning.methods import stencil_iteration as stencil_iter
from rlkit.planning.operators import extents, rounding_bound

portfolio = importlib.import_module("rlkit.planning.solve")  # the module: the package exports its function

TABLE_METHODS: Any = [
    "value iteration",
    "gauss-seidel",
    "modified policy iteration",
    "prioritized sweeping",
    "inexact policy iteration",
    "policy iteration",
]


def without_structure(mdp: TabularMDP) -> TabularMDP:
    """The same table, its map forgotten."""
    return TabularMDP(mdp.successor, mdp.probability, mdp.reward, mdp.terminated, start=mdp.start)


# Maps.


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(grids())
def test_a_map_and_its_table_are_one_problem(grid: GridMDP) -> None:
    rows, columns = grid.open.shape
    places = [(int(r), int(c)) for r, c in np.argwhere(grid.open)]
    ahead, side, behind = grid.chances
    table = grid.tabular.to_gymnasium()
    for state, (r, c) in enumerate(places):
        for action in range(4):
            expected: dict[tuple[int, float, bool], float] = {}
            for turn, chance in ((-1, side), (0, ahead), (1, side), (2, behind)):
                down, right = [(0, -1), (1, 0), (0, 1), (-1, 0)][(action + turn) % 4]
                to = (r + down, c + right)
                inside = 0 <= to[0] < rows and 0 <= to[1] < columns and bool(grid.open[to])
                if grid.terminal[r, c]:
                    outcome = (state, 0.0, True)
                elif inside:
                    reward = grid.step_reward[r, c] + grid.entry_reward[to]
                    outcome = (places.index(to), float(reward), bool(grid.terminal[to]))
                else:
                    outcome = (state, float(grid.step_reward[r, c] + grid.bump_reward), False)
                expected[outcome] = expected.get(outcome, 0.0) + chance
            listed: dict[tuple[int, float, bool], float] = {}
            for p, *outcome in table[state][action]:
                listed[tuple(outcome)] = listed.get(tuple(outcome), 0.0) + p  # type: ignore[index, arg-type]
            assert listed == {outcome: p for outcome, p in expected.items() if p > 0}


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(grids(), gammas, st.integers(0, 2**32 - 1))
def test_a_backup_on_a_map_is_within_its_rounding_bound_of_the_tables(grid: GridMDP, gamma: float, seed: int) -> None:
    value = np.random.default_rng(seed).normal(size=grid.num_states) * 1e3
    computed, bound = q_backup(grid, value, gamma), rounding_bound(extents(grid), value, gamma)
    exact = rational_q(grid.tabular, [Fraction(float(v)) for v in value], gamma)
    for row, exact_row in zip(computed, exact, strict=True):
        for entry, exact_entry in zip(row, exact_row, strict=True):
            assert abs(Fraction(float(entry)) - exact_entry) <= Fraction(bound)


@pytest.mark.slow
@needs_numba
@settings(max_examples=100, deadline=None)
@given(grids(), st.sampled_from([0.0, 0.5, 0.9, 0.99]))
def test_sweeps_over_a_map_enclose_the_optimum_of_its_table(grid: GridMDP, gamma: float) -> None:
    solution = stencil_iteration(grid, gamma, 1e-8)
    exact = rational_optimum(grid.tabular, gamma)
    assert_encloses(solution.lower, solution.upper, exact)
    assert solution.width <= 1e-8
    assert_certified(grid.tabular, solution, exact)


@pytest.mark.parametrize("name", ["frozenlake-4x4", "frozenlake-8x8", "russell-norvig-4x3"])
def test_a_grid_world_keeps_its_map(name: str) -> None:
    world = GridWorld(name)
    grid = map_of(world.mdp)
    assert grid is not None
    np.testing.assert_array_equal(grid.open, world.letters != "#")
    again = TabularMDP.from_transitions(world.mdp.to_gymnasium())
    np.testing.assert_allclose(solve(world.mdp, 0.9).value, solve(again, 0.9).value, rtol=0, atol=1e-9)


def test_a_world_that_carries_the_agent_elsewhere_has_no_map() -> None:
    assert map_of(GridWorld("cliff").mdp) is None


def test_the_map_of_gymnasiums_frozen_lake_has_its_value() -> None:
    assert solve(GridWorld("frozenlake-8x8").mdp, 0.99, 1e-12).value[0] == pytest.approx(0.414640361799988, abs=1e-12)


def test_a_changed_table_forgets_its_map() -> None:
    table = slippery(3).tabular
    assert map_of(table) is not None
    assert map_of(dataclasses.replace(table, reward=2 * table.reward)) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"open": np.zeros((2, 2), bool)}, "0 open tiles"),
        ({"open": np.ones(4, bool)}, r"open has shape \(4,\)"),
        ({"terminal": np.zeros((2, 3), bool)}, r"terminal has shape \(2, 3\): expected \(2, 2\)"),
        ({"entry_reward": np.full((2, 2), np.nan)}, "entry_reward nan at row 0, column 0"),
        ({"step_reward": np.zeros(3)}, r"step_reward has shape \(3,\)"),
        ({"bump_reward": np.inf}, "bump_reward inf"),
        ({"chances": (0.5, 0.5, 0.5)}, "ahead \\+ 2 side \\+ behind must be 1"),
        ({"chances": (0.0, 0.0, 1.0)}, "behind must not exceed ahead"),
        ({"chances": (1.2, -0.1, 0.0)}, "must not be negative"),
        ({"start": [1.0]}, r"start has shape \(1,\): expected \(4,\)"),
        ({"max_steps": 0}, "max_steps 0"),
    ],
)
def test_what_is_no_map_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GridMDP(**({"open": np.ones((2, 2), bool), "terminal": np.zeros((2, 2), bool)} | changes))


# Every method.


@pytest.mark.slow
@pytest.mark.parametrize("method", [*TABLE_METHODS, "auto"])
def test_every_method_encloses_the_optimum(method: Any) -> None:
    @settings(max_examples=40, deadline=None, database=None)
    @given(mdps(differing_actions=True), st.sampled_from([0.0, 0.5, 0.9, 0.99]))
    def law(mdp: TabularMDP, gamma: float) -> None:
        solution = solve(mdp, gamma, 1e-8, method)
        exact = rational_optimum(mdp, gamma)
        assert_encloses(solution.lower, solution.upper, exact)
        assert solution.converged
        assert solution.width <= 1e-8
        assert_certified(mdp, solution, exact)

    law()


@pytest.mark.slow
@settings(max_examples=repeats(2000, 200), deadline=None)
@given(mdps(differing_actions=True), gammas, st.sampled_from(["auto", *TABLE_METHODS[2:]]))
def test_many_problems_are_enclosed_by_every_method(mdp: TabularMDP, gamma: float, method: Any) -> None:
    solution = solve(mdp, gamma, 1e-4, method)
    exact = rational_optimum(mdp, gamma)
    assert_encloses(solution.lower, solution.upper, exact)
    assert_certified(mdp, solution, exact)


@pytest.mark.slow
@pytest.mark.parametrize("env_id", ["FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalking-v1", "Taxi-v4"])
def test_every_method_agrees_on_toy_text(env_id: str) -> None:
    mdp = TabularMDP.from_gymnasium(gymnasium.make(env_id))
    reference = policy_iteration(mdp, 0.99)
    for method in [*TABLE_METHODS, "auto"]:
        solution = solve(mdp, 0.99, 1e-8, method)
        assert (solution.lower <= reference.upper).all()
        assert (reference.lower <= solution.upper).all()
        np.testing.assert_allclose(solution.value, reference.value, rtol=0, atol=1e-8)
        assert (solution.optimal_actions | ~reference.optimal_actions).all()


@pytest.mark.slow
def test_every_method_agrees_where_nothing_ends() -> None:
    table = without_structure(slippery(12, terminals=False).tabular)
    reference = policy_iteration(table, 0.999).value
    for method in [*TABLE_METHODS, "auto"]:
        np.testing.assert_allclose(solve(table, 0.999, 1e-7, method).value, reference, rtol=0, atol=1e-7)


def unfinished(method: str, mdp: TabularMDP) -> NotConverged:
    solvers: dict[str, Any] = {
        "jacobi": lambda: value_iteration(mdp, 0.999, max_iterations=3),
        "gauss-seidel": lambda: value_iteration(mdp, 0.999, max_iterations=3, in_place=True),
        "modified": lambda: modified_policy_iteration(mdp, 0.999, max_iterations=3),
        "prioritized": lambda: prioritized_sweeping(mdp, 0.999, max_iterations=3),
        "inexact": lambda: inexact_policy_iteration(mdp, 0.999, max_iterations=1),
        "stencil": lambda: stencil_iteration(map_of(mdp), 0.999, max_iterations=3),  # type: ignore[arg-type]
    }
    with pytest.raises(NotConverged, match=r"more than the tolerance 1e-09") as stopped:
        solvers[method]()
    return stopped.value


@pytest.mark.parametrize("method", ["jacobi", "gauss-seidel", "modified", "prioritized", "inexact", "stencil"])
@pytest.mark.parametrize("terminals", [True, False])
def test_a_limit_is_never_silent_and_its_bounds_hold(method: str, terminals: bool) -> None:
    if method == "stencil" and not jit.COMPILED:
        pytest.skip("numba is not installed")
    table = slippery(8, terminals).tabular
    partial = unfinished(method, table).solution
    reference = policy_iteration(table, 0.999)
    assert not partial.converged
    assert partial.width > 1e-9
    assert (partial.lower <= reference.upper).all()
    assert (reference.lower <= partial.upper).all()


@pytest.mark.parametrize("method", [*TABLE_METHODS, "stencil", "auto"])
def test_a_tolerance_below_rounding_is_refused_by_every_method(method: Any) -> None:
    if method == "stencil" and not jit.COMPILED:
        pytest.skip("numba is not installed")
    with pytest.raises(ValueError, match=r"below what rounding allows .* is \d\.\de-1\d"):
        solve(slippery(5).tabular, 0.99, 1e-16, method)


@pytest.mark.parametrize("method", [*TABLE_METHODS, "stencil", "auto"])
def test_every_method_refuses_gamma_one_and_names_what_takes_it(method: Any) -> None:
    if method == "stencil" and not jit.COMPILED:
        pytest.skip("numba is not installed")
    with pytest.raises(ValueError, match=r"gamma 1\.0: .*backward_induction"):
        solve(slippery(3).tabular, 1.0, method=method)


def test_an_unknown_method_is_refused() -> None:
    wrong: Any = "magic"
    with pytest.raises(ValueError, match="method 'magic': choose one of auto, value iteration"):
        solve(chain(3), 0.9, method=wrong)
    with pytest.raises(ValueError, match="needs a GridMDP or its table"):
        solve(chain(3), 0.9, method="stencil")


def test_a_warm_start_saves_sweeps_and_may_be_anything() -> None:
    table = without_structure(slippery(20).tabular)
    cold = modified_policy_iteration(table, 0.99, 1e-8)
    warm = modified_policy_iteration(table, 0.99, 1e-8, initial=cold.value)
    assert warm.iterations < cold.iterations / 4
    wild = modified_policy_iteration(table, 0.99, 1e-8, initial=np.full(table.num_states, 1e3))
    np.testing.assert_allclose(wild.value, cold.value, rtol=0, atol=1e-8)
    exact = policy_iteration(table, 0.99)
    assert policy_iteration(table, 0.99, initial_policy=exact.policy).iterations == 1
    with pytest.raises(ValueError, match=r"initial has shape \(3,\)"):
        modified_policy_iteration(table, 0.99, initial=np.zeros(3))
    with pytest.raises(ValueError, match="one action per state"):
        policy_iteration(table, 0.99, initial_policy=np.full((400, 4), 0.25))


# The choice.


def test_the_choice_and_its_reason_are_in_the_result() -> None:
    rng = np.random.default_rng(0)
    shape = (50, 3, 4)
    mixing = TabularMDP(
        rng.integers(0, 50, shape), rng.dirichlet(np.ones(4), (50, 3)), rng.random(shape), np.zeros(shape, bool)
    )
    episodic = without_structure(slippery(10).tabular)
    for mdp, method, reason in (
        (mixing, "modified policy iteration", "no episode ends"),
        (episodic, "modified policy iteration", "episodes end"),
    ):
        solution = solve(mdp, 0.99)
        assert solution.method == method
        assert solution.reason.startswith(reason)
    assert solve(episodic, 0.99, method="value iteration").reason == ""


@needs_numba
def test_a_map_without_an_end_is_swept_to_the_middle_of_its_bounds() -> None:
    grid = slippery(20, terminals=False)
    solution = stencil_iteration(grid, 0.9999, 1e-6, max_iterations=3000)  # 0.9999 alone would take 200,000
    np.testing.assert_allclose(solution.value, policy_iteration(grid, 0.9999).value, rtol=0, atol=1e-6)


@needs_numba
def test_a_map_is_swept_as_a_map_even_from_its_table() -> None:
    for problem in (slippery(10), slippery(10).tabular):
        solution = solve(problem, 0.99)
        assert solution.method == "stencil iteration"
        assert solution.reason.startswith("a map of 10 x 10 tiles")


def test_slow_mixing_is_noticed_and_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portfolio, "SWEEPS_WORTH_A_FACTORIZATION", 400)
    table = without_structure(slippery(40, terminals=False).tabular)
    solution = solve(table, 0.9999, 1e-6)
    assert solution.method == "policy iteration"
    assert "sweeps of modified policy iteration its bounds were" in solution.reason
    np.testing.assert_allclose(solution.value, policy_iteration(table, 0.9999).value, rtol=0, atol=1e-6)


def test_a_line_is_factorized_early() -> None:
    length = 2000
    state = np.arange(length)
    ahead, back = np.minimum(state + 1, length - 1), np.maximum(state - 1, 0)
    successor = np.stack([np.stack([ahead, back], 1), np.stack([back, ahead], 1)], axis=1)
    ends = (successor == length - 1) & (state[:, None, None] >= length - 2)
    line = TabularMDP(successor, np.broadcast_to([0.6, 0.4], successor.shape), ends.astype(float), ends)
    solution = solve(line, 0.9999, 1e-6)
    assert solution.method == "policy iteration"
    assert int(solution.reason.split()[1]) <= 100
    np.testing.assert_allclose(solution.value, policy_iteration(line, 0.9999).value, rtol=0, atol=1e-6)


def test_large_factors_are_avoided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portfolio, "SWEEPS_WORTH_A_FACTORIZATION", 400)
    monkeypatch.setattr(portfolio, "LARGEST_FACTORS", 1000)
    table = without_structure(slippery(30, terminals=False).tabular)
    solution = solve(table, 0.9999, 1e-6)
    assert solution.method == "inexact policy iteration"
    np.testing.assert_allclose(solution.value, policy_iteration(table, 0.9999).value, rtol=0, atol=1e-6)


def test_many_states_with_rare_rewards_are_swept_by_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portfolio, "MANY_STATES", 1000)
    monkeypatch.setattr(portfolio, "RARE", 0.01)
    table = without_structure(slippery(40).tabular)
    solution = solve(table, 0.99, 1e-8)
    assert solution.method == ("prioritized sweeping" if jit.COMPILED else "modified policy iteration")
    np.testing.assert_allclose(solution.value, policy_iteration(table, 0.99).value, rtol=0, atol=1e-8)


def test_a_krylov_breakdown_costs_time_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scipy.sparse.linalg.bicgstab", lambda matrix, right, **_: (np.full_like(right, np.nan), -10))
    table = slippery(6).tabular
    solution = inexact_policy_iteration(table, 0.9, 1e-8)
    np.testing.assert_allclose(solution.value, policy_iteration(table, 0.9).value, rtol=0, atol=1e-8)


# Compiled or not.


@pytest.mark.slow
@needs_numba
@settings(max_examples=20, deadline=None)
@given(mdps(differing_actions=True), st.integers(0, 2**32 - 1))
def test_compiled_loops_and_python_ones_give_the_same_bits(mdp: TabularMDP, seed: int) -> None:
    value = np.append(np.random.default_rng(seed).normal(size=mdp.num_states), 0.0)
    table = operators.table_arrays(mdp)
    results = []
    for interpreted in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            for name, loop in list(vars(sweeps).items()) if interpreted else ():
                if hasattr(loop, "py_func"):
                    patch.setattr(sweeps, name, loop.py_func)
            mine, policy = value.copy(), np.zeros(mdp.num_states, np.int64)
            best, rows = np.zeros_like(value), sweeps.PolicyRows.of(table)
            outcome = [sweeps.back_up_best(table, mine, 0.9, best, policy)]
            outcome.append(sweeps.improve_in_place(table, mine, 0.9, policy, True))
            sweeps.choose_rows(table, policy, rows)
            outcome.append(sweeps.evaluate_in_place(rows, mine, 0.9, 5, False, 0.0))
            outcome.append(sweeps.evaluate_by_backups(rows, mine, best, 0.9, 5, 0.0))
            stops = sweeps.Stops(evaluation=4, reduction=0.03, enough=1e-9, sweeps=30, limit=40)
            outcome.append(sweeps.iterate_in_place(table, rows, mine, 0.9, policy, stops))
            near = np.empty(mdp.expected_reward.shape, np.bool_)
            sweeps.choose_best(table, mine, 0.9, 1e-3, best[:-1], policy, near)
            blocks = prioritized.cut_into_blocks(mdp, 2)
            outcome.append(sweeps.sweep_blocks(table, mine, 0.9, blocks, 1e-9, 40))
            results.append((outcome, *(array.tobytes() for array in (mine, policy, best, near, blocks.priority))))
    assert results[0] == results[1]


@needs_numba
@settings(max_examples=30, deadline=None)
@given(mdps(differing_actions=True), gammas, st.integers(0, 2**32 - 1))
def test_a_backup_gives_the_same_bits_by_loops_and_by_sparse_matrices(mdp: TabularMDP, gamma: float, seed: int) -> None:
    value = np.random.default_rng(seed).normal(size=mdp.num_states)
    by_loops, by_matrix = q_backup(mdp, value, gamma), q_backup(mdp, value[None], gamma)[0]
    np.testing.assert_array_equal(by_loops, by_matrix)


@needs_numba
@settings(max_examples=30, deadline=None)
@given(mdps(differing_actions=True), gammas, st.sampled_from([0.0, 1e-3, 0.5]), st.integers(0, 2**32 - 1))
def test_choices_are_those_of_the_q_values(mdp: TabularMDP, gamma: float, behind: float, seed: int) -> None:
    value = np.random.default_rng(seed).normal(size=mdp.num_states)
    q = q_backup(mdp, value, gamma)
    found = operators.choices(mdp, value, gamma, behind)
    np.testing.assert_array_equal(found.value, q.max(axis=1))
    np.testing.assert_array_equal(found.policy, q.argmax(axis=1))
    np.testing.assert_array_equal(found.near, q >= np.nextafter(found.value - behind, -np.inf)[:, None])


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if numba were not installed: no caller takes a compiled path."""
    for module in (operators, modified, portfolio, certify, stencil_iter):
        monkeypatch.setattr(module, "COMPILED", False)


@pytest.mark.usefixtures("interpreted")
def test_without_numba_the_answers_are_the_same() -> None:
    for problem in (slippery(8), slippery(8, terminals=False), slippery(8).tabular):
        table = problem.tabular if isinstance(problem, GridMDP) else problem
        reference = policy_iteration(table, 0.99).value
        for solution in (solve(problem, 0.99, 1e-8), modified_policy_iteration(problem, 0.99, 1e-8)):
            assert isinstance(solution, Solution)
            assert solution.method == "modified policy iteration"
            np.testing.assert_allclose(solution.value, reference, rtol=0, atol=1e-8)
    with pytest.raises(ValueError, match="stencil_iteration needs numba"):
        stencil_iteration(slippery(3), 0.9)


def test_rows_of_a_map_are_swept_to_the_fixed_point_of_its_table() -> None:
    grid = slippery(6)
    table = stencil.stencil(grid, 0.9, policy_iteration(grid, 0.9).value)
    least, largest = stencil.sweep(table, 2)
    assert -1e-15 <= least <= largest <= 1e-15


def test_a_block_has_the_priority_of_the_largest_change_that_it_leads_to() -> None:
    one, other = [(1.0, 1, 0.0, False)], [(1.0, 2, 0.0, False)]
    fork = TabularMDP.from_transitions([[one, other], [[(1.0, 0, 10.0, True)]] * 2, [[(1.0, 0, 1.0, True)]] * 2])
    blocks, value = prioritized.cut_into_blocks(fork, 1), np.zeros(4)
    backed_up = sweeps.sweep_blocks(operators.table_arrays(fork), value, 0.9, blocks, 1e-9, 3 * sweeps.BLOCK_SWEEPS)
    assert backed_up == 3 * sweeps.BLOCK_SWEEPS
    assert blocks.priority.tolist() == [9.0, 0.0, 0.0]  # the second change that it leads to, 1, lowers nothing


def test_every_theorem_of_the_page_names_a_test_that_exists() -> None:
    root = Path(__file__).resolve().parent.parent
    page = (root.parent / "docs" / "reference" / "solvers.md").read_text(encoding="utf-8")
    named = set(re.findall(r"((?:\w+/)?test_\w+\.py)::(test_\w+)", page))
    assert len(named) > 12
    for file, test in named:
        assert f"def {test}(" in (root / file).read_text(encoding="utf-8"), f"{file}::{test}"


@pytest.mark.slow
@pytest.mark.parametrize("states", [2, 3])
def test_a_ring_whose_errors_swing_is_solved(states: int) -> None:
    """On a periodic chain Jacobi's errors stop fading where gamma's share of them is less than a rounding."""
    following = (np.arange(states) + 1) % states
    reward = np.full((states, 1, 1), 0.5)
    reward[-1] = 1.0
    ring = TabularMDP(following[:, None, None], np.ones((states, 1, 1)), reward, np.zeros((states, 1, 1), bool))
    gamma = 0.99999
    solution = solve(ring, gamma, 1e-4, "modified policy iteration")
    exact = rational_optimum(ring, gamma)
    assert_encloses(solution.lower, solution.upper, exact)
    assert solution.width <= 1e-4
