"""Final returns of both engines: ``python -m rlkit.experiments.benchmarks.final_returns``.

Both engines do the same arithmetic and round differently, so runs of one seed part after some updates. Equal final
returns on average say that the rounding favors neither. Seeds are rows of one training; the difference is paired by
seed.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rlkit.agents import A2C, DQN, PPO, REINFORCE, Agent, EngineName
from rlkit.figure_style import COLORS, MUTED, in_style, panels, svg
from rlkit.statistics import Estimate, difference_interval

from ..report.ledger import write_csv
from .engine import ENGINES

COMMAND = "python -m rlkit.experiments.benchmarks.final_returns"
LAST = 10  # the final return is that of the episodes that end in the last tenth of the training


class ReturnCase(NamedTuple):
    """A short training on CartPole-v1."""

    algorithm: type[Agent]
    settings: dict[str, Any]
    steps: int


CASES = {
    "ppo": ReturnCase(PPO, {"num_envs": 4, "n_steps": 128, "n_epochs": 4, "batch_size": 128}, 10_240),
    "a2c": ReturnCase(A2C, {"num_envs": 8}, 20_000),
    "reinforce": ReturnCase(REINFORCE, {"num_envs": 8, "n_steps": 64, "learning_rate": 0.005}, 5_120),
    "dqn": ReturnCase(
        DQN,
        {
            "num_envs": 4,
            "train_freq": 8,
            "gradient_steps": 8,
            "batch_size": 32,
            "learning_rate": 0.001,
            "buffer_size": 10_000,
            "learning_starts": 500,
            "target_update_interval": 256,
            "exploration_fraction": 0.3,
        },
        5_120,
    ),
}


def final_returns(case: ReturnCase, engine: EngineName, seeds: Sequence[int]) -> NDArray[np.float64]:
    """Train every seed, and return the mean return of its episodes in the last tenth of the training, ``[S]``."""
    agent = case.algorithm("CartPole-v1", seeds=seeds, device="cpu", engine=engine, **case.settings)
    for _ in agent.training(case.steps, every=case.steps // LAST):
        pass
    last: NDArray[np.float64] = np.asarray(agent.history["episode_return"][-1], dtype=np.float64)
    return last


def difference(found: NDArray[np.float64]) -> Estimate[float]:
    """Estimate compiled minus torch of final returns ``[S, 2]``; a seed without an episode in either is left out."""
    both = found[np.isfinite(found).all(axis=1)]
    return difference_interval(both[:, 0], both[:, 1], paired=True)


def read_rows(path: Path) -> NDArray[np.float64]:
    """Read the final returns ``[S, 2]`` that were written."""
    with path.open(encoding="utf-8", newline="") as file:
        return np.array([[float(row[engine]) for engine in ENGINES] for row in csv.DictReader(file)])


@in_style
def figure(found: dict[str, NDArray[np.float64]]) -> bytes:
    """Draw the final returns of every seed on one engine against the other, a panel for each agent."""
    drawn, places = panels(len(found), len(found), (2.6, 2.6))
    for axes, (name, returns), color in zip(places, found.items(), COLORS, strict=False):
        axes.axline((0.0, 0.0), slope=1.0, color=MUTED, lw=1)
        axes.plot(returns[:, 1], returns[:, 0], ".", ms=3, color=color)
        estimate = difference(returns)
        half = (estimate.upper - estimate.lower) / 2
        axes.set(title=f"{name.upper()}: {estimate.value:+.1f} ± {half:.1f}", xlabel="return, torch")
    places[0].set_ylabel("return, compiled")
    return svg(drawn)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the agents asked for, write a file of rows for each, and draw the figure of all files there."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("agents", nargs="*", default=[], help=f"which to train: {', '.join(CASES)}; none draws alone")
    parser.add_argument("--seeds", type=int, default=200, help="seeds of each")
    parser.add_argument("--folder", type=Path, default=Path("results/engines"), help="where rows and figure lie")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.agents) - CASES.keys())
    if unknown:
        parser.error(f"unknown agent {unknown[0]!r}: known are {', '.join(CASES)}")
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    seeds = range(options.seeds)
    for name in options.agents:
        columns = [final_returns(CASES[name], engine, seeds) for engine in ENGINES]
        write_csv(options.folder / f"{name}.csv", ("seed", *ENGINES), zip(seeds, *columns, strict=True))
    files = {name: options.folder / f"{name}.csv" for name in CASES}
    found = {name: read_rows(path) for name, path in files.items() if path.exists()}
    for name, returns in found.items():
        estimate, means = difference(returns), np.nanmean(returns, axis=0)
        print(
            f"{name}: compiled {means[0]:.1f}, torch {means[1]:.1f}, difference {estimate.value:+.1f} "
            f"[{estimate.lower:.1f}, {estimate.upper:.1f}], {estimate.n} seeds"
        )
    if found:
        (options.folder / "final_returns.svg").write_bytes(figure(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
