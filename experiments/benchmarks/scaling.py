"""The cost of a seed by how many train together, and the gain of two processes.

``python -m rlkit.experiments.benchmarks.scaling`` prints both tables.

The first table has the CPU time of one thread for an environment step of one seed, where S seeds train as one
computation. The second has the gain of two processes over one, by the clock: both train the same agents at once, on one
thread each. It needs two idle cores.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack

import torch

from .engine import BEFORE, CASES
from .run import answer, worker

COMMAND = "python -m rlkit.experiments.benchmarks.scaling"
SEEDS = (1, 4, 16, 64, 256)
TRAININGS = 64  # one-seed trainings of a measurement, S of them side by side, at least
STEPS = {"ppo": 2048, "dqn": 1000}  # of each seed that are measured
SEEDS_TOGETHER = 16  # that each of two processes trains
STEPS_TOGETHER = {"ppo": 131_072, "dqn": 16_384}  # of each seed: some seconds, because the start of a second counts


def step_seconds(name: str, seeds: int, steps: int) -> float:
    """CPU seconds of an environment step of one seed in agents of ``seeds`` seeds."""
    case, taken, counted = CASES[name], 0.0, 0
    for _ in range(max(TRAININGS // seeds, 1)):
        agent = case.algorithm("CartPole-v1", seeds=seeds, device="cpu", engine="compiled", **case.settings)
        agent.learn(case.before or BEFORE * agent.config.n_steps * agent.env.num_envs)
        before, began = agent.num_timesteps, time.process_time()
        agent.learn(steps)
        taken += time.process_time() - began
        counted += seeds * (agent.num_timesteps - before)
    return taken / counted


def seed_table(repetitions: int, every_seeds: Sequence[int] = SEEDS, steps: int | None = None) -> list[str]:
    """The lines of the first table: medians over repetitions in which the numbers of seeds take turns."""
    lines = ["| CPU µs of a step and a seed | " + " | ".join(f"{seeds}" for seeds in every_seeds) + " |"]
    lines.append("| --- " * (1 + len(every_seeds)) + "|")
    for name in STEPS:
        found = [
            [1e6 * step_seconds(name, seeds, steps or STEPS[name]) for seeds in every_seeds] for _ in range(repetitions)
        ]
        cells = [statistics.median(column) for column in zip(*found, strict=True)]
        lines.append(f"| {name.upper()} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |")
        lines.append("| to one seed | " + " | ".join(f"{cell / cells[0]:.2f}" for cell in cells) + " |")
    return lines


def seconds_together(processes: Sequence[subprocess.Popen[str]]) -> float:
    """Seconds by the clock until all of some workers have done one repetition at the same time."""
    began = time.perf_counter()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        answer(process)
    return time.perf_counter() - began


def process_gain(side: str, arguments: dict[str, int], repetitions: int) -> list[float]:
    """How many times as fast two processes are as one, by repetition: 2 if neither slows the other."""
    with ExitStack() as stack:
        two = [stack.enter_context(worker(side, arguments)) for _ in range(2)]
        for process in two:
            answer(process)  # it is ready
        return [2 * seconds_together(two[:1]) / seconds_together(two) for _ in range(repetitions)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="numbers of seeds")
    parser.add_argument("--steps", type=int, help="environment steps of a seed that are measured")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print("\n".join(seed_table(options.repetitions, options.seeds, options.steps)), flush=True)
    print("\n| two processes | gain: least | median | greatest |\n| --- | --- | --- | --- |")
    for name, steps in STEPS_TOGETHER.items():
        together = {"seeds": SEEDS_TOGETHER, "steps": options.steps or steps}
        gains = process_gain(f"shaped-{name}", together, options.repetitions)
        print(f"| {name.upper()} | {min(gains):.2f} | {statistics.median(gains):.2f} | {max(gains):.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
