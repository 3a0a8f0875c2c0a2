"""Seconds from SIGTERM to the end of a command, by phase: ``python -m rlkit.experiments.benchmarks.stopping``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from rlkit.mdp import garnet, random_grid

from ..cli import main as run_command
from ..stopping import ENDED_BY_SIGNAL

DELAYS = (6.0, 8.0, 10.0)  # seconds from the start of a command to the signal, one run each
STATES, SIDE = 300_000, 500  # of the table, and tiles along each side of the map
QUICK = ("learning_starts=50", "batch_size=16", "train_freq=4", "gradient_steps=1")
PHASES = {
    "training": ("train", "--steps", "100000000", "--out", "{folder}/train", "--overwrite"),
    "evaluation": ("evaluate", "{folder}/policy", "--episodes", "20000"),
    "attack": ("attack", "{folder}/policy", "--episodes", "1000", "--attacks", "pgd", "search", "best"),
    "hijack": ("hijack", "{folder}/policy", "--toward", "right", "--episodes", "2000"),
    "solving a table": ("solve", "{folder}/table.npz", "--gamma", "0.9999", "--method", "gauss-seidel"),
    "solving a map": ("solve", "{folder}/map.npz", "--gamma", "0.9999", "--method", "value iteration"),
    "comparison": ("compare", "--steps", "100000000", "--out", "{folder}/compare", "--overwrite"),
    "study": ("study", "matched", "--data", "{folder}/study"),
    "sweep": ("sweep", "{folder}/sweep.toml", "--out", "{folder}/sweep", "--resume"),
}
SWEEP = """
question = "How long does a sweep take to stop?"
hypothesis = "At most five seconds."
seeds = 2
steps = 100000000
agents = [{ algo = "a2c" }, { algo = "dqn" }]
environments = [{ env = "CartPole-v1" }]
"""


def seconds_to_stop(words: list[str], delay: float) -> float:
    """Start a command, send it SIGTERM after ``delay`` seconds, and wait for its end.

    Raises:
        RuntimeError: the command ended before the signal, or with another exit code than that of a stop.
    """
    child = subprocess.Popen(
        [sys.executable, "-m", "rlkit.experiments", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(delay)
    if child.poll() is not None:
        raise RuntimeError(f"rlkit {' '.join(words)} ended by itself: {child.communicate()[1]}")
    began = time.perf_counter()
    child.send_signal(signal.SIGTERM)
    said = child.communicate()[1]
    if child.returncode != ENDED_BY_SIGNAL + signal.SIGTERM:
        raise RuntimeError(f"rlkit {' '.join(words)} ended with {child.returncode}: {said}")
    return time.perf_counter() - began


def main() -> int:
    """Measure every phase that is named on the command line, all by default, and print a table."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        garnet(STATES, 4, 4, rng, ending=1e-4).save(folder / "table.npz")
        random_grid(SIDE, SIDE, rng).tabular.save(folder / "map.npz")
        (folder / "sweep.toml").write_text(SWEEP, encoding="utf-8")
        run_command(["train", "--steps", "500", "--episodes", "2", "--out", str(folder / "policy"), "--set", *QUICK])
        print(f"load {os.getloadavg()[0]:.1f}")
        for phase in sys.argv[1:] or PHASES:
            words = [word.format(folder=folder) for word in PHASES[phase]]
            seconds = sorted(seconds_to_stop(words, delay) for delay in DELAYS)
            print(
                f"| {phase} | {' '.join(PHASES[phase])} | {', '.join(f'{each:.1f}' for each in seconds)} |", flush=True
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
