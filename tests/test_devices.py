"""The pretend device refuses what a GPU refuses and counts what makes the host wait; solvers run on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from rlkit.devices import usable_device
from rlkit.experiments.benchmarks import launches
from rlkit.experiments.benchmarks.pretend_device import (
    NAME,
    HostWaits,
    PretendGraph,
    allowing_waits,
    forbidding_waits,
    pretending,
)
from rlkit.mdp import GridMDP
from rlkit.planning import device_iteration, solve
from rlkit.planning.methods.device_iteration import BLOCK
from rlkit.schedules import SCHEDULES, factor

pytestmark = pytest.mark.slow  # the first operation on the device imports much of torch


def there(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers).to(NAME)


def test_the_device_is_usable_in_its_context_and_computes_as_the_cpu() -> None:
    with pretending():
        device = usable_device(NAME)
        x = torch.arange(6.0, device=device).view(2, 3).requires_grad_()
        loss = (x @ x.mT).exp().log().sum()
        (slope,) = torch.autograd.grad(loss, x)
        assert (loss.device.type, slope.device.type) == (NAME, NAME)
        y = torch.arange(6.0).view(2, 3).requires_grad_()
        (expected,) = torch.autograd.grad((y @ y.mT).exp().log().sum(), y)
        assert torch.equal(slope.cpu(), expected)


WAITS: dict[str, Callable[[torch.Tensor], Any]] = {
    "item": lambda x: x[0].item(),
    "float": lambda x: float(x[0]),
    "bool": lambda x: bool((x > 0).any()),
    "if": lambda x: 1 if x[0] > 0 else 0,
    "tolist": lambda x: x.tolist(),
    "equal": lambda x: torch.equal(x, x),
    "to the host": lambda x: x.cpu(),
    "into a tensor of the host": lambda x: torch.zeros(3).copy_(x),
    "from a list": lambda x: x + torch.tensor([1.0, 2.0, 3.0], device=x.device),
    "from the host": lambda x: torch.zeros_like(x).copy_(torch.ones(3)),
    "an index from a list": lambda x: x[[0, 2]],
    "nonzero": lambda x: x.nonzero(),
    "a mask": lambda x: x[x > 0],
    "masked_select": lambda x: x.masked_select(x > 0),
    "assigned by a mask": lambda x: x.clone().__setitem__(x > 0, x[:1].expand(2)),
    "unique": lambda x: x.unique(),
    "repeats": lambda x: x.repeat_interleave(torch.ones_like(x).long()),
}


@pytest.mark.parametrize("what", WAITS)
def test_what_makes_the_host_wait_is_counted_and_refused(what: str) -> None:
    with pretending() as log:
        x = there(1.0, -2.0, 3.0)
        log.clear()
        with forbidding_waits(), pytest.raises(HostWaits, match=r"test_devices|outside the package"):
            WAITS[what](x)
        with forbidding_waits(), allowing_waits():
            WAITS[what](x)
        assert log.waits


def test_what_does_not_wait_is_allowed() -> None:
    with pretending() as log:
        x = there(1.0, -2.0, 3.0)
        log.clear()
        with forbidding_waits():
            y = torch.where(x > 0, x, 0.0)[torch.arange(2, device=x.device)].masked_fill(x[:2] > 2, 7.0)
            y[0] = 5.0
            y.sort()
            torch.zeros(3, device=x.device).scatter_(0, torch.argsort(x), x)
        assert not log.waits


def test_tensors_of_two_devices_are_refused() -> None:
    with pretending():
        x = there(1.0, 2.0)
        with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
            x + torch.ones(2)
        with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
            x.gather(0, torch.zeros(2, dtype=torch.int64))
        with pytest.raises(TypeError, match=r"use Tensor\.cpu\(\) first"):
            x.numpy()
        assert (x * torch.tensor(2.0)).cpu().tolist() == [2.0, 4.0]  # a single number may come from the host


def test_views_and_allocations_are_no_launches() -> None:
    with pretending() as log:
        x = there(1.0, 2.0, 3.0, 4.0)
        log.clear()
        torch.empty(3, device=x.device)
        y = x.view(2, 2).mT[0].unsqueeze(0)
        assert not log.launches
        y += 1.0
        _ = x * 2.0
        assert log.launches.total() == 2


def test_a_graph_reads_and_writes_where_it_was_recorded_and_freezes_numbers_of_the_host() -> None:
    with pretending():
        total, step, rate = there(0.0), there(1.0), [1.0]
        graph = PretendGraph()

        def work() -> None:
            scaled = step * rate[0]
            total.add_(scaled.view(1))
            step.add_(1.0)

        graph.capture(work)
        rate[0] = 100.0
        graph.replay()
        graph.replay()
        assert (total.tolist(), step.tolist()) == ([6.0], [4.0])
        with pytest.raises(HostWaits, match="a read"):
            PretendGraph().capture(lambda: float(total))


def test_schedules_of_a_device_are_those_of_the_host() -> None:
    for schedule in SCHEDULES:
        for done in (0.0, 0.2, 1 / 3, 0.5, 0.9, 1.0):
            found = factor(schedule, torch.tensor(done, dtype=torch.float64))
            assert float(found) == pytest.approx(factor(schedule, done), abs=1e-15), schedule


def test_solvers_run_on_a_device_and_read_one_number_a_block() -> None:
    terminal = np.zeros((5, 6), bool)
    terminal[4, 5] = True
    mdp = GridMDP(open=np.ones((5, 6), bool), terminal=terminal, entry_reward=terminal.astype(float))
    with pretending() as log:
        found = device_iteration(mdp, 0.9, 1e-8, device=NAME)
        reads = [wait for wait in log.waits.elements() if wait.what.startswith("a read")]
        assert len(reads) == found.iterations / BLOCK
    np.testing.assert_allclose(found.value, solve(mdp, 0.9, 1e-8).value, rtol=0, atol=2e-8)


@pytest.mark.slow
@pytest.mark.parametrize("name", launches.CASES)
def test_an_iteration_launches_at_most_half_of_the_operations_that_were_first_counted(name: str) -> None:
    assert launches.count(launches.CASES[name], iterations=1).total <= launches.FIRST[name] / 2


def test_launches_do_not_depend_on_the_number_of_seeds() -> None:
    case = launches.CASES["A2C, CartPole"]
    one, many = launches.count(case, iterations=1, seeds=1), launches.count(case, iterations=1, seeds=3)
    assert one == many
    assert (one.steps, one.updates) == (8, 1)
    assert one.total == one.in_steps + one.in_updates + one.per_play * one.steps
    assert one.per_step <= 16  # of a step of the cart-pole
