"""``python -m rlkit.experiments.benchmarks.verification``: how long complete verification takes at states of cart-pole.

Four seeds of DQN (relu) and of PPO (tanh), 64-64, at 1,000 states each that their own greedy policy visits. Every state
is decided for every action, norm "inf". CPU time of one thread, the least of the repetitions; asking the victim about
witnesses is included.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import rlkit.agents
from rlkit.adversarial import Budget, ReachableActions, reachable_actions, visited
from rlkit.agents import DQN, PPO

from ..report.ledger import Cell, ReportTable
from ..report.terminal import show_table
from ..studies.common.tasks import CARTPOLE

SEEDS = range(4)
STATES = 1000  # of every seed
EPISODES = 50
REPETITIONS = 3
EPSILONS = (0.02, 0.1, 0.4)
# Standard deviations of one good policy's rollouts, in which earlier figures were given.
DEVIATIONS = (0.732, 1.063, 0.122, 0.439)
SCALES = {"committed scale": CARTPOLE.scale, "deviations of one policy": DEVIATIONS}


class VerificationTiming(NamedTuple):
    """One victim, scale and epsilon."""

    victim: str
    scale: str
    epsilon: float
    states: int
    seconds: float  # of CPU
    certified: float  # share of states whose action cannot change
    changed: float  # share of states whose action was changed
    undecided: float  # share of states where something is open
    one_box: float  # share of states certified without a split
    boxes: int  # of all states
    most_boxes: int  # of one state


def timed(name: str, agent: Any, obs: Tensor, scale: str, epsilon: float, repetitions: int) -> VerificationTiming:
    """Decide every state, ``repetitions`` times."""
    budget, taken = Budget(epsilon, scale=SCALES[scale]), []
    for _ in range(repetitions):
        start = time.process_time()
        found = reachable_actions(agent, obs, budget)
        taken.append(time.process_time() - start)
    certified, changed, undecided = shares(found)
    one_box, _, _ = shares(reachable_actions(agent, obs, budget, max_boxes=1))
    return VerificationTiming(
        name,
        scale,
        epsilon,
        found.boxes.numel(),
        min(taken),
        certified,
        changed,
        undecided,
        one_box,
        int(found.boxes.sum(dim=(0, 1))),
        int(found.boxes.amax(dim=(0, 1))),
    )


def shares(found: ReachableActions) -> tuple[float, float, float]:
    """Return the shares of states whose action cannot change, was changed, and of those that are not decided."""
    changed = found.reachable.sum(dim=-1) > 1
    undecided = ~changed & found.open.any(dim=-1)
    return share(~(changed | undecided)), share(changed), share(undecided)


def share(states: Tensor) -> float:
    """Return the share of states ``[S, B]`` that are true."""
    return float(states.double().mean(dim=(0, 1)))


def table(timings: Sequence[VerificationTiming]) -> ReportTable:
    """One row per victim, scale and epsilon."""
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            t.victim,
            t.scale,
            t.epsilon,
            t.states,
            t.seconds,
            1000.0 * t.seconds / t.states,
            *(100.0 * part for part in (t.one_box, t.certified, t.changed, t.undecided)),
            t.boxes,
            t.most_boxes,
        )
        for t in timings
    )
    measured = ("states", "CPU seconds", "ms per state", "certified by one box %", "certified %", "changed %", "open %")
    columns = ("victim", "unit of epsilon", "epsilon", *measured, "boxes", "most boxes of a state")
    return ReportTable("verification", "Complete verification, CartPole-v1, one thread", columns, rows, digits=3)


def main(args: Sequence[str] | None = None) -> int:
    """Measure and show the table; the exit code."""
    parser = argparse.ArgumentParser(prog="rlkit.experiments.benchmarks.verification", description=__doc__)
    parser.add_argument("--policies", type=Path, nargs="*", help="saved agents of cart-pole; trained by default")
    parser.add_argument("--states", type=int, default=STATES, help="states per seed")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help="the least CPU time of so many counts")
    options = parser.parse_args(args)
    torch.set_num_threads(1)
    if options.policies:
        agents: dict[str, Any] = {path.stem: rlkit.agents.load(path, device="cpu") for path in options.policies}
    else:
        settings: dict[str, Any] = {"seeds": SEEDS, "device": "cpu", "preset": "tuned", "net_arch": (64, 64)}
        agents = {
            "DQN, relu": DQN("CartPole-v1", **settings).learn(60_000),
            "PPO, tanh": PPO("CartPole-v1", **settings).learn(100_000),
        }
    timings = []
    for name, agent in agents.items():
        obs = visited(agent, agent.evaluation_env(EPISODES), options.states)
        for scale in SCALES:
            timings += [timed(name, agent, obs, scale, epsilon, options.repetitions) for epsilon in EPSILONS]
    show_table(table(timings))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
