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

from rlkit.agents import A2C, DQN, PPO, REINFORCE, Agent, EngineName

from ..report.terminal import say

COMMAND = "python -m rlkit.experiments.benchmarks.engine"
ENGINES: tuple[EngineName, ...] = ("compiled", "torch")
BEFORE = 2  # iterations before those that are measured


class EngineCase(NamedTuple):
    """An agent, and the environment steps of each seed that are measured."""

    algorithm: type[Agent]
    settings: dict[str, Any]
    steps: int
    before: int | None = None  # steps before those that are measured; None: ``BEFORE`` iterations


DQN_STARTS = 256  # steps before the first update


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
    # the shape of PureJaxRL's DQN: 120-84 relu, 10 copies, an update of 128 transitions after each of their steps
    "dqn": EngineCase(
        DQN,
        {
            "num_envs": 10,
            "train_freq": 1,
            "batch_size": 128,
            "net_arch": (120, 84),
            "learning_rate": 2.5e-4,
            "buffer_size": 10_000,
            "target_update_interval": 500,
            "learning_starts": DQN_STARTS,
        },
        4000,
        2 * DQN_STARTS,
    ),
    # stable-baselines3's defaults: 64-64 relu, an update of 32 transitions after 4 steps
    "dqn-sb3": EngineCase(DQN, {"learning_starts": DQN_STARTS}, 2000, 2 * DQN_STARTS),
    # 256-256 relu, 128 updates of 64 transitions after 256 steps
    "dqn-zoo": EngineCase(DQN, {"preset": "rl-zoo", "learning_starts": DQN_STARTS}, 768, 2 * DQN_STARTS),
    # 128-128 relu, 128 updates of 128 transitions of 10 steps after 256 steps
    "dqn-tuned": EngineCase(DQN, {"preset": "tuned", "learning_starts": DQN_STARTS}, 768, 2 * DQN_STARTS),
}


def rate(case: EngineCase, seeds: int, engine: EngineName, steps: int) -> float:
    """Train one agent; return environment steps of all seeds per second of processor time."""
    agent = case.algorithm("CartPole-v1", seeds=seeds, device="cpu", engine=engine, **case.settings)
    agent.learn(case.before or BEFORE * agent.config.n_steps * agent.env.num_envs)
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
