"""Policies that long experiments share: what is in a folder is read, what is missing there is trained and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import rlkit.agents
import rlkit.sb3
from rlkit.adversarial import Stacked, Victim
from rlkit.agents import Agent

from ...workflows.compare import Peer, order_for, require_peer
from ...workflows.policies import OURS, PEER
from ...workflows.train import Training, train


def our_policy(training: Training, folder: Path) -> Agent:
    """The agent in the folder, trained and saved there if there is none."""
    path = folder / "agent.safetensors"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        train(training, training.make_agent()).agent.save(path)
    return rlkit.agents.load(path, device="cpu")


def peer_policy(training: Training, folder: Path) -> Stacked:
    """stable-baselines3's models in the folder as one stack; seeds that are not there are trained.

    Raises:
        ModuleNotFoundError: stable-baselines3 is not installed.
        PeerFailed: its process failed.
    """
    require_peer()
    folder.mkdir(parents=True, exist_ok=True)
    seeds = tuple(seed for seed in training.seeds if not (folder / f"sb3-seed{seed}.zip").is_file())
    if seeds:
        config = replace(training, seeds=seeds[:1]).make_agent().config
        with Peer(order_for(training, config, seeds), folder) as peer:
            peer.results()
    algo = training.algo.upper()
    files = [folder / f"sb3-seed{seed}.zip" for seed in training.seeds]
    models = [rlkit.sb3.load(file, algo, trust=True).models[0] for file in files]  # made here
    return Stacked([rlkit.sb3.layers_of(model) for model in models], algo == "DQN", training.seeds)


POLICIES: Mapping[str, Callable[[Training, Path], Victim]] = {OURS: our_policy, PEER: peer_policy}
