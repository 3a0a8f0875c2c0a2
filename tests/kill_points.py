"""Commands that are killed at random points and continued until they end: ``python kill_points.py KILLS COMMANDS``.

COMMANDS is JSON, ``{name: arguments}``. Each command first runs to its end in this process, which imports what it
needs, and then in forked processes that send themselves SIGKILL at a counted event: the start of an iteration, of an
evaluation, of a flush to the disk or of a renaming. The runs of a command are the folders ``NAME/run-0``,
``NAME/run-1``, ... of the working directory, and ``run-0`` was never killed. Prints JSON, ``{name: [kills, runs]}``.
"""

import contextlib
import functools
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # autograd's threads for GPUs do not survive a fork

import numpy as np
import torch

from rlkit.agents import ALGORITHMS
from rlkit.experiments.cli import main
from rlkit.experiments.workflows import train

MOST_EVENTS = 10**9
COUNTED = [
    *((owner, "iteration") for owner in ALGORITHMS.values()),
    (os, "fsync"),
    (os, "replace"),
    (train, "played_by"),
]


class Events:
    """Counts calls, and kills the process at one of them."""

    def __init__(self, last: int = MOST_EVENTS) -> None:
        self.count, self.last = 0, last

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its calls counted."""

        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            self.count += 1
            if self.count >= self.last:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return wrapped


def run(arguments: list[str], last: int = MOST_EVENTS) -> tuple[int, int]:
    """Run a command in this process, which dies at the event ``last``; the exit status, and the events counted."""
    events = Events(last)
    with contextlib.ExitStack() as patches:
        for owner, name in COUNTED:
            patches.enter_context(mock.patch.object(owner, name, events.counted(getattr(owner, name))))
        return main(arguments), events.count


def attempt(arguments: list[str], last: int) -> int:
    """Run a command in a process of its own; the wait status of that."""
    process = os.fork()
    if process == 0:
        os._exit(run(arguments, last)[0])
    return os.waitpid(process, 0)[1]


def chain(kills: int, name: str, arguments: list[str], seed: int = 0) -> tuple[int, int]:
    """Kill and continue runs of a command until there were so many kills and the last run is finished."""
    points = np.random.default_rng(seed)
    status, total = run([*arguments, "--out", f"{name}/run-0"])
    assert status == 0, (name, status)
    done, runs = 0, 0
    while done < kills:
        runs += 1
        command = [*arguments, "--out", f"{name}/run-{runs}"]
        resumed: list[str] = []
        finished = False
        while not finished:
            last = int(points.integers(1, max(2, 2 * total // 4))) if done < kills else MOST_EVENTS
            status = attempt([*command, *resumed], last)
            if os.WIFSIGNALED(status):
                assert os.WTERMSIG(status) == signal.SIGKILL
                done, resumed = done + 1, ["--resume"]
            else:
                assert status == 0, (name, status)
                finished = True
    return done, runs


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout, printed = open(os.devnull, "w", encoding="utf-8"), sys.stdout  # noqa: SIM115
    commands = json.loads(sys.argv[2])
    print(json.dumps({name: chain(int(sys.argv[1]), name, commands[name]) for name in commands}), file=printed)
