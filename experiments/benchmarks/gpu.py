"""Test and measure rlkit on one GPU in under five minutes; without one, test on a pretend device and measure nothing.

It runs the tests of devices, steps the cart-pole alone, trains PPO and DQN with many seeds as recorded graphs and
without, iterates values on a million states, and compares float32 products with TF32 and bfloat16 ones. On a machine
without a GPU it runs the same tests and the same functions at tiny sizes on the pretend device, and counts launches.

    python -m rlkit.experiments.benchmarks.gpu
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from rlkit.agents import DQN, PPO
from rlkit.agents.core.captured import CapturedIteration, Graph
from rlkit.agents.core.terms import Terms
from rlkit.agents.core.training_state import TrainingState
from rlkit.envs import BatchedEnv, CartPole
from rlkit.mdp import GridMDP
from rlkit.nn.matmul import MatmulBackend
from rlkit.planning.certify import verified_task
from rlkit.planning.methods.device_iteration import BLOCK, block, sweeps_of
from rlkit.statistics import mean_interval

from ..report.ledger import Cell, ReportTable
from ..report.terminal import show_table
from .launches import CASES, count, table
from .pretend_device import NAME, PretendGraph, pretending

ROOT = Path(__file__).resolve().parents[2]
TESTS = ("tests/agents/test_captured.py", "tests/planning/test_device_iteration.py", "tests/test_devices.py")
SEEDS = (1, 16, 256, 1024)
MakeGraph = Callable[[], Graph] | None  # None: CUDA graphs


class Sizes(NamedTuple):
    """How much is measured."""

    copies: tuple[int, ...]  # of the cart-pole that is stepped alone
    seeds: tuple[int, ...]
    seconds: float  # of every timing
    side: int  # of the map whose values are iterated, in tiles
    learning_seeds: int
    learning_steps: int


ON_GPU = Sizes((1_024, 16_384, 262_144), SEEDS, 3.0, 1_000, 64, 100_000)
TINY = Sizes((4,), (2,), 0.0, 6, 2, 64)

PPO_SETTINGS: dict[str, Any] = {"num_envs": 8, "n_steps": 32, "batch_size": 256, "n_epochs": 4}
DQN_SETTINGS: dict[str, Any] = {
    "num_envs": 8, "learning_starts": 256, "train_freq": 8, "gradient_steps": 8, "batch_size": 64,
    "buffer_size": 10_000, "target_update_interval": 256,
}  # fmt: skip


class Stepping:
    """The cart-pole stepped alone, 64 steps an iteration; what ``CapturedIteration`` needs of an agent."""

    STEPS = 64

    def __init__(self, copies: int, device: str) -> None:
        self.env = BatchedEnv(CartPole(), [0], copies, device)
        self.terms = Terms((), [0], self.env.device)
        self.training_state = TrainingState([0], copies, self.env.device)
        self.action = torch.zeros(1, copies, dtype=torch.int64, device=self.env.device)

    def branch(self) -> Hashable:
        """Return that every iteration is alike."""
        return None

    def iteration(self) -> None:
        """Step every copy, with the action of the angle's sign."""
        for _ in range(self.STEPS):
            self.action.copy_(self.env.obs[..., 2] > 0)
            self.env.step(self.action)


def wait(device: str) -> None:
    """Wait until the device has done everything."""
    if device == "cuda":
        torch.cuda.synchronize()


@contextmanager
def no_waits(device: str) -> Iterator[None]:
    """Raise in the context where the host waits for a GPU."""
    if device != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def timed(iteration: Callable[[], object], device: str, seconds: float, warm: int = 4) -> float:
    """Return the seconds of one call: several before the clock starts, then for at least ``seconds``."""
    with no_waits(device):
        for _ in range(warm):
            iteration()
    wait(device)
    done, began = 0, time.perf_counter()
    while done == 0 or time.perf_counter() - began < seconds:
        with no_waits(device):
            for _ in range(4):
                iteration()
        wait(device)
        done += 4
    return (time.perf_counter() - began) / done


def stepping(device: str, graph: MakeGraph, sizes: Sizes) -> ReportTable:
    """Time the cart-pole alone."""
    rows: list[tuple[Cell, ...]] = []
    for copies in sizes.copies:
        rates = []
        for captured in (False, True):
            alone: Any = Stepping(copies, device)
            alone.training_state.end = 1
            iteration = CapturedIteration(alone, graph) if captured else alone.iteration
            rates.append(copies * Stepping.STEPS / timed(iteration, device, sizes.seconds))
        rows.append((copies, *rates))
    return ReportTable("stepping", "CartPole alone, steps/s", ("copies", "eager", "graph"), tuple(rows), 3)


def training(device: str, graph: MakeGraph, sizes: Sizes) -> ReportTable:
    """Time PPO and DQN, environments and updates together, in steps of all seeds and copies."""
    rows: list[tuple[Cell, ...]] = []
    for algorithm, settings in ((PPO, PPO_SETTINGS), (DQN, DQN_SETTINGS)):
        for seeds in sizes.seeds:
            rates = []
            for captured in (False, True):
                agent: Any = algorithm(CartPole(), seeds=seeds, device=device, **settings)
                agent._begin(10**9, 10**9)
                iteration = CapturedIteration(agent, graph) if captured else agent.iteration
                for _ in range(8):  # past DQN's first steps without updates
                    iteration()
                before = agent.num_timesteps
                iteration()
                steps = (agent.num_timesteps - before) * seeds
                rates.append(steps / timed(iteration, device, sizes.seconds))
            rows.append((algorithm.__name__, seeds, *rates))
    return ReportTable(
        "training", "CartPole, steps/s of all seeds", ("agent", "seeds", "eager", "graph"), tuple(rows), 3
    )


def values(device: str, sizes: Sizes) -> ReportTable:
    """Time value iteration on a map, against copying memory on the same device."""
    side = sizes.side
    terminal = np.zeros((side, side), bool)
    terminal[-1, -1] = True
    mdp = GridMDP(open=~np.zeros((side, side), bool), terminal=terminal, entry_reward=terminal.astype(float))
    rows: list[tuple[Cell, ...]] = []
    for dtype in (torch.float32, torch.float64):
        sweeps = sweeps_of([verified_task("gpu", mdp, 0.99, 1e-3)], torch.device(device), dtype)
        value = torch.zeros(mdp.num_states, 1, dtype=dtype, device=device)
        seconds = timed(partial(block, sweeps, value), device, sizes.seconds) / BLOCK
        # what a sweep must read and write at least: V, V', and of each direction a neighbor, a reward and a flag
        needed = mdp.num_states * (2 * dtype.itemsize + 4 * (8 + 2 * dtype.itemsize))
        source = torch.zeros(max(needed // 8, 1), dtype=torch.float32, device=device)
        copy = torch.empty_like(source)
        copying = timed(partial(copy.copy_, source), device, sizes.seconds)
        rows.append(
            (str(dtype).removeprefix("torch."), seconds, needed / seconds / 1e9, 8 * len(source) / copying / 1e9)
        )
    columns = ("precision", "seconds a sweep", "GB/s needed", "GB/s of a copy")
    return ReportTable("values", f"Value iteration, {mdp.num_states:,} states", columns, tuple(rows), 3)


@contextmanager
def products(precision: str) -> Iterator[None]:
    """Multiply matrices in "float32", "TF32" or "bfloat16" in the context; networks made in it stay so."""
    layers: Any = import_module("rlkit.nn.layers")
    before, own = torch.get_float32_matmul_precision(), layers.TORCH
    torch.set_float32_matmul_precision("high" if precision == "TF32" else "highest")
    if precision == "bfloat16":
        layers.TORCH = MatmulBackend(_bfloat16_affine, _bfloat16_product)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        layers.TORCH = own


def _bfloat16_affine(bias: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return torch.baddbmm(bias.bfloat16(), x.bfloat16(), weight.bfloat16()).float()


def _bfloat16_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.bmm(a.bfloat16(), b.bfloat16()).float()


def precisions(device: str, graph: MakeGraph, sizes: Sizes) -> ReportTable:
    """Train PPO with products of three precisions: the time, and the greedy returns with their interval over seeds."""
    rows: list[tuple[Cell, ...]] = []
    for precision in ("float32", "TF32", "bfloat16"):
        with products(precision):
            agent: Any = PPO(CartPole(), seeds=sizes.learning_seeds, device=device, preset=None, **PPO_SETTINGS)
            agent.iteration = CapturedIteration(agent, graph)
            began = time.perf_counter()
            agent.learn(sizes.learning_steps)
            wait(device)
            seconds = time.perf_counter() - began
            returns = agent.evaluate(10).mean(axis=1)
        rows.append((precision, seconds, mean_interval(returns)))
    columns = ("products", "seconds", "greedy return")
    title = f"PPO, CartPole, {sizes.learning_seeds} seeds, {sizes.learning_steps:,} steps"
    return ReportTable("precisions", title, columns, tuple(rows), 4)


def run_tests(chosen: str | None) -> int:
    """Run the tests of devices; those on a GPU run where there is one. The exit code of pytest."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    return subprocess.run([*command, *(["-k", chosen] if chosen else [])], cwd=ROOT, check=False).returncode


def main(args: Sequence[str] | None = None) -> int:
    """Test, measure and show the tables; the exit code is that of the tests."""
    parser = argparse.ArgumentParser(prog="rlkit.experiments.benchmarks.gpu", description=__doc__)
    parser.add_argument("--no-tests", action="store_true", help="measure only")
    options = parser.parse_args(args)
    torch.set_num_threads(1)
    if torch.cuda.is_available():
        failed = 0 if options.no_tests else run_tests(None)
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}")
        show_all("cuda", None, ON_GPU)
        return failed
    print("This machine has no GPU. Nothing is measured: the same code runs on a pretend device at tiny sizes.")
    failed = 0 if options.no_tests else run_tests("dqn-pole or ppo-pole or devices")
    with pretending():
        for measured in measurements(NAME, PretendGraph, TINY):
            print(f"{measured.title}: ran")
    show_table(table({name: count(CASES[name]) for name in ("PPO, CartPole", "DQN, CartPole")}))
    return failed


def measurements(device: str, graph: MakeGraph, sizes: Sizes) -> Iterator[ReportTable]:
    """Measure one after the other."""
    yield stepping(device, graph, sizes)
    yield training(device, graph, sizes)
    yield values(device, sizes)
    yield precisions(device, graph, sizes)


def show_all(device: str, graph: MakeGraph, sizes: Sizes) -> None:
    """Show every table as soon as it is there."""
    for measured in measurements(device, graph, sizes):
        show_table(measured)


if __name__ == "__main__":
    raise SystemExit(main())
