"""The sandwich of finite problems: certified bound <= exact worst case <= best attack <= natural return, per seed.

``python -m rlkit.experiments.workflows.bracket --env russell-norvig-4x3 --algo dqn`` trains agents and prints it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.adversarial import (
    FGSM,
    PGD,
    Always,
    AtRandom,
    Attack,
    Bracket,
    Budget,
    Every,
    Noise,
    RandomSearch,
    Strategic,
    Timing,
    attacked_value,
    bracket,
)
from rlkit.agents import DQN, PPO
from rlkit.envs import GridWorld

from ..report.ledger import Cell, write_csv

BOXES = 2**17  # per state, at most
ATTACKS: tuple[Attack, ...] = (Noise(), FGSM(), PGD(), RandomSearch())
TIMINGS: tuple[Timing, ...] = (Always(), Every(3), AtRandom(0.3), Strategic(0.5, temperature=1.0))

INVISIBLE = 1e-9  # a return below this in size is shown as 0: certified bounds are widened by rounding

Floats = NDArray[np.float64]


def without_rounding(returns: Floats) -> Floats:
    """Returns as they are shown: 0 where only rounding is left."""
    return np.where(np.abs(returns) < INVISIBLE, 0.0, returns)


class Sandwich(NamedTuple):
    """Exact expectations from the start distribution, one per seed."""

    certified: Floats  # [S], lower bound of the exact worst case
    exact: Floats  # [S], upper bound of it, which an adversary attains
    attacked: dict[str, Floats]  # [S], the return under every attack tried, by name
    natural: Floats  # [S]
    bracket: Bracket

    @property
    def best_attack(self) -> Floats:
        """The least return under the attacks tried, never to attack among them, ``[S]``."""
        return np.asarray(np.min([self.natural, *self.attacked.values()], axis=0))

    @property
    def best_name(self) -> list[str]:
        """Name of the attack that does most to each seed; "none" where none does harm."""
        names = ["none", *self.attacked]
        return [names[index] for index in np.argmin([self.natural, *self.attacked.values()], axis=0)]

    def distances(self) -> dict[str, Floats]:
        """Give how far each attack stays above the exact worst case, in units of return, ``[S]`` each."""
        return {name: value - self.exact for name, value in self.attacked.items()}

    def lines(self) -> list[str]:
        """Print one row per seed under a head, and the distance of each attack below."""
        low, high, best, own = map(without_rounding, (self.certified, self.exact, self.best_attack, self.natural))
        columns = (low, high, best, self.best_name, own)
        rows = [
            f"{seed:4d} {low:10.5f} {high:10.5f} {best:12.5f} {name:<34} {natural:9.5f} {high - low:8.1e}"
            for seed, (low, high, best, name, natural) in enumerate(zip(*columns, strict=True))
        ]
        far = [
            f"     {name:<34} {value.mean():8.4f} above the worst case (mean of seeds; {value.min():.4f} to "
            f"{value.max():.4f})"
            for name, value in self.distances().items()
        ]
        head = f"seed  certified      exact  best attack {'by':<34}   natural      gap"
        return [head, *rows, *far]

    def rows(self) -> list[dict[str, Cell]]:
        """One row per seed: the four returns, what each attack leaves, and what the verification took."""
        columns = {"certified": self.certified, "exact": self.exact, "natural": self.natural, **self.attacked}
        counts = {"undecided choices": self.bracket.undecided, "boxes": self.bracket.boxes}
        return [
            {name: column[seed].item() for name, column in {**columns, **counts}.items()}
            for seed in range(len(self.natural))
        ]


def sandwich(
    problem: Any,
    victim: Any,
    budget: Budget | float,
    gamma: float = 1.0,
    horizon: int | None = None,
    attacks: Sequence[Attack] = ATTACKS,
    attacks_per_episode: int | None = None,
    timings: Sequence[Timing] = TIMINGS,
    sampled: bool = False,
    max_boxes: int = BOXES,
) -> Sandwich:
    """Bracket the worst case of a victim and evaluate attacks beside it, all in exact expectation.

    Args:
        problem: a finite problem with observations, such as ``GridWorld``.
        victim: acts greedily, S rows.
        budget: budget of the attacker.
        gamma: discount in [0, 1].
        horizon: step limit; None for none, and for that of the problem with gamma = 1.
        attacks: attacks to compare with.
        attacks_per_episode: most attacks of an episode; None for any number.
        timings: rules of when to attack, each with every attack; for a limited number of attacks.
        sampled: whether the victim samples its actions instead of acting greedily.
        max_boxes: most boxes per state; what needs more stays undecided.
    """
    found = bracket(problem, victim, budget, gamma, horizon, attacks_per_episode, sampled=sampled, max_boxes=max_boxes)
    start = found.at_start()
    attacked = {}
    value = partial(attacked_value, problem, victim, sampled=sampled, attacks_per_episode=attacks_per_episode)
    for attack in attacks:
        if attacks_per_episode is None:
            attacked[attack.name] = value(attack, budget, gamma, horizon).start
            continue
        for timing in timings:
            attacked[f"{attack.name}, {timing.name}"] = value(attack, budget, gamma, horizon, timing=timing).start
    return Sandwich(start["lower"], start["upper"], attacked, start["natural"], found)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train agents on a map with coordinates and print the sandwich at several epsilons."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--env", default="russell-norvig-4x3", help="Name of a map")
    parser.add_argument("--algo", choices=("dqn", "ppo"), default="dqn", help="DQN has ReLU 64-64, PPO tanh 64-64")
    parser.add_argument("--preset", default="sb3", help="Named hyper-parameters")
    parser.add_argument("--seeds", type=int, default=3, help="Number of training seeds")
    parser.add_argument("--steps", type=int, default=30_000, help="Environment steps of training per seed")
    parser.add_argument("--epsilons", type=float, nargs="+", default=(0.05, 0.1, 0.2), help="In units of coordinates")
    parser.add_argument("--gamma", type=float, default=1.0, help="Discount; 1 for the return of an episode")
    parser.add_argument("--max-attacks", type=int, help="Maximum attacks per episode")
    parser.add_argument("--out", type=Path, help="CSV file for a row per seed and epsilon")
    options = parser.parse_args(arguments)
    world = GridWorld(options.env, observation="coordinates")
    began = time.perf_counter()
    agent = (DQN if options.algo == "dqn" else PPO)(world, seeds=range(options.seeds), preset=options.preset)
    agent.learn(options.steps)
    seconds = time.perf_counter() - began
    print(f"{options.algo} on {options.env}: {options.steps} steps, {options.seeds} seeds, trained in {seconds:.0f} s")
    rows: list[dict[str, Cell]] = []
    for epsilon in options.epsilons:
        found = sandwich(world, agent, epsilon, options.gamma, attacks_per_episode=options.max_attacks)
        undecided, closed = found.bracket.undecided.sum(), found.bracket.closed.sum()
        print(
            f"\nepsilon {epsilon:g}: bracketed in {found.bracket.seconds:.1f} s, {found.bracket.boxes.sum()} boxes, "
            f"{undecided} choices undecided, {closed} of {options.seeds} seeds closed"
        )
        print("\n".join(found.lines()))
        rows += [{"seed": seed, "epsilon": epsilon, **row} for seed, row in enumerate(found.rows())]
    if options.out is not None:
        write_csv(options.out, list(rows[0]), [list(row.values()) for row in rows])


if __name__ == "__main__":
    main()
