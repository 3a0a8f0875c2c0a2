"""``rlkit sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from .options import DONE, FAILED, DeviceOfFile, ExecutorOptions, Json, Output, unset


def sweep(
    file: Positional[Path],
    execution: ExecutorOptions,
    out: Annotated[Path | None, unset("FOLDER", "runs/NAME")] = None,
    resume: bool = False,
    device: DeviceOfFile = None,
    tensorboard: bool = False,
    json: Json = False,
) -> int:
    """Run an experiment: train and evaluate every agent in every environment with every setting and seed.

    All seeds train as one computation, together with settings that differ only in numbers that may differ by row. The
    first Ctrl-C or SIGTERM saves checkpoints and stops; the second one stops at once. The same command with --resume
    continues, and several such commands may work on one folder. If a run fails, the command names it, the others
    finish, and the exit code is 1.

    Example: rlkit sweep experiment.toml --out runs/learning-rates

    Args:
        file: TOML file of the experiment; the page "Experiments" of the documentation describes its keys.
        out: Folder of the results.
        resume: Continue the sweep in the folder: run only the runs without a result.
        tensorboard: Also write the progress and the log of every run for TensorBoard, to the folder tensorboard below
            --out.
    """
    import torch

    from rlkit.optional_packages import require

    from ..report import ledger
    from ..report.ledger import write_text
    from ..stopping import interruptible
    from ..workflows.rerun import EXPERIMENT
    from ..workflows.sweep.driver import counts, drive, sweep_record
    from ..workflows.sweep.experiment import read_experiment
    from ..workflows.sweep.progress import write_run_events
    from ..workflows.sweep.sweep_ledger import SweepLedger

    torch.set_num_threads(1)
    if tensorboard:
        require("tensorboard", "TensorBoard", "tensorboard")
    output = Output(json=json)
    experiment = read_experiment(file, device)
    folder = out or Path("runs", experiment.name)
    executor = execution.start(folder, len(experiment.runs), experiment.device)
    found = SweepLedger.begin(folder, experiment, resume)
    with interruptible() as stop, executor:
        finished = drive(found, executor, output.tell, stop, tensorboard)
    states = found.states()
    if not finished:
        stopped = stop.stopped(f"interrupted with {counts(states)['done']} of {len(states)} runs done")
        stopped.kept = True
        raise stopped
    run = sweep_record(found, states)
    if tensorboard:
        write_run_events(found, states)
    write_text(found.folder / EXPERIMENT, experiment.text)
    ledger.write(run, found.folder)
    output.show(run)
    output.end(run, found.folder)
    return DONE if counts(states)["done"] == len(states) else FAILED
