"""Trained policies that studies share: read from a folder, or trained and saved there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import rlkit.agents
import rlkit.sb3
from rlkit.adversarial import Stacked, Victim
from rlkit.agents import Agent

from ...workflows.compare import SB3Process, require_sb3, sb3_job_for
from ...workflows.policies import RLKIT, SB3
from ...workflows.train import Training
from .unfinished import trained, unfinished


def rlkit_policy(training: Training, folder: Path) -> Agent:
    """The rlkit agent in the folder; if there is none, it is trained, or its training is continued, and saved there."""
    path = folder / "agent.safetensors"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with unfinished(folder, folder.name, training) as kept:
            trained(training, kept, folder.name).agent.save(path)
    return rlkit.agents.load(path, device="cpu")


def sb3_policy(training: Training, folder: Path) -> Stacked:
    """The stable-baselines3 models in the folder as one stack; missing seeds are trained and saved there.

    Raises:
        ModuleNotFoundError: stable-baselines3 is not installed.
        SB3Failed: the process of stable-baselines3 failed.
    """
    require_sb3()
    folder.mkdir(parents=True, exist_ok=True)
    seeds = tuple(seed for seed in training.seeds if not (folder / f"sb3-seed{seed}.zip").is_file())
    if seeds:
        config = replace(training, seeds=seeds[:1]).make_agent().config
        with SB3Process(sb3_job_for(training, config, seeds), folder) as process:
            process.results()
    algo = training.algo.upper()
    files = [folder / f"sb3-seed{seed}.zip" for seed in training.seeds]
    models = [rlkit.sb3.load(file, algo, trust=True).models[0] for file in files]  # written here
    return Stacked([rlkit.sb3.layers_of(model) for model in models], algo == "DQN", training.seeds)


POLICIES: Mapping[str, Callable[[Training, Path], Victim]] = {RLKIT: rlkit_policy, SB3: sb3_policy}
