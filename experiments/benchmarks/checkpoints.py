"""How much of a training its checkpoints take: ``python -m rlkit.experiments.benchmarks.checkpoints``.

DQN on CartPole-v1 trains 16 seeds for 50,000 steps each, with the checkpoints that ``rlkit train`` writes by time. Then
the checkpoint with the whole memory is written several times. Seconds are those of the wall, on one torch thread.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from typing import NamedTuple

import torch

from rlkit.agents import DQN, Checkpoints

COMMAND = "python -m rlkit.experiments.benchmarks.checkpoints"


class CheckpointCost(NamedTuple):
    """The cost of the checkpoints of one training."""

    training_seconds: float  # the checkpoints included
    saving_seconds: float  # during the training and at its end
    written: int
    transitions: int  # in the memory, of all seeds
    file_bytes: int
    save_seconds: tuple[float, ...]  # of each repetition of the last save

    @property
    def share(self) -> float:
        """The share of the training time."""
        return self.saving_seconds / self.training_seconds


def measure(seeds: int, steps: int, repetitions: int) -> CheckpointCost:
    """Train with checkpoints, and write the last one again."""
    agent = DQN("CartPole-v1", seeds=seeds, device="cpu", preset="tuned", buffer_size=steps)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints, written = Checkpoints(folder), 1
        began = time.perf_counter()
        for done in agent.iterations(steps):
            if checkpoints.due(done):
                checkpoints.save(agent)
                written += 1
        path = checkpoints.save(agent)
        training, saving = time.perf_counter() - began, checkpoints.seconds
        again = []
        for _ in range(repetitions):
            began = time.perf_counter()
            checkpoints.save(agent)
            again.append(time.perf_counter() - began)
        return CheckpointCost(training, saving, written, seeds * steps, path.stat().st_size, tuple(again))


def main(args: list[str] | None = None) -> None:
    """Print one row."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--seeds", type=int, default=16, help="training seeds")
    parser.add_argument("--steps", type=int, default=50_000, help="environment steps per seed, all kept in the memory")
    parser.add_argument("--repetitions", type=int, default=5, help="of the last save")
    options = parser.parse_args(args)
    torch.set_num_threads(1)
    cost = measure(options.seeds, options.steps, options.repetitions)
    print("| training, s | saving, s | share | checkpoints | transitions | MB | one save, s |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {cost.training_seconds:.1f} | {cost.saving_seconds:.2f} | {cost.share:.2%} | {cost.written} | "
        f"{cost.transitions:,} | {cost.file_bytes / 1e6:.1f} | {statistics.median(cost.save_seconds):.2f} |"
    )


if __name__ == "__main__":
    main()
