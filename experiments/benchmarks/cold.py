"""From the start of a process to a solved CartPole, one seed: ``python -m rlkit.experiments.benchmarks.cold``.

A process imports its library, trains PPO on one thread and evaluates the greedy policy after every 2,048 steps over
five episodes, until the mean return is at least 475 twice in a row. rlkit has its tuned preset, stable-baselines3 the
hyper-parameters of the RL Zoo. Both take turns. The imports of torch and of ``rlkit.agents`` are timed beside.
With ``--dqn 10`` seeds 0 to 9 of rlkit's DQN with its tuned preset are trained in the same way.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import gymnasium

from ..workflows.threads import one_thread_environment

COMMAND = "python -m rlkit.experiments.benchmarks.cold"
STEPS, EVERY, EPISODES, SOLVED = 100_000, 2048, 5, 475.0


class Solved(NamedTuple):
    """Time and steps of one process."""

    steps: int  # until the second evaluation in a row, STEPS if there was none
    cpu_seconds: float
    wall_seconds: float
    evaluating: float  # of the CPU seconds


class TwiceInARow:
    """Whether the greedy return was high enough in the last two evaluations."""

    def __init__(self, evaluate: Callable[[], float]) -> None:
        self._evaluate, self._count, self.seconds = evaluate, 0, 0.0

    def __call__(self) -> bool:
        """Evaluate once more."""
        began = time.process_time()
        self._count = self._count + 1 if self._evaluate() >= SOLVED else 0
        self.seconds += time.process_time() - began
        return self._count == 2


def rlkit_steps(algorithm: str, seed: int) -> Iterator[tuple[int, Callable[[], float]]]:
    """Train an agent; after every ``EVERY`` steps yields how many there were and what evaluates the policy."""
    import rlkit.agents

    agent = getattr(rlkit.agents, algorithm)("CartPole-v1", seeds=[seed], preset="tuned", device="cpu")
    for step in agent.training(STEPS, every=EVERY):
        yield step, lambda: float(agent.evaluate(episodes=EPISODES).mean())


def sb3_steps(seed: int) -> Iterator[tuple[int, Callable[[], float]]]:
    """Train stable-baselines3's PPO as ``rlkit_steps`` does rlkit's."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy as evaluated
    from stable_baselines3.common.monitor import Monitor

    def linear(initial: float) -> Callable[[float], float]:
        return lambda _: initial * (1 - model.num_timesteps / STEPS)  # of the whole training, which is cut in parts

    evaluate: Any = evaluated
    env, judged = make_vec_env("CartPole-v1", n_envs=8, seed=seed), Monitor(gymnasium.make("CartPole-v1"))
    settings: dict[str, Any] = {"n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20}
    model = PPO("MlpPolicy", env, seed=seed, device="cpu", learning_rate=1e-3, clip_range=0.2, **settings)
    model.lr_schedule, model.clip_range = linear(1e-3), linear(0.2)
    while model.num_timesteps < STEPS:
        model.learn(EVERY, reset_num_timesteps=False)
        yield model.num_timesteps, lambda: float(evaluate(model, judged, n_eval_episodes=EPISODES)[0])


SIDES = {"rlkit": partial(rlkit_steps, "PPO"), "stable-baselines3": sb3_steps}
DQN_SIDE, DQN_SECONDS = "rlkit DQN", 10.0


def train(side: str, seed: int) -> None:
    """The work of a process; prints its steps, its CPU seconds, and those of the evaluations."""
    done = STEPS
    check: TwiceInARow | None = None
    sides = SIDES | {DQN_SIDE: partial(rlkit_steps, "DQN")}
    for step, evaluate in sides[side](seed):
        check = check or TwiceInARow(evaluate)
        if check():
            done = step
            break
    print(done, time.process_time(), 0.0 if check is None else check.seconds)


def solve(side: str, seed: int, cache: str | None = None) -> Solved:
    """Start a process, with a folder for compiled code of its own if one is given."""
    environment = one_thread_environment(**({"NUMBA_CACHE_DIR": cache} if cache else {}))
    command = [sys.executable, "-m", "rlkit.experiments.benchmarks.cold", "--side", side, "--seed", str(seed)]
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    steps, cpu, evaluating = done.stdout.split()[-3:]
    return Solved(int(steps), float(cpu), time.perf_counter() - began, float(evaluating))


def import_seconds(module: str) -> float:
    """CPU seconds of a process that imports a module."""
    program = f"import {module}, time; print(time.process_time())"
    done = subprocess.run(
        [sys.executable, "-c", program], env=one_thread_environment(), stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout)


def line(name: str, found: Sequence[Solved]) -> str:
    """Medians with least and greatest, a row of a table."""
    columns = zip(*found, strict=True)
    cells = (f"{statistics.median(each):,.4g} ({min(each):,.4g} to {max(each):,.4g})" for each in columns)
    return f"| {name} | {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3, help="seeds 0, 1, ... of both libraries, in turn")
    parser.add_argument("--uncompiled", action="store_true", help="also once without compiled code in the cache")
    parser.add_argument("--dqn", type=int, default=0, help="also so many seeds of rlkit's DQN")
    parser.add_argument("--side", choices=[*SIDES, DQN_SIDE], help=argparse.SUPPRESS)  # the work of one process
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.side:
        train(options.side, options.seed)
        return 0
    solve("rlkit", 0)  # compiles what is missing
    imports = {name: [import_seconds(name) for _ in range(options.repetitions)] for name in ("torch", "rlkit.agents")}
    torch, agents = (statistics.median(seconds) for seconds in imports.values())
    print(f"imports, CPU s: torch {torch:.2f}, rlkit.agents {agents:.2f}, of its own {agents - torch:.2f}\n")
    found: dict[str, list[Solved]] = {side: [] for side in SIDES}
    for seed in range(options.repetitions):
        for side in SIDES:
            found[side].append(solve(side, seed))
    print("| PPO, one seed | steps | CPU s | wall s | CPU s of the evaluations |\n| --- | --- | --- | --- | --- |")
    for side in SIDES:
        print(line(side, found[side]), flush=True)
    if options.dqn:
        solve(DQN_SIDE, 0)  # compiles what is missing
        solved = [solve(DQN_SIDE, seed) for seed in range(options.dqn)]
        quick = sum(each.steps < STEPS and each.wall_seconds < DQN_SECONDS for each in solved)
        print(line(DQN_SIDE, solved))
        print(f"\n{quick} of {options.dqn} seeds of DQN within {DQN_SECONDS:g} s")
    if options.uncompiled:
        with tempfile.TemporaryDirectory() as cache:
            print(line("rlkit, compiling first", [solve("rlkit", 0, cache)]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
