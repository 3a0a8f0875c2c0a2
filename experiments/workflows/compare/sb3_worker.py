"""Train stable-baselines3's agents in a process: ``python -m rlkit.experiments.workflows.compare.sb3_worker FOLDER``.

Reads ``FOLDER/job.json``, trains one seed after another on one thread, and writes ``sb3-seed<N>.zip`` (the model),
``sb3-seed<N>.json`` (CPU seconds and training episodes) and, if observations or rewards are normalized,
``sb3-seed<N>.pkl``. Prints ``seed timesteps`` every ``REPORT_STEPS`` steps.
"""

from __future__ import annotations

import json
import pickle
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import stable_baselines3
import torch
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from rlkit.atomic_files import whole_file

from ...report.ledger import to_json, write_text
from .sb3_job import SB3Job

ACTIVATIONS = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}
REPORT_STEPS = 500  # between lines on the standard output


class Log(BaseCallback):
    """Record training returns and print the progress. It costs about a thousandth of the measured time."""

    def __init__(self) -> None:
        super().__init__()
        self.episodes: list[tuple[int, float]] = []  # timesteps when an episode ended, and its return
        self._due = 0

    def _on_step(self) -> bool:
        ended = [info["episode"]["r"] for info in self.locals["infos"] if "episode" in info]
        self.episodes += [(self.num_timesteps, episode_return) for episode_return in ended]
        if self.num_timesteps >= self._due:
            self._due += REPORT_STEPS
            print(self.model.seed, self.num_timesteps, flush=True)
        return True


def make_model(job: SB3Job, seed: int) -> DQN | A2C | PPO:
    """The untrained model of one seed, on the CPU; every environment has a monitor, as stable-baselines3 adds one."""
    arguments = {name: falling(value) if name in job.linear else value for name, value in job.arguments.items()}
    policy = {name: value for name, value in job.policy.items() if name != "activation"}

    def copy() -> gymnasium.Env[Any, Any]:
        return Monitor(gymnasium.make(job.env, **job.env_kwargs))

    env: VecEnv = DummyVecEnv([copy] * job.num_envs)
    model: DQN | A2C | PPO = getattr(stable_baselines3, job.algorithm)(
        "MlpPolicy",
        VecNormalize(env, **job.normalization) if job.normalization else env,
        policy_kwargs={
            **policy,
            "net_arch": list(job.policy["net_arch"]),
            "activation_fn": ACTIVATIONS[job.policy["activation"]],
        },
        seed=seed,
        device="cpu",
        **arguments,
    )
    model.set_logger(Logger(None, []))  # without one, each training leaves an empty folder in that of temporary files
    return model


def falling(initial: float) -> Callable[[float], float]:
    """A line from the initial value to zero.

    Training is rounded up to whole rollouts, so progress ends below 0, and there an unclamped line is a negative
    learning rate: a last round of gradient ascent, which can undo what was learned.
    """
    return lambda progress: max(progress, 0.0) * initial


def train(job: SB3Job, seed: int, folder: Path) -> None:
    """Train one seed, save the model, and write its costs."""
    model, log = make_model(job, seed), Log()
    cpu, wall = time.process_time(), time.perf_counter()
    model.learn(job.steps, callback=log)
    normalization = model.get_vec_normalize_env()
    cost: dict[str, Any] = {
        "seed": seed,
        "cpu_seconds": time.process_time() - cpu,
        "wall_seconds": time.perf_counter() - wall,
        "timesteps": model.num_timesteps,
        "normalized": normalization is not None,
        "episodes": log.episodes,
    }
    with whole_file(folder / f"sb3-seed{seed}.zip") as file:
        model.save(file)
    if normalization is not None:
        with whole_file(folder / f"sb3-seed{seed}.pkl") as file:
            pickle.dump(normalization, file)  # what its ``save`` writes
    write_text(folder / f"sb3-seed{seed}.json", to_json(cost))
    print(seed, model.num_timesteps, flush=True)


def main(folder: Path) -> int:
    """Train every seed of the job in ``folder``."""
    torch.set_num_threads(1)
    job = SB3Job(**json.loads((folder / "job.json").read_text(encoding="utf-8")))
    try:
        for seed in job.seeds:
            train(job, seed, folder)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
