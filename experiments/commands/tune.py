"""``rlkit tune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional

from .options import DONE, FAILED, DeviceOfFile, ExecutorOptions, Json, Output, unset

if TYPE_CHECKING:
    from ..workflows.sweep.experiment import Experiment
    from ..workflows.sweep.sweep_ledger import SweepLedger


def tune(
    file: Positional[Path],
    execution: ExecutorOptions,
    out: Annotated[Path | None, unset("FOLDER", "runs/NAME")] = None,
    resume: bool = False,
    device: DeviceOfFile = None,
    json: Json = False,
) -> int:
    """Search hyper-parameters with Optuna, and freeze the best into a file that --preset reads.

    The configurations of a round train as rows of one computation where they differ only in numbers that may differ by
    row. Only the best of them train again with more steps. Tuning has its own seeds and its own starts of episodes:
    commands that read the preset refuse its seeds. The first Ctrl-C or SIGTERM saves checkpoints and stops; the same
    command with --resume continues.

    Example: rlkit tune search.toml --out runs/search

    Args:
        file: TOML file of the search; the page "Experiments" of the documentation describes its keys.
        out: Folder of the results and of preset.json.
        resume: Continue the search in the folder.
    """
    import torch

    from rlkit.devices import usable_device

    from ..report import ledger
    from ..stopping import interruptible
    from ..workflows.sweep.driver import drive
    from ..workflows.sweep.sweep_ledger import SweepLedger
    from ..workflows.tune import FOLDER_OF_ROUND, Tuning, read_search, tuning_record

    torch.set_num_threads(1)
    output = Output(json=json)
    search = read_search(file, device)
    folder = out or Path("runs", search.name)
    first = folder / FOLDER_OF_ROUND.format(round=0, rung=0)
    if first.exists() and not resume:
        raise ValueError(f"{folder} holds a search already: pass --resume to continue it, or choose another --out")
    executor = execution.start(folder, search.configurations * len(search.seeds), str(usable_device(search.device)))
    with interruptible() as stop, executor:

        def run(experiment: Experiment, inside: Path) -> SweepLedger | None:
            output.tell(f"{inside.name}: {len(experiment.runs)} runs in {len(experiment.batches)} computations")
            sweep = SweepLedger.begin(inside, experiment, resume=True)
            return sweep if drive(sweep, executor, output.tell, stop) else None

        tuning = Tuning(search, run)
        finished = tuning.run(folder)
    if not finished:
        stopped = stop.stopped(f"interrupted after {len(tuning.trials)} configurations")
        stopped.kept = True
        raise stopped
    best = tuning.best()
    record = tuning_record(tuning, best)
    if best is not None:
        tuning.preset(best).write(folder / "preset.json")
    ledger.write(record, folder)
    output.show(record)
    output.end(record, folder)
    return FAILED if best is None else DONE
