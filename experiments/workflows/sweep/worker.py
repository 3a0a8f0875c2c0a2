"""A process that trains batches: ``python -m rlkit.experiments.workflows.sweep.worker``.

Reads the folder of an attempt per line of the standard input, as JSON, and prints ``ended`` after each of them. What
became of the attempt is in the ledger. What a batch prints goes to ``log.txt`` in the folder of its attempt.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from rlkit.agents import Agent

from ...report import ledger
from ...stopping import Stopped, interruptible, stop_signals
from ..evaluate import Played, play
from ..train import KeptTraining, Training, TrainingResult, save, train
from .experiment import batch_training
from .sweep_ledger import SweepAttempt, checkpoints_of, commit, ledger_of, traceback_of

BEAT_SECONDS = 5.0  # between two heartbeats
LOOK_SECONDS = 0.5  # between two looks at the parent process


def run_attempt(attempt: SweepAttempt) -> None:
    """Train the runs of an attempt, commit the result of each, and write how it ended.

    A training continues from the newest readable checkpoint of any attempt at the same batch. After the first SIGINT or
    SIGTERM it stops at the end of its iteration with a checkpoint.
    """
    try:
        with interruptible() as stop, Heartbeat(attempt) as heartbeat:
            job = attempt.job()
            training = batch_training(list(job["runs"].values()))
            kept = continued(training, attempt, job["checkpoint_every"])
            trained = train(training, kept.agent, heartbeat.watch, kept, stop)
            if not trained.finished:
                attempt.finish("stopped")
                return
            save(trained.agent, attempt.folder)
            episodes = next(iter(job["runs"].values()))["episodes"]
            played = play(trained.agent, trained.agent.evaluation_env(episodes))
            for row, (run, configuration) in enumerate(job["runs"].items()):
                results = row_results(trained, played, row)
                place = {"attempt": str(attempt.folder.relative_to(ledger_of(attempt))), "row": row}
                commit(attempt, run, {"configuration": configuration, **place, **results})
            kept.checkpoints.clear()
            attempt.finish("done")
    except Exception as error:
        attempt.finish("failed", traceback_of(error))


def continued(training: Training, attempt: SweepAttempt, every: int | None = None) -> KeptTraining:
    """The training of an attempt, begun or continued.

    A checkpoint of another attempt gets a second name in the folder of this one, so that the other may remove it.

    Args:
        training: what is trained.
        attempt: at the batch.
        every: environment steps between two checkpoints; None decides by time.
    """
    fresh = training.make_agent()
    for _, path in checkpoints_of(attempt.folder.parent):
        own = attempt.folder / "checkpoints" / path.name
        own.parent.mkdir(exist_ok=True)
        try:
            os.link(path, own)
        except OSError as error:  # removed meanwhile
            print(f"{path} was not taken: {error}")
            continue
        try:
            kept = KeptTraining(fresh, attempt.folder, every, resume=True, engine=training.engine)
        except ValueError as error:
            print(f"{path} was not taken: {error}")
            own.unlink()
            continue
        print(f"continued at step {kept.agent.num_timesteps}")
        return kept
    return KeptTraining(fresh, attempt.folder, every)


def row_results(trained: TrainingResult, played: Played, row: int) -> dict[str, Any]:
    """The result of one row of a batch: versions, numbers, the training log, and a digest of the policy."""
    agent = trained.agent
    stopped = np.flatnonzero(agent.training_state.diverged_at.cpu().numpy() >= 0).tolist()
    diverged = agent.divergences[stopped.index(row)] if row in stopped else None
    return {
        "versions": ledger.versions(),
        "results": ledger.plain(
            {
                "mean_return": played.seed_means[row],
                "returns": played.returns[row],
                "lengths": played.lengths[row],
                "capped_episodes": int(played.capped[row].sum(axis=None)),
                "timesteps": agent.num_timesteps,
                "diverged": None if diverged is None else {"step": diverged.step, "what": diverged.what},
                "policy": policy_digest(agent, row),
                "log": {name: values[:, row] for name, values in agent.history.items()},
            }
        ),
        "cost": {
            "rows": agent.num_seeds,
            "cpu_seconds": trained.cpu_seconds / agent.num_seeds,
            "wall_seconds": trained.wall_seconds,
        },
    }


def policy_digest(agent: Agent, row: int) -> str:
    """The SHA-256 of the parameters of a row."""
    digest = hashlib.sha256()
    for name, network in sorted(agent.networks.items()):
        digest.update(name.encode())
        digest.update(network.flat[:, network.columns][row].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class Heartbeat:
    """Write the heartbeat of an attempt from a thread, within a ``with`` block.

    The thread asks this process to stop in order when its parent has gone.

    Args:
        attempt: that runs.
    """

    def __init__(self, attempt: SweepAttempt) -> None:
        self.attempt, self.progress = attempt, {"steps": 0}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        self.attempt.beat(**self.progress)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def watch(self, agent: Agent, steps: Iterator[int], total: int) -> Iterator[int]:
        """Pass steps through, and remember how far the training is."""
        for done in steps:
            self.progress["steps"] = done
            yield done

    def _beat(self) -> None:
        parent, waited = os.getppid(), 0.0
        while not self._over.wait(LOOK_SECONDS):
            waited += LOOK_SECONDS
            if os.getppid() != parent:
                parent = os.getppid()
                os.kill(os.getpid(), signal.SIGTERM)
            if waited >= BEAT_SECONDS:
                waited = 0.0
                try:
                    self.attempt.beat(**self.progress)
                except OSError as error:  # such as a full disk, which ends the attempt where it matters
                    print(f"no heartbeat: {error}")


def main() -> int:
    """Take attempts from the standard input until it ends."""
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    try:
        with stop_signals() as stop:
            for line in sys.stdin:
                attempt = SweepAttempt(Path(json.loads(line)))
                _print_to(attempt.folder / "log.txt")
                run_attempt(attempt)
                sys.stdout.flush()
                _print_to(Path(os.devnull))
                print("ended", file=answers, flush=True)
                if stop():
                    return stop.stopped().code
    except Stopped as stopped:
        return stopped.code
    return 0


def _print_to(path: Path) -> None:
    """Send the standard output and the standard error to a file from now on."""
    sys.stdout.flush()
    sys.stderr.flush()
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


if __name__ == "__main__":
    sys.exit(main())
