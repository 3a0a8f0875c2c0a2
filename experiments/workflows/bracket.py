"""The sandwich of finite problems: certified bound <= exact worst case <= best attack <= natural return, per seed.

``python -m rlkit.experiments.workflows.bracket --env russell-norvig-4x3 --algo dqn`` trains and prints it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.adversarial import FGSM, PGD, Attack, Bracket, Budget, Noise, RandomSearch, attacked_value, bracket
from rlkit.agents import DQN, PPO
from rlkit.envs import GridWorld

BOXES = 2**17  # per state, at most
ATTACKS: tuple[Attack, ...] = (Noise(), FGSM(), PGD(), RandomSearch())


class Sandwich(NamedTuple):
    """Exact expectations from the start distribution, one per seed."""

    certified: NDArray[np.float64]  # [S], lower bound of the exact worst case
    exact: NDArray[np.float64]  # [S], upper bound of it, which an adversary attains
    best_attack: NDArray[np.float64]  # [S], least return under the attacks tried
    best_name: list[str]  # [S], of that attack
    natural: NDArray[np.float64]  # [S]
    bracket: Bracket

    def gap(self) -> NDArray[np.float64]:
        """Give the distance of the bounds as a share of the natural return, ``[S]``."""
        return (self.exact - self.certified) / np.maximum(np.abs(self.natural), 1e-12)

    def lines(self) -> list[str]:
        """Print one row per seed, under a head."""
        head = (
            f"{'seed':>4} {'certified':>10} {'exact <=':>10} {'best attack':>12} {'by':<20} {'natural':>9} {'gap':>9}"
        )
        rows = zip(self.certified, self.exact, self.best_attack, self.best_name, self.natural, self.gap(), strict=True)
        return [head] + [
            f"{seed:4d} {low:10.5f} {high:10.5f} {best:12.5f} {name:<20} {natural:9.5f} {gap:8.4%}"
            for seed, (low, high, best, name, natural, gap) in enumerate(rows)
        ]


def sandwich(
    problem: Any,
    victim: Any,
    budget: Budget | float,
    gamma: float = 1.0,
    horizon: int | None = None,
    attacks: Sequence[Attack] = ATTACKS,
    attacks_per_episode: int | None = None,
    sampled: bool = False,
    max_boxes: int = BOXES,
) -> Sandwich:
    """Bracket the worst case of a victim and evaluate attacks beside it, all in exact expectation.

    Args:
        problem: a finite problem with observations, such as ``GridWorld``.
        victim: acts greedily, S rows.
        budget: what the attacker may show.
        gamma: discount in [0, 1].
        horizon: step limit; None for none, and for that of the problem with gamma = 1.
        attacks: to compare with; the best is the one with the least return of each seed, or none.
        attacks_per_episode: maximum attacks of an episode; None for no limit.
        sampled: whether the victim samples its actions instead of acting greedily.
        max_boxes: most boxes per state; what needs more stays undecided.
    """
    found = bracket(problem, victim, budget, gamma, horizon, attacks_per_episode, sampled=sampled, max_boxes=max_boxes)
    start = found.at_start()
    names = ["none", *(attack.name for attack in attacks)]
    evaluated = partial(attacked_value, problem, victim, sampled=sampled, attacks_per_episode=attacks_per_episode)
    values = [evaluated(attack, budget, gamma, horizon).start for attack in attacks]
    returns = np.stack([start["natural"], *values])  # [1 + attacks, S]
    best = returns.argmin(axis=0)
    return Sandwich(
        start["lower"],
        start["upper"],
        returns.min(axis=0),
        [names[index] for index in best],
        start["natural"],
        found,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Train agents on a map with coordinates and print the sandwich at several epsilons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="russell-norvig-4x3", help="name of a map")
    parser.add_argument("--algo", choices=("dqn", "ppo"), default="dqn", help="DQN has ReLU 64-64, PPO tanh 64-64")
    parser.add_argument("--preset", default="sb3", help="Named hyper-parameters")
    parser.add_argument("--seeds", type=int, default=3, help="Number of training seeds")
    parser.add_argument("--steps", type=int, default=30_000, help="Environment steps of training per seed")
    parser.add_argument("--epsilons", type=float, nargs="+", default=(0.05, 0.1, 0.2), help="In units of coordinates")
    parser.add_argument("--gamma", type=float, default=1.0, help="Discount; 1 for the return of an episode")
    options = parser.parse_args(arguments)
    world = GridWorld(options.env, observation="coordinates")
    began = time.perf_counter()
    maker = DQN if options.algo == "dqn" else PPO
    agent = maker(world, seeds=range(options.seeds), preset=options.preset)
    agent.learn(options.steps)
    print(
        f"{options.algo} on {options.env}: {options.steps} steps, {options.seeds} seeds, trained in "
        f"{time.perf_counter() - began:.0f} s"
    )
    for epsilon in options.epsilons:
        found = sandwich(world, agent, epsilon, options.gamma)
        undecided, closed = found.bracket.undecided.sum(), found.bracket.closed.sum()
        print(
            f"\nepsilon {epsilon:g}: {found.bracket.seconds:.1f} s, {found.bracket.boxes.sum()} boxes, {undecided} "
            f"undecided, {closed} of {options.seeds} seeds closed"
        )
        print("\n".join(found.lines()))


if __name__ == "__main__":
    main()
