"""``python -m rlkit.experiments.benchmarks.attacks``: a robustness curve by rlkit and by Foolbox.

rlkit: a whole curve, PGD-20 at five epsilons, 100 episodes of cart-pole, ten seeds of PPO. Foolbox: one episode after
another in gymnasium, ``LinfPGD`` with 20 steps, the same step length, the same epsilons and explicit bounds at every
step. Foolbox runs fewer environment steps; its rate is measured, and no total is extrapolated. Both attack the same
networks in the same units, without random start, on one thread, one library after the other.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch

import rlkit.agents
from rlkit.adversarial import PGD, Budget, RobustnessCurve, robustness_curve
from rlkit.agents import PPO
from rlkit.evaluation import EVALUATION_SEED

from ..report.ledger import Cell, ReportTable
from ..report.terminal import show_table
from ..studies.common.tasks import CARTPOLE
from ..studies.robustness.settings import SEEDS

STEPS = 20  # of PGD
BOUND = 1000.0  # Foolbox must be given bounds; no observation is near these


class Timed(NamedTuple):
    """Attacked environment steps of one side."""

    steps: int
    cpu_seconds: float
    wall_seconds: float
    flip_rates: tuple[float, ...]  # share of steps whose action was changed, by epsilon


def rlkit_curve(agent: Any, episodes: int) -> Timed:
    """The whole curve at once."""
    wall, cpu = time.perf_counter(), time.process_time()
    curve: RobustnessCurve = robustness_curve(
        agent, agent.evaluation_env, [PGD(STEPS)], CARTPOLE.epsilons, Budget(0.0, scale=CARTPOLE.scale), episodes
    )
    seconds = time.process_time() - cpu, time.perf_counter() - wall
    rates = curve.flips.sum(axis=(0, 2, 3)) / curve.lengths.sum(axis=(0, 2, 3))
    return Timed(int(curve.lengths.sum(axis=None)), *seconds, tuple(rates.tolist()))


def foolbox(agent: Any, episodes: int) -> Timed:
    """Episode by episode and step by step: ``episodes`` episodes of the first seed at every epsilon."""
    from foolbox.attacks import LinfPGD
    from foolbox.models.pytorch import PyTorchModel

    scale = torch.tensor(CARTPOLE.scale)
    network = agent.actor_critic.policy.as_module(0)
    network[0].weight.data *= scale  # of observations in standard deviations
    model = PyTorchModel(network.eval(), bounds=(-BOUND, BOUND), device="cpu")
    attack = LinfPGD(rel_stepsize=PGD().step / STEPS, steps=STEPS, random_start=False)
    env = gymnasium.make("CartPole-v1")
    flips, steps = np.zeros(len(CARTPOLE.epsilons)), np.zeros(len(CARTPOLE.epsilons))
    wall, cpu = time.perf_counter(), time.process_time()
    for i, epsilon in enumerate(CARTPOLE.epsilons):
        for episode in range(episodes):
            obs, _ = env.reset(seed=EVALUATION_SEED + episode)
            done = False
            while not done:
                x = (torch.from_numpy(obs) / scale)[None]
                with torch.no_grad():
                    own = network(x).argmax(dim=1)
                _, shown, _ = attack(model, x, own, epsilons=epsilon)
                with torch.no_grad():
                    action = network(shown).argmax(dim=1)
                flips[i] += float(action != own)
                steps[i] += 1
                obs, _, terminated, truncated, _ = env.step(int(action))
                done = terminated or truncated
    seconds = time.process_time() - cpu, time.perf_counter() - wall
    return Timed(int(steps.sum(axis=0)), *seconds, tuple((flips / steps).tolist()))


def table(whole: Timed, alone: Timed, other: Timed) -> ReportTable:
    """Rates and flip rates; compare the flip rates of the episodes that both libraries played."""
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (name, one.steps, one.cpu_seconds, one.wall_seconds, one.steps / one.cpu_seconds, *one.flip_rates)
        for name, one in (
            ("rlkit, the whole curve", whole),
            ("rlkit, the episodes of Foolbox", alone),
            ("Foolbox", other),
        )
    )
    flips = (f"flips at {epsilon:g}" for epsilon in CARTPOLE.epsilons)
    columns = ("side", "attacked steps", "CPU seconds", "wall seconds", "steps per CPU second", *flips)
    return ReportTable("attacks", "PGD-20 on PPO, CartPole-v1, one thread", columns, rows, digits=3)


def main(args: Sequence[str] | None = None) -> int:
    """Measure both libraries and show the table; the exit code."""
    parser = argparse.ArgumentParser(prog="rlkit.experiments.benchmarks.attacks", description=__doc__)
    parser.add_argument("--policy", type=Path, help="a saved PPO of cart-pole; trained by default, in half a minute")
    parser.add_argument("--episodes", type=int, default=100, help="episodes per seed and epsilon of rlkit")
    parser.add_argument("--foolbox-episodes", type=int, default=1, help="episodes per epsilon of Foolbox")
    options = parser.parse_args(args)
    torch.set_num_threads(1)
    if options.policy is None:
        agent: Any = PPO("CartPole-v1", seeds=SEEDS, device="cpu", preset="tuned").learn(100_000)
    else:
        agent = rlkit.agents.load(options.policy, device="cpu")
    rlkit_curve(agent[0], 1)  # warm
    other = foolbox(agent, options.foolbox_episodes)
    whole, alone = rlkit_curve(agent, options.episodes), rlkit_curve(agent[0], options.foolbox_episodes)
    show_table(table(whole, alone, other))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
