"""A process that trains batches: ``python -m rlkit.experiments.workflows.sweep.worker``.

Reads the folder of an attempt per line of the standard input, as JSON, and prints ``ended`` after each of them. What
became of the attempt is in the ledger. ``attempt_in`` does the same for one attempt in the process of another library.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from rlkit.agents import Agent
from rlkit.agents.checkpoints import FOLDER as CHECKPOINTS
from rlkit.agents.checkpoints import mean_return
from rlkit.compiled.threads import one_blas_thread
from rlkit.evaluation import EVALUATION_SEED

from ...report import ledger
from ...stopping import Stopped, interruptible, stop_signals
from ..evaluate import Played, play
from ..train import KeptTraining, Training, TrainingResult, save, train
from .experiment import batch_training
from .sweep_ledger import LOG, AttemptProgress, SweepAttempt, checkpoints_of, commit, ledger_of, traceback_of

BEAT_SECONDS = 5.0  # between two heartbeats
LOOK_SECONDS = 0.5  # between two looks at the parent process and at the wish to stop
SHORT_SECONDS = 10.0  # of a training that is not worth a checkpoint at its end, before it is evaluated


def run_attempt(attempt: SweepAttempt) -> None:
    """Train the runs of an attempt, commit the result of each, and write how it ended.

    A training continues from the newest readable checkpoint of any attempt at the same batch. It stops at the end of an
    iteration with a checkpoint after the first SIGINT or SIGTERM, when the driver asks for it, and when the parent
    process has gone.
    """
    try:
        with interruptible() as signaled, Heartbeat(attempt) as heartbeat:
            job = attempt.job()
            training = batch_training(list(job["runs"].values()))
            kept = continued(training, attempt, job["checkpoint_every"])
            trained = train(training, kept.agent, heartbeat.watch, kept, lambda: signaled() or heartbeat.must_stop())
            if not trained.finished:
                attempt.finish("stopped")
                return
            save(trained.agent, attempt.folder)
            first = next(iter(job["runs"].values()))
            env = trained.agent.evaluation_env(first["episodes"], first.get("first_episode", EVALUATION_SEED))
            played = play(trained.agent, env)
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
        training: the training.
        attempt: at the batch.
        every: environment steps between two checkpoints; None decides by time.
    """
    fresh = training.make_agent()
    for _, path in checkpoints_of(attempt.folder.parent):
        own = attempt.folder / CHECKPOINTS / path.name
        own.parent.mkdir(exist_ok=True)
        try:
            os.link(path, own)
        except OSError as error:  # removed meanwhile
            print(f"{path} was not used: {error}")
            continue
        try:
            kept = KeptTraining(
                fresh, attempt.folder, every, resume=True, engine=training.engine, short_seconds=SHORT_SECONDS
            )
        except ValueError as error:
            print(f"{path} was not used: {error}")
            own.unlink()
            continue
        print(f"continued at step {kept.agent.num_timesteps}")
        return kept
    return KeptTraining(fresh, attempt.folder, every, short_seconds=SHORT_SECONDS)


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

    Args:
        attempt: attempt that runs.
    """

    def __init__(self, attempt: SweepAttempt) -> None:
        self.attempt, self.progress = attempt, AttemptProgress()
        self._over, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        self.attempt.beat(self.progress)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def watch(self, agent: Agent, steps: Iterator[int], total: int) -> Iterator[int]:
        """Pass steps through, and remember how far the training is."""
        began, first = time.monotonic(), agent.num_timesteps
        for done in steps:
            score = mean_return(agent)
            self.progress = AttemptProgress(
                steps=done,
                rows=agent.num_seeds,
                rate=agent.num_seeds * (done - first) / max(time.monotonic() - began, 1e-3),
                mean_return=None if math.isnan(score) else score,
            )
            yield done

    def must_stop(self) -> bool:
        """Whether the driver has asked the attempt to stop, or the parent process has gone."""
        return self._stop.is_set()

    def _beat(self) -> None:
        parent, waited = os.getppid(), 0.0
        while not self._over.wait(LOOK_SECONDS):
            waited += LOOK_SECONDS
            if os.getppid() != parent or self.attempt.stop_asked():
                self._stop.set()
            if waited >= BEAT_SECONDS:
                waited = 0.0
                try:
                    self.attempt.beat(self.progress)
                except OSError as error:  # such as a full disk, which ends the attempt where it matters
                    print(f"no heartbeat: {error}")


def attempt_in(folder: str) -> str:
    """Run the attempt in a folder on one thread, in the process of another library; the name of the folder.

    What it prints goes to ``log.txt`` in the folder.
    """
    torch.set_num_threads(1)
    attempt = SweepAttempt(Path(folder))
    with one_blas_thread(), printing_to(attempt.folder / LOG):
        run_attempt(attempt)
    return attempt.folder.name


@contextmanager
def printing_to(path: Path) -> Iterator[None]:
    """Within the context append the standard output and the standard error of the process to a file."""
    before = [os.dup(number) for number in (1, 2)]
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        _redirect(file, file)
        yield
    finally:
        _redirect(*before)
        for descriptor in (file, *before):
            os.close(descriptor)


def _redirect(out: int, err: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(out, 1)
    os.dup2(err, 2)


def main() -> int:
    """Take attempts from the standard input until it ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    try:
        with stop_signals() as stop, printing_to(Path(os.devnull)):
            for line in sys.stdin:
                attempt_in(json.loads(line))
                print("ended", file=answers, flush=True)
                if stop():
                    return stop.stopped().code
    except Stopped as stopped:
        return stopped.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
