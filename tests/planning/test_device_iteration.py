"""Sweeps on torch devices: the answers of the CPU's solvers, without waiting for the host."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from devices import DEVICES, on_host, using
from finite_problems import (
    FROZEN_LAKE,
    TAXI,
    assert_certified,
    assert_encloses,
    chain,
    grids,
    mdps,
    rational_optimum,
    slippery,
    walk,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from rlkit.mdp import GridMDP, Lattice, LatticeMDP, TabularMDP
from rlkit.planning import Problem, bellman, device_iteration, solve, solve_batch
from rlkit.planning.certify import verified_task
from rlkit.planning.methods.device_iteration import BLOCK, block, sweeps_of

ON = pytest.mark.parametrize("device", ["cpu", *(pytest.param(device, marks=pytest.mark.slow) for device in DEVICES)])
LATTICE = LatticeMDP(Lattice([np.arange(10.0)]), walk, 2)
PROBLEMS: dict[str, Problem] = {
    "table": TAXI,
    "map": slippery(8),
    "map without end": slippery(8, terminals=False),
    "lattice": LATTICE,
}


@ON
@pytest.mark.parametrize("name", PROBLEMS)
def test_a_device_gives_the_answer_of_the_cpu(name: str, device: str) -> None:
    mdp = PROBLEMS[name]
    with using(device):
        there = device_iteration(mdp, 0.9, 1e-9, device)
        single = device_iteration(mdp, 0.9, 1e-2, device, precision="float32")
    here = solve(mdp, 0.9, 1e-9)
    np.testing.assert_allclose(there.value, here.value, rtol=0, atol=2e-9)
    assert there.width <= 1e-9
    assert (there.lower <= here.upper).all()
    assert (here.lower <= there.upper).all()
    np.testing.assert_allclose(single.value, here.value, rtol=0, atol=1e-2)
    assert (single.lower <= here.upper).all()
    assert (here.lower <= single.upper).all()


@ON
@pytest.mark.parametrize("name", PROBLEMS)
def test_a_block_on_a_device_is_so_many_backups(name: str, device: str) -> None:
    mdp = PROBLEMS[name]
    value = np.random.default_rng(0).normal(size=mdp.num_states)
    expected = value
    for _ in range(BLOCK):
        expected = bellman(mdp, expected, 0.9)
    with using(device):
        sweeps = sweeps_of([verified_task("test", mdp, 0.9, 1e-6)], torch.device(device), torch.float64)
        moved, _ = block(sweeps._replace(continuing=False), torch.tensor(value, device=device)[:, None])
        found = on_host(moved[:, 0]).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(
    st.one_of(mdps(differing_actions=True), grids()),
    st.sampled_from([0.0, 0.5, 0.9]),
    st.sampled_from(["float64", "float32"]),
)
def test_bounds_enclose_the_optimum_in_either_precision(mdp: Problem, gamma: float, precision: Any) -> None:
    table = mdp.tabular if isinstance(mdp, GridMDP) else mdp
    assert isinstance(table, TabularMDP)
    solution = device_iteration(mdp, gamma, 1e-3, precision=precision)
    exact = rational_optimum(table, gamma)
    assert_encloses(solution.lower, solution.upper, exact)
    assert_certified(table, solution, exact)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEMS)
def test_a_block_reads_no_number_back(name: str) -> None:
    # A tensor on "meta" has no numbers at all: whatever reads one, to decide something or to copy it, raises.
    mdp = PROBLEMS[name]
    goals = [verified_task("test", mdp, gamma, 1e-6) for gamma in (0.5, 0.9)]
    sweeps = sweeps_of(goals, torch.device("meta"), torch.float32)
    value, spread = block(sweeps, torch.zeros(mdp.num_states, 2, device="meta"))
    assert value.shape == (mdp.num_states, 2)
    assert spread.shape == (2,)


class Reads(TorchDispatchMode):
    """Counts what makes the host wait."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_host_reads_one_number_a_block(name: str) -> None:
    with Reads() as reads:
        solution = device_iteration(PROBLEMS[name], 0.9, 1e-6)
    assert reads.count == solution.iterations / BLOCK


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", PROBLEMS)
def test_many_discounts_on_a_device_give_the_answers_of_the_cpu(name: str, device: str) -> None:
    mdp, gammas = PROBLEMS[name], [0.5, 0.9]
    with using(device):
        there = solve_batch(mdp, gammas, tolerance=1e-9, device=device)
    for row, gamma in enumerate(gammas):
        np.testing.assert_allclose(there.value[row], solve(mdp, gamma, 1e-9).value, rtol=0, atol=2e-9)


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_many_rewards_on_a_device_give_the_answers_of_the_cpu(device: str) -> None:
    rewards = np.random.default_rng(0).normal(size=(3, FROZEN_LAKE.num_states, FROZEN_LAKE.num_actions))
    with using(device):
        there = solve_batch(FROZEN_LAKE, 0.9, rewards, 1e-9, device)
    np.testing.assert_allclose(there.value, solve_batch(FROZEN_LAKE, 0.9, rewards, 1e-9).value, rtol=0, atol=2e-9)


def test_batches_of_maps_are_swept_as_maps() -> None:
    grid = slippery(8)
    batch = solve_batch(grid, [0.5, 0.9, 0.95], tolerance=1e-9)
    assert "tabular" not in vars(grid)
    for row, gamma in enumerate([0.5, 0.9, 0.95]):
        np.testing.assert_allclose(batch.value[row], solve(grid, gamma, 1e-9).value, rtol=0, atol=2e-9)
    doubled = solve_batch(grid, 0.9, 2 * grid.tabular.expected_reward[None], tolerance=1e-9)
    np.testing.assert_allclose(doubled.value[0], 2 * batch.value[1], rtol=0, atol=1e-8)


@ON
def test_solve_goes_to_a_device_when_asked(device: str) -> None:
    with using(device):
        solution = solve(FROZEN_LAKE, 0.9, 1e-9, device=device)
    assert solution.method == "device iteration"
    assert solution.reason == f"asked to run on {device}: all states at once, without waiting for the host"
    with pytest.raises(ValueError, match="method 'gauss-seidel' runs on the CPU: leave it out, or leave out device"):
        solve(FROZEN_LAKE, 0.9, method="gauss-seidel", device="cpu")


@pytest.mark.parametrize("device", ["quantum", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(ValueError, match=f"device '{device}' cannot be used"):
        device_iteration(chain(3), 0.9, device=device)


def test_what_a_precision_cannot_reach_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the smallest that device_iteration in float32 can certify .* is \d\.\de-\d"):
        device_iteration(FROZEN_LAKE, 0.99, 1e-12, precision="float32")
    half: Any = "float16"
    with pytest.raises(ValueError, match="precision 'float16': choose float64 or float32"):
        device_iteration(FROZEN_LAKE, 0.9, precision=half)
