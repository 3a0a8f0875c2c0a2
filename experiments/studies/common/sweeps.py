"""Studies whose settings are experiments in TOML: train their batches and keep one row per run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from ...report import terminal
from ...workflows.sweep.experiment import (
    Batch,
    Experiment,
    GridCell,
    PlannedRun,
    batch_training,
    cells_of,
    read_experiment,
    read_toml,
)
from ...workflows.train import Training
from . import rows


@dataclass(frozen=True)
class RunRow:
    """The beginning of every row of a run."""

    cell: str  # the run's place in the grid, ``PlannedRun.cell``
    seed: int  # of training


R = TypeVar("R", bound=RunRow)
Measure = Callable[[Batch, Training], Sequence[RunRow]]  # train runs as one computation, and return a row of each


class Part(NamedTuple):
    """One experiment of a study; its settings are the file ``NAME.toml`` in the folder of the study."""

    name: str
    folder: Path

    @property
    def experiment(self) -> Experiment:
        """The runs and batches of the file."""
        return _experiment(self.folder / f"{self.name}.toml")

    @property
    def cells(self) -> list[GridCell]:
        """The trainings of the file, for studies whose rows are older than it: no preset is written out."""
        return cells_of(read_toml(self.folder / f"{self.name}.toml", "an experiment")[0])


@cache
def _experiment(path: Path) -> Experiment:
    return read_experiment(path)


def parts(run_file: str, *names: str) -> tuple[Part, ...]:
    """Return the parts of the study whose ``run.py`` is ``run_file``."""
    return tuple(Part(name, Path(run_file).parent) for name in names)


def train_missing_runs(
    experiment: Experiment, file: Path, kind: type[RunRow], measure: Measure, device: str = "cpu"
) -> None:
    """Train the runs of an experiment that have no row in ``file``, batch by batch, and add the rows of each batch.

    Args:
        experiment: its runs and batches.
        file: file of the rows.
        kind: type of the rows.
        measure: trains a batch, and returns its rows.
        device: where the batches train.
    """
    for batch in experiment.batches:
        known = {(row.cell, row.seed) for row in rows.read(file, kind)}
        left = tuple(run for run in batch if (run.cell, run.seed) not in known)
        if left:
            training = replace(batch_training([run.configuration for run in left]), device=device)
            rows.append(file, measure(left, training))
            cells = list(dict.fromkeys(run.cell for run in left))
            terminal.say(f"{experiment.name}: {len(left)} runs, {cells[0]}{' ...' if len(cells) > 1 else ''}")


def with_rows(experiment: Experiment, known: Sequence[R]) -> list[tuple[PlannedRun, R]]:
    """Return the runs that have a row, each with it, in the order of the experiment."""
    found = {(row.cell, row.seed): row for row in known}
    return [(run, found[run.cell, run.seed]) for run in experiment.runs if (run.cell, run.seed) in found]


def by_cell(experiment: Experiment, known: Sequence[R]) -> dict[str, list[R]]:
    """Return the rows of an experiment by cell, in the order of its runs."""
    cells: dict[str, list[R]] = {}
    for run, row in with_rows(experiment, known):
        cells.setdefault(run.cell, []).append(row)
    return cells
