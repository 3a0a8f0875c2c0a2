"""Train for many steps and watch memory and open files: ``python train_long.py ALGORITHM STEPS FOLDER``.

Prints a JSON object: steps, growth of the resident memory in MB and of the number of open files, both after a quarter
of the steps.
"""

import json
import os
import sys
import warnings
from pathlib import Path

import torch

from rlkit.agents import ALGORITHMS

SETTINGS = {
    "DQN": {"buffer_size": 5_000, "learning_starts": 500, "train_freq": 8, "num_envs": 8, "net_arch": (16,)},
    "A2C": {"num_envs": 8, "net_arch": (16,)},
    "PPO": {"num_envs": 8, "n_steps": 64, "n_epochs": 2, "net_arch": (16,)},
}
LOOKS = 20  # in a training; each of them saves a policy and a checkpoint


def resident_mb():
    """Memory of this process, in MB."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_files():
    """Descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


def main(name, steps, folder):
    """Train, save at every look, and compare the last look with the one after a quarter."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    agent = ALGORITHMS[name]("CartPole-v1", seeds=1, device="cpu", **SETTINGS[name])
    seen = []
    for _ in agent.training(steps, every=steps // LOOKS):
        agent.save(folder / "policy.safetensors")
        agent.checkpoint(folder / "run.safetensors")
        seen.append((resident_mb(), open_files()))
    first, last = seen[LOOKS // 4], seen[-1]
    print(json.dumps({"steps": agent.num_timesteps, "mb": round(last[0] - first[0], 1), "files": last[1] - first[1]}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
