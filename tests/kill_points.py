"""A command that is killed at random points and continued until it ends: ``python kill_points.py KILLS ARGUMENTS...``.

Each attempt is a forked process that sends itself SIGKILL at a counted event: the start of an iteration, of an
evaluation, of a flush to the disk or of a renaming. Without a kill point an attempt ends by itself; runs end in the
folders ``run-0``, ``run-1``, ... of the working directory, and ``run-0`` was never killed. Prints the number of kills
and the number of runs.
"""

import functools
import os
import signal
import sys

import numpy as np
import torch

from rlkit.agents import ALGORITHMS
from rlkit.experiments.cli import main
from rlkit.experiments.workflows import train

MOST_EVENTS = 10**9


class Events:
    """Counts calls, and kills the process at one of them."""

    def __init__(self, last: int = MOST_EVENTS) -> None:
        self.count, self.last = 0, last

    def counted(self, owner: object, name: str) -> None:
        """Count the calls of a function from now on."""
        function = getattr(owner, name)

        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            self.count += 1
            if self.count >= self.last:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        setattr(owner, name, wrapped)


def attempt(arguments: list[str], last: int = MOST_EVENTS) -> tuple[int, int]:
    """Run a command in a process of its own; its wait status, and the events that it counted if it ended by itself."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        events = Events(last)
        for algorithm in ALGORITHMS.values():
            events.counted(algorithm, "iteration")
        events.counted(os, "fsync")
        events.counted(os, "replace")
        events.counted(train, "played_by")
        code = main(arguments)
        os.write(writing, str(events.count).encode())
        os._exit(code)
    os.close(writing)
    _, status = os.waitpid(process, 0)
    with os.fdopen(reading) as told:
        return status, int(told.read() or 0)


def chain(kills: int, arguments: list[str], seed: int = 0) -> tuple[int, int]:
    """Kill and continue runs of a command until there were so many kills and the last run is finished."""
    points = np.random.default_rng(seed)
    status, total = attempt([*arguments, "--out", "run-0"])
    assert status == 0, status
    done, runs = 0, 0
    while done < kills:
        runs += 1
        command = [*arguments, "--out", f"run-{runs}"]
        resumed: list[str] = []
        finished = False
        while not finished:
            last = int(points.integers(1, max(2, 2 * total // 4))) if done < kills else MOST_EVENTS
            status, _ = attempt([*command, *resumed], last)
            if os.WIFSIGNALED(status):
                assert os.WTERMSIG(status) == signal.SIGKILL
                done, resumed = done + 1, ["--resume"]
            else:
                assert status == 0, status
                finished = True
    return done, runs


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout, printed = open(os.devnull, "w", encoding="utf-8"), sys.stdout  # noqa: SIM115
    print(*chain(int(sys.argv[1]), sys.argv[2:]), file=printed)
