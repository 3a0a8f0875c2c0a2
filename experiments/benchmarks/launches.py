"""How many operations a device launches for a step of the environment, for playing it and for an update.

Counted on the pretend device, so no GPU is needed: views and allocations do not count, and an operation of torch may be
several kernels of a GPU. A recorded iteration (``rlkit/agents/core/captured.py``) is one launch of the host instead.

    python -m rlkit.experiments.benchmarks.launches
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from rlkit.agents import A2C, DQN, PPO, REINFORCE, TabularQ
from rlkit.envs import CartPole, GridWorld

from ..report.ledger import ReportTable
from ..report.terminal import show_table
from .pretend_device import NAME, DeviceLog, pretending

COPIES = 8  # of the environment per seed
GRID = GridWorld("S..\n.#H\n..G")
ON_POLICY: dict[str, Any] = {"n_steps": 8}
OFF_POLICY: dict[str, Any] = {
    "learning_starts": 0, "train_freq": 4, "gradient_steps": 4, "batch_size": 64, "buffer_size": 10_000,
}  # fmt: skip


class LaunchCase(NamedTuple):
    """An agent in an environment."""

    algorithm: Any
    env: Any
    settings: dict[str, Any]


CASES = {
    "PPO, CartPole": LaunchCase(PPO, CartPole(), {**ON_POLICY, "batch_size": 64, "n_epochs": 4}),
    "PPO, grid": LaunchCase(PPO, GRID, {**ON_POLICY, "batch_size": 64, "n_epochs": 4}),
    "A2C, CartPole": LaunchCase(A2C, CartPole(), ON_POLICY),
    "REINFORCE, CartPole": LaunchCase(REINFORCE, CartPole(), ON_POLICY),
    "DQN, CartPole": LaunchCase(DQN, CartPole(), OFF_POLICY),
    "DQN, grid": LaunchCase(DQN, GRID, OFF_POLICY),
    "DQN prioritized, CartPole": LaunchCase(DQN, CartPole(), {**OFF_POLICY, "priority_exponent": 0.6}),
    "Q-learning, grid": LaunchCase(TabularQ, GRID, {}),
}


# operations of an iteration when they were first counted, in commit 80adf4e
FIRST = {
    "PPO, CartPole": 990,
    "PPO, grid": 904,
    "A2C, CartPole": 535,
    "REINFORCE, CartPole": 1200,
    "DQN, CartPole": 605,
    "DQN, grid": 565,
    "DQN prioritized, CartPole": 1013,
    "Q-learning, grid": 97,
}


class Launches(NamedTuple):
    """Operations launched in some iterations."""

    iterations: int
    steps: int  # of every copy
    updates: int
    in_steps: int  # of the environment alone
    in_updates: int
    total: int

    @property
    def per_step(self) -> float:
        """Operations of ``env.step``."""
        return self.in_steps / self.steps

    @property
    def per_play(self) -> float:
        """Operations of acting, storing, counting and logging, per step."""
        return (self.total - self.in_steps - self.in_updates) / self.steps

    @property
    def per_update(self) -> float:
        """Operations of a gradient step with its minibatch and target."""
        return self.in_updates / self.updates


def count(case: LaunchCase, iterations: int = 2, seeds: int = 2) -> Launches:
    """Count the operations of iterations that learn, without those of streams that draw ahead."""
    with pretending() as log:
        agent = case.algorithm(case.env, seeds=seeds, num_envs=COPIES, device=NAME, **case.settings)
        steps, updates, taken = Counted(log), Counted(log), Counted(log)
        training = agent.iterations(10**9, 10**9)
        for _ in range(2):
            next(training)
        agent.env.step = steps.around(agent.env.step)
        agent.update = updates.around(agent.update)
        agent.gradient_step = taken.around(agent.gradient_step)
        log.clear()
        for _ in range(iterations):
            next(training)
        total = log.launches.total()
    return Launches(iterations, steps.calls, taken.calls or updates.calls, steps.launches, updates.launches, total)


class Counted:
    """Calls of a function and the operations in them."""

    def __init__(self, log: DeviceLog) -> None:
        self.log, self.calls, self.launches = log, 0, 0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, counted."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            before = self.log.launches.total()
            result = function(*args, **kwargs)
            self.calls, self.launches = self.calls + 1, self.launches + self.log.launches.total() - before
            return result

        return counted


def table(counts: dict[str, Launches]) -> ReportTable:
    """One row a case."""
    columns = ("agent", "a step of the environment", "playing it", "an update", "an iteration", "when first counted")
    rows = tuple(
        (name, each.per_step, each.per_play, each.per_update, each.total / each.iterations, FIRST[name])
        for name, each in counts.items()
    )
    return ReportTable("launches", "Operations launched on a device", columns, rows)


def main(args: Sequence[str] | None = None) -> int:
    """Count and show the table; the exit code."""
    parser = argparse.ArgumentParser(prog="rlkit.experiments.benchmarks.launches", description=__doc__)
    parser.parse_args(args)
    torch.set_num_threads(1)
    show_table(table({name: count(case) for name, case in CASES.items()}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
