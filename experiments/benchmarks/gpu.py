"""Test and measure rlkit on one GPU in under five minutes; without one, test on a pretend device and measure nothing.

It runs every test that takes a device (``pytest --device cuda`` on the files that import ``tests/devices.py``), for at
most ``TESTS_SECONDS``: whole trainings, graphs, files and attacks beside the CPU's, streams, networks, the cart-pole,
grids and solvers. The other tests make their tensors on the CPU. Then it steps the cart-pole alone, trains PPO and DQN
with many seeds on the engines "torch" and "captured", iterates values on a million states, compares float32 products
with TF32 and bfloat16 ones, and trains DQN with 1,024 seeds until the mean greedy return is 475, in the time that is
left. Meanwhile stable-baselines3, if it is installed, trains one DQN in another process on one thread of the CPU. Last
come the aims with their verdicts, and all tables as Markdown. On a machine without a GPU it runs some of these tests
and the same functions at tiny sizes on the pretend device, and counts launches.

    python -m rlkit.experiments.benchmarks.gpu
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from rlkit.agents import DQN, PPO
from rlkit.agents.core.captured import CapturedEngine
from rlkit.agents.core.compiled_engine import EngineName
from rlkit.agents.core.torch_engine import TorchEngine
from rlkit.agents.core.training_state import TrainingState
from rlkit.envs import BatchedEnv, CartPole
from rlkit.mdp import GridMDP
from rlkit.nn.matmul import MatmulBackend
from rlkit.planning.certify import verified_task
from rlkit.planning.methods.device_iteration import BLOCK, block, sweeps_of
from rlkit.statistics import mean_interval

from ..report.ledger import Cell, ReportTable
from ..report.terminal import show_table
from ..workflows.threads import one_thread_environment
from .cases import sb3_model
from .launches import CASES, count, table
from .pretend_device import NAME, pretending
from .run import markdown

COMMAND = "rlkit.experiments.benchmarks.gpu"
ROOT = Path(__file__).resolve().parents[2]
SEEDS = (1, 16, 256, 1024)
ENGINES: tuple[EngineName, ...] = ("torch", "captured")

# seconds; the measurements before the last one take about 90 by estimate
TESTS_SECONDS = 90.0
SB3_SECONDS = 200.0  # of a training beside all of it
DEADLINE = 265.0  # since the start, when DQN with 1,024 seeds stops at its next evaluation
LAST_ANSWER = 285.0  # since the start, until when stable-baselines3's result is waited for

GREEDY_RETURN = 475.0  # of 500, what DQN with 1,024 seeds is trained to
SB3_STEPS = 50_000  # of the RL Zoo for CartPole-v1


class Sizes(NamedTuple):
    """How much is measured."""

    copies: tuple[int, ...]  # of the cart-pole that is stepped alone
    seeds: tuple[int, ...]
    seconds: float  # of every timing
    side: int  # of the map whose values are iterated, in tiles
    learning_seeds: int  # of PPO with products of three precisions
    learning_steps: int
    dqn_seeds: int  # of DQN that is trained to ``GREEDY_RETURN``
    dqn_steps: int  # at most
    dqn_every: int  # steps between two evaluations


ON_GPU = Sizes((1_024, 16_384, 262_144), SEEDS, 2.0, 1_000, 64, 100_000, 1_024, 50_000, 2_500)
TINY = Sizes((4,), (2,), 0.0, 6, 2, 64, 2, 1_600, 800)

PPO_SETTINGS: dict[str, Any] = {"num_envs": 8, "n_steps": 32, "batch_size": 256, "n_epochs": 4}
DQN_SETTINGS: dict[str, Any] = {
    "num_envs": 8, "learning_starts": 256, "train_freq": 8, "gradient_steps": 8, "batch_size": 64,
    "buffer_size": 10_000, "target_update_interval": 256,
}  # fmt: skip
# those that were tuned for 50,000 steps, see docs/results/learning.md; no transition is overwritten
GREEDY_SETTINGS: dict[str, Any] = {"preset": "tuned", "n_steps": 5, "learning_rate": 2e-3, "buffer_size": 50_000}


class SB3Run(NamedTuple):
    """A training of stable-baselines3's DQN on one thread of the CPU."""

    steps: int  # fewer than were asked for where it was cut
    seconds: float
    greedy_return: float  # after it


class Stepping:
    """The cart-pole stepped alone, 64 steps an iteration; what an engine needs of an agent."""

    STEPS = 64

    def __init__(self, copies: int, device: str) -> None:
        self.env = BatchedEnv(CartPole(), [0], copies, device)
        self.device = self.env.device
        self.training_state = TrainingState([0], copies, self.device)
        self.action = torch.zeros(1, copies, dtype=torch.int64, device=self.device)

    def branch(self) -> Hashable:
        """Return that every iteration is alike."""
        return None

    def torch_iteration(self) -> None:
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


def stepping(device: str, sizes: Sizes) -> ReportTable:
    """Time the cart-pole alone."""
    rows: list[tuple[Cell, ...]] = []
    for copies in sizes.copies:
        rates = []
        for engine in (TorchEngine("as told"), CapturedEngine()):
            alone: Any = Stepping(copies, device)
            seconds = timed(partial(engine.iteration, alone), device, sizes.seconds)
            rates.append(copies * Stepping.STEPS / seconds)
        rows.append((copies, *rates))
    return ReportTable("stepping", "CartPole alone, steps/s", ("copies", *ENGINES), tuple(rows), 3)


def training(device: str, sizes: Sizes) -> ReportTable:
    """Time PPO and DQN, environments and updates together, in steps of all seeds and copies."""
    rows: list[tuple[Cell, ...]] = []
    for algorithm, settings in ((PPO, PPO_SETTINGS), (DQN, DQN_SETTINGS)):
        for seeds in sizes.seeds:
            rates = []
            for engine in ENGINES:
                agent: Any = algorithm(CartPole(), seeds=seeds, device=device, engine=engine, **settings)
                agent._begin(10**9, 10**9)
                for _ in range(8):  # past DQN's first steps without updates
                    agent.iteration()
                before = agent.num_timesteps
                agent.iteration()
                steps = (agent.num_timesteps - before) * seeds
                rates.append(steps / timed(agent.iteration, device, sizes.seconds))
            rows.append((algorithm.__name__, seeds, *rates))
    return ReportTable("training", "CartPole, steps/s of all seeds", ("agent", "seeds", *ENGINES), tuple(rows), 3)


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


def precisions(device: str, sizes: Sizes) -> ReportTable:
    """Train PPO with products of three precisions: the time, and the greedy returns with their interval over seeds."""
    rows: list[tuple[Cell, ...]] = []
    for precision in ("float32", "TF32", "bfloat16"):
        with products(precision):
            agent: Any = PPO(CartPole(), seeds=sizes.learning_seeds, device=device, engine="captured", **PPO_SETTINGS)
            began = time.perf_counter()
            agent.learn(sizes.learning_steps)
            wait(device)
            seconds = time.perf_counter() - began
            returns = agent.evaluate(10).mean(axis=1)
        rows.append((precision, seconds, mean_interval(returns)))
    columns = ("products", "seconds", "greedy return")
    title = f"PPO, CartPole, {sizes.learning_seeds} seeds, {sizes.learning_steps:,} steps"
    return ReportTable("precisions", title, columns, tuple(rows), 4)


def learning(device: str, sizes: Sizes, deadline: float, sb3: Callable[[], SB3Run | None]) -> ReportTable:
    """Time DQN with replay until the greedy return, the mean of all seeds, is ``GREEDY_RETURN``, evaluations included.

    Args:
        device: where it is trained.
        sizes: its seeds and steps.
        deadline: of ``time.perf_counter``, when it stops at its next evaluation.
        sb3: gives the training of stable-baselines3 beside it.
    """
    agent = DQN(CartPole(), seeds=sizes.dqn_seeds, device=device, engine="captured", **GREEDY_SETTINGS)
    began, seconds, score = time.perf_counter(), 0.0, 0.0
    for _ in agent.training(sizes.dqn_steps, sizes.dqn_every):
        score = float(agent.evaluate(2).mean())
        now = time.perf_counter()
        seconds = now - began
        if score >= GREEDY_RETURN or now > deadline:
            break
    rows: list[tuple[Cell, ...]] = [("rlkit, captured", sizes.dqn_seeds, agent.num_timesteps, score, seconds)]
    if (other := sb3()) is not None:
        rows.append(("stable-baselines3, CPU", 1, other.steps, other.greedy_return, other.seconds))
    columns = ("library", "seeds", "steps of a seed", "greedy return", "seconds")
    return ReportTable("learning", f"DQN with replay, to greedy {GREEDY_RETURN:g}", columns, tuple(rows), 4)


def train_sb3(steps: int, limit: float) -> SB3Run:
    """Train stable-baselines3's DQN with the RL Zoo's settings on the CPU, and stop after ``limit`` seconds."""
    from stable_baselines3.common.evaluation import evaluate_policy

    model = sb3_model("dqn", steps)
    began = time.perf_counter()
    model.learn(steps, callback=lambda *_: time.perf_counter() - began < limit)
    seconds = time.perf_counter() - began
    return SB3Run(model.num_timesteps, seconds, float(np.mean(evaluate_policy(model, model.get_env(), 10)[0])))


@contextmanager
def sb3_beside() -> Iterator[Callable[[], SB3Run | None]]:
    """Train stable-baselines3's DQN in another process, if it is installed; yields what waits for its result."""
    if find_spec("stable_baselines3") is None:
        print("stable-baselines3 is not installed: nothing is compared with it")
        yield lambda: None
        return
    until = time.perf_counter() + LAST_ANSWER
    process = subprocess.Popen(
        [sys.executable, "-m", COMMAND, "--sb3"],
        stdout=subprocess.PIPE,
        text=True,
        env=one_thread_environment(CUDA_VISIBLE_DEVICES=""),
    )

    def result() -> SB3Run | None:
        try:
            steps, seconds, greedy_return = process.communicate(timeout=max(until - time.perf_counter(), 1.0))[
                0
            ].split()
        except (subprocess.TimeoutExpired, ValueError) as error:
            print(f"stable-baselines3 has no result: {error}")
            return None
        return SB3Run(int(steps), float(seconds), float(greedy_return))

    with process:
        try:
            yield result
        finally:
            process.kill()


def aims(measured: Mapping[str, ReportTable]) -> ReportTable:
    """Compare what was measured on a GPU with what was asked for."""
    rows: dict[str, Any] = {name: each.rows for name, each in measured.items()}
    stepped = max(rate for row in rows["stepping"] for rate in row[1:])
    trained = max(rate for row in rows["training"] if row[0] == PPO.__name__ for rate in row[2:])
    share = min(needed / copied for *_, needed, copied in rows["values"])
    compared = (
        _at_least("CartPole alone, steps/s", 20_000_000, stepped),
        _at_least("PPO end to end, steps/s of all seeds", 4_000_000, trained),
        _within_the_time_of_sb3(*rows["learning"]),
        _at_least("Value iteration, share of the bandwidth of a copy", 0.5, share),
    )
    return ReportTable("aims", "Aims for one H200", ("aim", "bound", "measured", "verdict"), compared, 3)


def _at_least(what: str, bound: float, measured: float) -> tuple[Cell, ...]:
    return what, f"at least {bound:,}", measured, "met" if measured >= bound else "missed"


def _within_the_time_of_sb3(rlkit: Any, other: Any = None) -> tuple[Cell, ...]:
    """Compare rows of ``learning``; the time of a training that was cut is a lower bound of a whole one's."""
    _, seeds, _, score, seconds = rlkit
    what = f"DQN with replay, {seeds:,} seeds, to greedy {GREEDY_RETURN:g}, seconds"
    if other is None:
        return what, "one DQN of stable-baselines3", seconds, "undecided: it is missing"
    _, _, steps, _, allowed = other
    bound = f"one DQN of stable-baselines3, {allowed:.3g}{'' if steps >= SB3_STEPS else ' or more'}"
    if score < GREEDY_RETURN:
        return what, bound, seconds, f"missed: {score:.0f}"
    if seconds > allowed and steps < SB3_STEPS:
        return what, bound, seconds, "undecided: it was cut"
    return what, bound, seconds, "met" if seconds <= allowed else "missed"


def tests_of_devices() -> list[str]:
    """Return the files whose tests take a device."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(path.relative_to(ROOT)) for path in files if "from devices import" in path.read_text(encoding="utf-8")]


def run_tests(device: str, chosen: str | None = None) -> int:
    """Run the tests that take a device, on this one; the exit code of pytest, 1 where they take too long."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--device", device, *tests_of_devices()]
    try:
        run = subprocess.run(
            [*command, *(["-k", chosen] if chosen else [])], cwd=ROOT, check=False, timeout=TESTS_SECONDS
        )
    except subprocess.TimeoutExpired:
        print(f"The tests were stopped after {TESTS_SECONDS:.0f} seconds.")
        return 1
    return run.returncode


def main(args: Sequence[str] | None = None) -> int:
    """Test, measure and show the tables; the exit code is that of the tests."""
    began = time.perf_counter()
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--no-tests", action="store_true", help="measure only")
    parser.add_argument("--sb3", action="store_true", help="only train stable-baselines3's DQN on the CPU")
    options = parser.parse_args(args)
    torch.set_num_threads(1)
    if options.sb3:
        print(*train_sb3(SB3_STEPS, SB3_SECONDS))
        return 0
    if torch.cuda.is_available():
        with sb3_beside() as sb3:
            failed = 0 if options.no_tests else run_tests("cuda")
            print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}")
            show_all("cuda", ON_GPU, began + DEADLINE, sb3)
        print(f"{time.perf_counter() - began:.0f} seconds in all")
        return failed
    print("This machine has no GPU. Nothing is measured: the same code runs on a pretend device at tiny sizes.")
    failed = 0 if options.no_tests else run_tests(NAME, "dqn-pole or ppo-pole")
    with pretending():
        for measured in measurements(NAME, TINY, math.inf, lambda: None):
            print(f"{measured.title}: ran")
    show_table(table({name: count(CASES[name]) for name in ("PPO, CartPole", "DQN, CartPole")}))
    return failed


def measurements(device: str, sizes: Sizes, deadline: float, sb3: Callable[[], SB3Run | None]) -> Iterator[ReportTable]:
    """Measure one after the other; the last one stops at its next evaluation after the deadline."""
    yield stepping(device, sizes)
    yield training(device, sizes)
    yield values(device, sizes)
    yield precisions(device, sizes)
    yield learning(device, sizes, deadline, sb3)


def show_all(device: str, sizes: Sizes, deadline: float, sb3: Callable[[], SB3Run | None]) -> dict[str, ReportTable]:
    """Show every table as soon as it is there, then the aims, and all of them again for a page."""
    measured: dict[str, ReportTable] = {}
    for each in measurements(device, sizes, deadline, sb3):
        show_table(each)
        measured[each.name] = each
    measured["aims"] = aims(measured)
    show_table(measured["aims"])
    for each in measured.values():
        print(f"\n{each.title}\n\n{markdown(each)}")
    return measured


if __name__ == "__main__":
    raise SystemExit(main())
