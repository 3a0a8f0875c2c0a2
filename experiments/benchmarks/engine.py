"""The compiled engine beside plain torch, in turn, on one thread: ``python -m rlkit.experiments.benchmarks.engine``.

Both train the same agents on CartPole. A repetition measures both one after the other, so that a busy machine slows
both; its ratio is of environment steps per second of processor time. Compilation is not in them: the first iterations
of each run are not measured.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from rlkit.agents import A2C, PPO, REINFORCE, Agent, EngineName

from ..report.terminal import say

COMMAND = "python -m rlkit.experiments.benchmarks.engine"
ENGINES: tuple[EngineName, ...] = ("compiled", "torch")
BEFORE = 2  # iterations before those that are measured


class EngineCase(NamedTuple):
    """An agent, and the environment steps of each seed that are measured."""

    algorithm: type[Agent]
    settings: dict[str, Any]
    steps: int


CASES = {
    # the shape of PureJaxRL's PPO: 64-64 tanh, 4 copies x 128 steps, 4 epochs of 4 minibatches
    "ppo": EngineCase(
        PPO,
        {
            "num_envs": 4,
            "n_steps": 128,
            "n_epochs": 4,
            "batch_size": 128,
            "learning_rate": 2.5e-4,
            "clip_range_vf": 0.2,
            "ent_coef": 0.01,
        },
        8192,
    ),
    "a2c": EngineCase(A2C, {"num_envs": 4}, 4096),
    "reinforce": EngineCase(REINFORCE, {"num_envs": 4, "n_steps": 128}, 4096),
}


def rate(case: EngineCase, seeds: int, engine: EngineName, steps: int) -> float:
    """Train one agent; return environment steps of all seeds per second of processor time."""
    agent = case.algorithm("CartPole-v1", seeds=seeds, device="cpu", engine=engine, **case.settings)
    agent.learn(BEFORE * agent.config.n_steps * agent.env.num_envs)
    before, began = agent.num_timesteps, time.process_time()
    agent.learn(steps)
    return seeds * (agent.num_timesteps - before) / (time.process_time() - began)


def measure(case: EngineCase, seeds: int, repetitions: int, steps: int | None = None) -> dict[EngineName, list[float]]:
    """Measure both engines in turn; the rates of each by repetition."""
    rates: dict[EngineName, list[float]] = {engine: [] for engine in ENGINES}
    for _ in range(repetitions):
        for engine in ENGINES:
            rates[engine].append(rate(case, seeds, engine, steps or case.steps))
    return rates


def line(name: str, seeds: int, rates: dict[EngineName, list[float]]) -> str:
    """Return the medians and the ratios as text."""
    compiled, plain = (rates[engine] for engine in ENGINES)
    ratios = sorted(one / other for one, other in zip(compiled, plain, strict=True))
    return (
        f"{name:10} {seeds:3} seeds  compiled {statistics.median(compiled):9,.0f} steps/s  torch "
        f"{statistics.median(plain):9,.0f} steps/s  ratio {statistics.median(ratios):.1f} "
        f"({ratios[0]:.1f} to {ratios[-1]:.1f})"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each algorithm and number of seeds."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="The compiled engine beside plain torch.")
    parser.add_argument("names", nargs="*", choices=[*CASES, []], help="algorithms; all without any")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--steps", type=int, help="environment steps per seed that are measured")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for name in options.names or CASES:
        for seeds in options.seeds:
            rates = measure(CASES[name], seeds, options.repetitions, options.steps)
            say(line(name, seeds, rates))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
