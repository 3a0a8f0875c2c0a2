"""Trainings inside a case of a study: their checkpoints, from which an interrupted study goes on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from ...report.ledger import to_json
from ...stopping import interruptible
from ...workflows.train import ExactCurve, KeptTraining, Training, TrainingResult, train
from .devices import on_cpu

FOLDER = "unfinished"


@contextmanager
def unfinished(folder: Path, name: str, training: Training) -> Iterator[Path]:
    """The folder of a training's checkpoints, ``FOLDER`` below ``folder``; it is removed when the block has ended.

    An error or a stop leaves it. Its name has a hash of the training, so that other settings begin anew.

    Args:
        folder: of the outcome.
        name: of the case.
        training: all that the outcome depends on.
    """
    settings = json.dumps(json.loads(to_json(asdict(training))), sort_keys=True)
    kept = folder / FOLDER / f"{name}-{hashlib.sha256(settings.encode()).hexdigest()[:12]}"
    yield kept
    shutil.rmtree(kept, ignore_errors=True)
    if (folder / FOLDER).is_dir() and not any((folder / FOLDER).iterdir()):
        (folder / FOLDER).rmdir()


def trained(training: Training, folder: Path, name: str, recorded: ExactCurve | None = None) -> TrainingResult:
    """Train, or continue from the newest checkpoint in a folder, and return the agent on the CPU.

    Checkpoints take at most 3 % of the time.

    Args:
        training: what is trained.
        folder: of ``unfinished``.
        name: of the case, for the message of a stop.
        recorded: records exact returns.

    Raises:
        Stopped: a SIGINT or SIGTERM asked to stop; a checkpoint was written at the end of the iteration.
        ValueError: the folder holds checkpoints, and none can be read.
    """
    kept = KeptTraining(training.make_agent(), folder, resume=True)
    with interruptible() as stop:
        result = train(training, kept.agent, None if recorded is None else kept.with_curve(recorded), kept, stop)
    if stop():
        raise stop.stopped(f"interrupted at step {kept.agent.num_timesteps:,} of {training.steps:,} of {name}")
    return result._replace(agent=on_cpu(result.agent))
