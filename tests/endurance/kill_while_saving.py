"""Kill processes while they save, and count what is left: ``python kill_while_saving.py KILLS FOLDER``.

Prints a JSON object: kills, runs that can be used after their kill, kills that hit a half-written file, and the files
that are left after the next save and that nothing explains.
"""

import json
import os
import random
import re
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch

from rlkit.agents import DQN, load, resume
from rlkit.mdp import TabularMDP, garnet

FILES = {"run.safetensors", "policy.safetensors", "table.npz"}
LEFTOVER = re.compile(r"\.(run\.safetensors|policy\.safetensors|table\.npz)\..+\.rlkit-part")
LONGEST = 0.05  # seconds between the first whole save and the kill


def save(agent, mdp, folder):
    """Write the three files that rlkit saves of an agent and of a problem."""
    agent.checkpoint(folder / "run.safetensors")
    agent.save(folder / "policy.safetensors")
    mdp.save(folder / "table.npz")


def killed_while_saving(agent, mdp, folder, seconds):
    """Save again and again in a process of its own, and kill it.

    Args:
        agent, mdp, folder: what is saved, and where.
        seconds: between the first whole save and the kill; None kills it between writing and renaming a file.
    """
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        while True:
            save(agent, mdp, folder)
            os.write(tell, b".")
            if seconds is None:
                os.replace = lambda *_: (os.write(tell, b"."), signal.pause())
    os.read(ready, 1)
    if seconds is None:
        os.read(ready, 1)
    else:
        time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(ready)
    os.close(tell)


def usable(folder, agent):
    """Whether the three files are whole."""
    run, policy = (
        read(folder / name, device="cpu") for read, name in ((resume, "run.safetensors"), (load, "policy.safetensors"))
    )
    table = TabularMDP.load(folder / "table.npz")
    same = all(torch.equal(each.networks["q"].flat, agent.networks["q"].flat) for each in (run, policy))
    return same and run.num_timesteps == agent.num_timesteps and table.num_states == 200


def main(kills, folder):
    """Kill, look, save again, look again."""
    torch.set_num_threads(1)
    moments = random.Random(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agent = DQN("CartPole-v1", seeds=4, device="cpu", buffer_size=20_000, learning_starts=500).learn(2000)
    mdp = garnet(200, 3, 4, np.random.default_rng(0))
    found = {"kills": 0, "usable": 0, "half_written": 0, "unexplained": []}
    for kill in range(kills):
        run = folder / f"{kill:03}"
        run.mkdir()
        killed_while_saving(agent, mdp, run, None if kill == 0 else moments.uniform(0.0, LONGEST))
        found["kills"] += 1
        found["usable"] += usable(run, agent)
        rest = set(os.listdir(run)) - FILES
        found["half_written"] += bool(rest)
        found["unexplained"] += [name for name in rest if not LEFTOVER.fullmatch(name)]
        save(agent, mdp, run)
        found["unexplained"] += sorted(set(os.listdir(run)) - FILES)
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
