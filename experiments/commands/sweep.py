"""``rlkit sweep``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from .options import DONE, FAILED, Json, Output, at_least_one, unset


def sweep(
    file: Positional[Path],
    out: Annotated[Path | None, unset("FOLDER", "runs/NAME")] = None,
    resume: bool = False,
    workers: Annotated[int | None, unset("INT", "one per CPU")] = None,
    json: Json = False,
) -> int:
    """Run an experiment: train and evaluate every agent in every environment with every setting and seed.

    Seeds, and settings that differ only in numbers a row can have for itself, train as one computation. The first
    Ctrl-C or SIGTERM saves checkpoints and leaves; the second one leaves at once. The same command with --resume
    continues, and several of them may work at one folder. Runs that fail are named, and the others finish; the exit
    code is then 1.

    Example: rlkit sweep experiment.toml --out runs/learning-rates

    Args:
        file: TOML file of the experiment; its keys are in the quickstart.
        out: Folder of the results.
        resume: Continue the sweep in the folder: run what has no result.
        workers: Processes that train at the same time.
    """
    import torch

    from ..report import ledger
    from ..report.ledger import write_text
    from ..stopping import interruptible
    from ..workflows.rerun import EXPERIMENT
    from ..workflows.sweep.driver import SweepDriver, counts, sweep_record
    from ..workflows.sweep.executors import LocalExecutor
    from ..workflows.sweep.experiment import read_experiment
    from ..workflows.sweep.sweep_ledger import SweepLedger

    torch.set_num_threads(1)
    if workers is not None:
        at_least_one("workers", workers)
    output = Output(json=json)
    experiment = read_experiment(file)
    found = SweepLedger.begin(out or Path("runs", experiment.name), experiment, resume)
    wanted = min(workers or os.cpu_count() or 1, len(experiment.runs))
    with interruptible() as stop, LocalExecutor(wanted) as executor:
        finished = SweepDriver(found, executor, output.tell).run(stop)
    states = found.states()
    if not finished:
        stopped = stop.stopped(f"interrupted with {counts(states)['done']} of {len(states)} runs done")
        stopped.kept = True
        raise stopped
    run = sweep_record(found, states)
    write_text(found.folder / EXPERIMENT, experiment.text)
    ledger.write(run, found.folder)
    output.show(run)
    output.tell(f"written to {found.folder}")
    return DONE if counts(states)["done"] == len(states) else FAILED
