"""Continuous problems on a lattice, held to scipy's interpolation, rational arithmetic and closed forms."""

from __future__ import annotations

import importlib
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from finite_problems import Floats, assert_certified, assert_encloses, needs_numba, rational_optimum, slippery, walk
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from rlkit.compiled.jit import COMPILED
from rlkit.envs import CartPole
from rlkit.envs.dynamics import noiseless_step
from rlkit.experiments.workflows.cartpole.reference import cartpole_lattice
from rlkit.mdp import Lattice, LatticeMDP, interpolated
from rlkit.planning import (
    NotConverged,
    backward_induction,
    device_iteration,
    evaluate,
    evaluate_finite,
    interval_iteration,
    lattice_iteration,
    policy_iteration,
    prove,
    q_backup,
    regret,
    solve,
    value_iteration,
)
from rlkit.planning.kernels import cells
from rlkit.planning.methods import lattice_iteration as lattice_iter
from rlkit.planning.operators import extents, rounding_bound

portfolio = importlib.import_module("rlkit.planning.solve")  # the module: the package exports its function


def uneven(*sizes: int) -> Lattice:
    """Axes of random points."""
    rng = np.random.default_rng(len(sizes))
    return Lattice([np.sort(rng.uniform(-2, 2, size)) for size in sizes])


@pytest.mark.parametrize("sizes", [(5,), (4, 6), (3, 2, 5), (3, 4, 2, 5)])
def test_interpolation_is_scipys(sizes: tuple[int, ...]) -> None:
    lattice, rng = uneven(*sizes), np.random.default_rng(0)
    value = rng.normal(size=lattice.num_points)
    inside = np.stack([rng.uniform(axis[0], axis[-1], (7, 11)) for axis in lattice.axes], axis=-1)
    oracle = RegularGridInterpolator(lattice.axes, value.reshape(lattice.shape))
    np.testing.assert_allclose(lattice.value_at(value, inside), oracle(inside), rtol=0, atol=1e-13)
    np.testing.assert_allclose(lattice.value_at(value, lattice.points()), value, rtol=0, atol=1e-14)


def test_outside_counts_as_the_nearest_point_inside() -> None:
    lattice = Lattice([[0.0, 1.0, 3.0], [0.0, 2.0]])
    value = np.arange(6.0)
    np.testing.assert_array_equal(lattice.value_at(value, [[-5.0, 0.0], [9.0, 9.0], [2.0, -1.0]]), [0.0, 5.0, 3.0])


def test_points_are_numbered_with_the_last_axis_fastest() -> None:
    lattice = Lattice([[0.0, 1.0], [5.0, 6.0, 8.0]])
    assert lattice.points().tolist() == [list(point) for point in product([0.0, 1.0], [5.0, 6.0, 8.0])]
    assert lattice.points(2, 4).tolist() == [[0.0, 8.0], [1.0, 5.0]]
    assert lattice.strides == (3, 1)


def test_numpy_and_torch_interpolate_to_the_bit() -> None:
    lattice, rng = uneven(4, 5, 3), np.random.default_rng(1)
    value = rng.normal(size=lattice.num_points)
    corner, fraction = lattice.cells(rng.uniform(-2, 2, (1000, 3)))
    ours = interpolated(value, corner, fraction, lattice.strides)
    theirs = interpolated(torch.tensor(value), torch.tensor(corner), torch.tensor(fraction), lattice.strides)
    np.testing.assert_array_equal(ours, theirs.numpy())


def test_the_walk_to_the_end_is_worth_what_its_length_says() -> None:
    mdp = LatticeMDP(Lattice([np.arange(10.0)]), walk, 2)
    for solution in (solve(mdp, 0.9, 1e-10), value_iteration(mdp, 0.9, 1e-10), device_iteration(mdp, 0.9, 1e-10)):
        np.testing.assert_allclose(solution.value, 0.9 ** np.arange(9, -1, -1), rtol=0, atol=1e-10)
        assert (solution.policy == 1).all()


def test_action_values_anywhere_agree_with_the_backup_at_the_points() -> None:
    mdp = LatticeMDP(Lattice([np.arange(10.0)]), walk, 2)
    value = np.random.default_rng(0).normal(size=10)
    np.testing.assert_allclose(
        mdp.q_at(value, mdp.lattice.points(), 0.9), q_backup(mdp, value, 0.9), rtol=0, atol=1e-15
    )
    between = mdp.q_at(value, [[2.5]], 0.9)[0]
    np.testing.assert_allclose(between, [0.9 * (value[1] + value[2]) / 2, 0.9 * (value[3] + value[4]) / 2])
    assert mdp.q_at(value, [9.25], 0.9)[1] == 1.0  # over the edge: no value behind it is read


@st.composite
def lattices(draw: st.DrawFn) -> LatticeMDP:
    """One or two axes and random targets in eighths of a cell, so that the weights have no rounding at all."""
    sizes = draw(st.sampled_from([(2,), (3,), (2, 2)]))
    lattice = Lattice([np.arange(float(size)) for size in sizes])
    count = lattice.num_points * 2
    eighths = st.lists(st.integers(-2, 8 * max(sizes)), min_size=count * len(sizes), max_size=count * len(sizes))
    target = np.array(draw(eighths)).reshape(2, lattice.num_points, len(sizes)) / 8
    reward = np.array(draw(st.lists(st.sampled_from([0.0, 1.0, -1.0, 0.1]), min_size=count, max_size=count)))
    ends = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count))) & draw(st.booleans())

    def step(state: Floats, action: NDArray[np.int64]) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        place = np.ravel_multi_index(tuple(state.astype(np.int64).T), lattice.shape)
        return target[action, place], reward.reshape(2, -1)[action, place], ends.reshape(2, -1)[action, place]

    return LatticeMDP(lattice, step, 2)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(lattices(), st.sampled_from([0.0, 0.5, 0.9]))
def test_bounds_on_a_lattice_enclose_the_rational_optimum(mdp: LatticeMDP, gamma: float) -> None:
    exact = rational_optimum(mdp.tabular, gamma)
    solutions = [value_iteration(mdp, gamma), device_iteration(mdp, gamma, 1e-9), solve(mdp, gamma)]
    if COMPILED:
        solutions.append(lattice_iteration(mdp, gamma))
    for solution in solutions:
        assert_encloses(solution.lower, solution.upper, exact)
        assert_certified(mdp.tabular, solution, exact)
        assert solution.width <= 1e-9


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.5, 0.99999]))
def test_a_backup_on_a_lattice_is_within_its_rounding_bound(seed: int, gamma: float) -> None:
    rng = np.random.default_rng(seed)
    lattice = Lattice([np.sort(rng.uniform(-1, 1, 3)) for _ in range(rng.integers(1, 4))])
    target, paid = rng.uniform(-1, 1, (lattice.num_points, len(lattice.shape))), rng.normal(size=lattice.num_points)
    mdp = LatticeMDP(lattice, lambda state, action: (target, paid, paid > 1), 1)
    value = rng.normal(size=mdp.num_states) * 10.0 ** rng.integers(-3, 9)
    bound = Fraction(rounding_bound(extents(mdp), value, gamma))
    for state, computed in enumerate(q_backup(mdp, value, gamma)[:, 0]):
        ahead = Fraction(0)
        for sides in product((0, 1), repeat=len(lattice.shape)):
            weight = Fraction(1)
            for axis, side in enumerate(sides):
                fraction = Fraction(float(mdp.fraction[axis, 0, state]))
                weight *= fraction if side else 1 - fraction
            ahead += weight * Fraction(float(value[mdp.corner[0, state] + int(np.dot(sides, lattice.strides))]))
        ahead *= int(mdp.going_on[0, state])
        assert abs(Fraction(float(computed)) - Fraction(paid[state]) - Fraction(gamma) * ahead) <= bound


def test_the_table_of_a_lattice_is_the_same_problem() -> None:
    lattice = uneven(4, 3, 5)
    rng = np.random.default_rng(2)
    target = rng.uniform(-2, 2, (2, 60, 3))
    mdp = LatticeMDP(lattice, lambda s, a: (target[a[0]], rng.normal(size=60), rng.random(60) < 0.2), 2)
    assert mdp.tabular.num_successors == 8
    value = rng.normal(size=60)
    np.testing.assert_allclose(q_backup(mdp, value, 0.9), q_backup(mdp.tabular, value, 0.9), rtol=0, atol=1e-13)
    many = rng.normal(size=(5, 60))
    np.testing.assert_allclose(q_backup(mdp, many, 0.9)[3], q_backup(mdp, many[3], 0.9), rtol=0, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["map", "lattice"])
def test_whatever_takes_a_table_takes_a_map_and_a_lattice(name: str) -> None:
    mdp = slippery(4) if name == "map" else LatticeMDP(Lattice([np.arange(10.0)]), walk, 2)
    table, policy = mdp.tabular, np.ones(mdp.num_states, np.int64)
    solution, limited = policy_iteration(mdp, 0.9), backward_induction(mdp, 5)
    np.testing.assert_array_equal(solution.value, policy_iteration(table, 0.9).value)
    np.testing.assert_array_equal(limited.value, backward_induction(table, 5).value)
    np.testing.assert_array_equal(evaluate(mdp, policy, 0.9), evaluate(table, policy, 0.9))
    np.testing.assert_array_equal(evaluate_finite(mdp, policy, 5), evaluate_finite(table, policy, 5))
    for best in (solution, limited):
        assert regret(mdp, policy, best) == regret(table, policy, best)
    assert prove(solution).encloses
    assert interval_iteration(mdp, 1e-6).width <= 1e-6


@pytest.mark.slow
def test_a_lattice_too_large_for_a_table_is_swept_as_its_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    mdp = LatticeMDP(Lattice([np.arange(10.0)]), walk, 2)
    assert "as its table" in solve(mdp, 0.9).reason
    right = solve(mdp, 0.9).value
    for compiled in {COMPILED, False}:
        monkeypatch.setattr(portfolio, "COMPILED", compiled)
        monkeypatch.setattr(portfolio, "SMALL_LATTICE_TABLE", 39)
        monkeypatch.setattr(portfolio, "LARGEST_LATTICE_TABLE", 39)
        fresh = LatticeMDP(Lattice([np.arange(10.0)]), walk, 2)
        solution = solve(fresh, 0.9)
        assert "its cells are swept" in solution.reason
        assert solution.method == ("lattice iteration" if compiled else "device iteration")
        assert "tabular" not in vars(fresh)
        np.testing.assert_allclose(solution.value, right, rtol=0, atol=1e-9)


def test_a_coarse_solution_is_a_good_start_for_a_fine_one() -> None:
    def pendulum(state: Floats, action: NDArray[np.int64]) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        angle, speed = state.T
        speed = speed + 0.1 * (np.sin(angle) + 2.0 * action - 1.0)
        angle = angle + 0.1 * speed
        return np.stack([angle, speed], axis=1), np.cos(angle), np.abs(angle) > 1

    coarse, fine = (LatticeMDP(Lattice([np.linspace(-1, 1, n), np.linspace(-2, 2, n)]), pendulum, 2) for n in (11, 21))
    rough = device_iteration(coarse, 0.95, 1e-6)
    start = coarse.lattice.value_at(rough.value, fine.lattice.points())
    cold, warm = device_iteration(fine, 0.95, 1e-2), device_iteration(fine, 0.95, 1e-2, initial=start)
    assert warm.iterations < cold.iterations
    np.testing.assert_allclose(cold.value, warm.value, rtol=0, atol=1e-2)


@pytest.mark.slow
@needs_numba
def test_cells_are_swept_to_the_optimum_of_the_table_from_anywhere() -> None:
    dynamics = CartPole()
    mdp = LatticeMDP(cartpole_lattice(dynamics, 7), noiseless_step(dynamics), 2)
    by_table = solve(mdp, 0.99, 1e-6)
    assert by_table.method != "lattice iteration"
    for start in (None, by_table.value, np.random.default_rng(0).normal(0, 100, mdp.num_states)):
        solution = lattice_iteration(mdp, 0.99, 1e-6, initial=start)
        np.testing.assert_allclose(solution.value, by_table.value, rtol=0, atol=2e-6)
        assert solution.iterations < 0.5 * value_iteration(mdp, 0.99, 1e-6, in_place=True).iterations


@pytest.mark.slow
@needs_numba
@settings(max_examples=100, deadline=None)
@given(lattices(), st.sampled_from([0.99, 0.999]))
def test_bounds_of_leaping_sweeps_enclose_the_rational_optimum(mdp: LatticeMDP, gamma: float) -> None:
    solution, exact = lattice_iteration(mdp, gamma, 1e-6), rational_optimum(mdp.tabular, gamma)
    assert_encloses(solution.lower, solution.upper, exact)
    assert_certified(mdp.tabular, solution, exact)
    assert solution.width <= 1e-6


@pytest.mark.slow
@needs_numba
def test_a_sweep_over_cells_is_the_backup_to_the_bit() -> None:
    lattice, rng = uneven(3, 2, 4), np.random.default_rng(1)
    target, paid, over = rng.uniform(-2, 2, (3, 24, 3)), rng.normal(size=(3, 24)), rng.random((3, 24)) < 0.2
    mdp = LatticeMDP(lattice, lambda s, a: (target[a[0]], paid[a[0]], over[a[0]]), 3)
    value = rng.normal(size=24)
    expected, new, policy = q_backup(mdp, value, 0.9), value.copy(), np.zeros(24, np.int32)
    arrays = cells.cells_of(mdp)
    cells.improve_cells(arrays, new, 0.9, policy, False)
    assert (new[0], policy[0]) == (expected[0].max(), expected[0].argmax())  # the first is backed up from old values
    new = value.copy()
    cells.improve_cells(arrays, new, 0.9, policy, True)
    assert (new[-1], policy[-1]) == (expected[-1].max(), expected[-1].argmax())
    slow = value.copy()
    cells._improve_cells.py_func(arrays, slow, 0.9, policy, True, 0, 24)
    np.testing.assert_array_equal(new, slow)


def test_a_leap_lands_on_the_limit_of_one_mode_and_is_taken_less_often_where_it_fails() -> None:
    mode, limit = np.array([1.0, 2.0, 3.0]), np.array([5.0, 6.0, 7.0])
    value = limit - mode

    def to_and_fro(pairs: int) -> None:
        value[:] = limit + 0.9**pairs * (value - limit)

    leaps = lattice_iter.Leaps()
    leaps.look(1.0)
    leaps.take(value, to_and_fro, 0.99)
    np.testing.assert_allclose(value, limit, rtol=1e-12)
    for change, rest, pause in ((2.0, 1, 2), (3.0, 2, 4), (2.0, 2, 4)):
        leaps.look(change)
        assert (leaps.rest, leaps.pause) == (rest, pause)
    before = value.copy()
    leaps.take(value, to_and_fro, 0.99)
    assert leaps.rest == 1
    np.testing.assert_allclose(value, before, rtol=1e-12)


@needs_numba
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"tolerance": 1e-16}, ValueError, "the smallest that lattice_iteration can certify"),
        ({"gamma": 1.0}, ValueError, "lattice_iteration needs 0 <= gamma < 1"),
        ({"initial": np.zeros(9)}, ValueError, r"initial has shape \(9,\): expected \(10,\)"),
        ({"max_iterations": 0}, ValueError, "max_iterations 0"),
        ({"max_iterations": 1, "tolerance": 1e-12}, NotConverged, "apart after 1 sweeps"),
    ],
)
def test_what_sweeps_over_cells_refuse(change: dict[str, Any], error: type[Exception], message: str) -> None:
    mdp = LatticeMDP(Lattice([np.arange(10.0)]), walk, 2)
    with pytest.raises(error, match=message):
        lattice_iteration(mdp, **{"gamma": 0.9, **change})


def test_without_numba_a_lattice_is_left_to_other_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    mdp = LatticeMDP(Lattice([np.arange(10.0)]), walk, 2)
    monkeypatch.setattr(lattice_iter, "COMPILED", False)
    with pytest.raises(ValueError, match="needs numba"):
        lattice_iteration(mdp, 0.9)


def test_an_unfinished_lattice_says_so() -> None:
    mdp = LatticeMDP(Lattice([np.arange(10.0)]), walk, 2)
    with pytest.raises(NotConverged, match="apart after 2 backups"):
        value_iteration(mdp, 0.9, max_iterations=2)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ([], "axes is empty"),
        ([[0.0]], "axis 0 is"),
        ([[0.0, 1.0], [1.0, 1.0]], "axis 1 is"),
        ([[0.0, np.nan]], "axis 0 is"),
        ([[[0.0, 1.0]]], "axis 0 is"),
        ([np.arange(50_000.0)] * 2, "2,500,000,000 points: a lattice holds at most"),
    ],
)
def test_axes_that_are_none_are_refused(axes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Lattice(axes)


@pytest.mark.parametrize(
    ("step", "actions", "message"),
    [
        (walk, 0, "num_actions 0"),
        (lambda s, a: (s[:, 0], a, a > 0), 1, r"shapes \(10,\), \(10,\) and \(10,\) for states \(10, 1\)"),
        (lambda s, a: (s, s, a > 0), 1, r"shapes \(10, 1\), \(10, 1\)"),
        (lambda s, a: (s / (s - 3), a * 1.0, a > 0), 1, r"action 0 leads from \[3\.\] to \[inf\]"),
        (lambda s, a: (s, np.where(s[:, 0] == 4, np.nan, 0.0), a > 0), 1, r"from \[4\.\] .* with reward nan"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_step_that_is_none_is_refused(step: Any, actions: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LatticeMDP(Lattice([np.arange(10.0)]), step, actions)


def test_a_start_of_another_shape_is_refused() -> None:
    mdp = LatticeMDP(Lattice([np.arange(10.0)]), walk, 2)
    for initial in (np.zeros(9), np.full(10, np.inf)):
        with pytest.raises(ValueError, match=r"initial has shape .*: expected \(10,\) finite values"):
            device_iteration(mdp, 0.9, initial=initial)
