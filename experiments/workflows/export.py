"""Copies of a finished run for the trackers of other people: Weights & Biases and MLflow."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rlkit.optional_packages import require
from rlkit.statistics import Estimate

from ..report import ledger

LOG = "training.csv"  # of a training
FILES = (ledger.RECORD, LOG, "preset.json", "experiment.toml", "cells.csv", "trials.csv")  # that are copied if there


class FinishedRecord(NamedTuple):
    """A finished run as flat names and numbers."""

    name: str
    kind: str
    parameters: dict[str, str]
    summary: dict[str, float]  # of the results
    log: list[tuple[int, dict[str, float]]]  # timesteps, and the numbers of every seed
    files: tuple[Path, ...]


def finished_record(folder: Path) -> FinishedRecord:
    """Read the run in a folder.

    Raises:
        FileNotFoundError: no complete run there.
        ValueError: a damaged record or log.
    """
    run = ledger.read(folder)
    files = tuple(folder / name for name in FILES if (folder / name).is_file())
    log = read_log(folder / LOG) if folder / LOG in files else []
    parameters = {name: str(value) for name, value in flat(run.settings)}
    numbers = {name: float(value) for name, value in flat(run.results) if _is_finite(value)}
    return FinishedRecord(folder.resolve().name, run.kind, parameters, numbers, log, files)


def read_log(path: Path) -> list[tuple[int, dict[str, float]]]:
    """Read a training log: for every number of timesteps the numbers of all seeds, as ``seed-SEED/NAME``.

    Raises:
        ValueError: it is no training log.
    """
    rows: dict[int, dict[str, float]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                timesteps, seed = int(row.pop("timesteps")), int(row.pop("seed"))
                numbers = {f"seed-{seed}/{name}": float(value) for name, value in row.items() if value}
                known = {name: value for name, value in numbers.items() if math.isfinite(value)}
                rows.setdefault(timesteps, {}).update(known)
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise ValueError(f"{path} is no training log: {error!r}") from error
    return sorted(rows.items())


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values of nested tables, ``outer.inner``; an estimate has its mean and its interval."""
    for name, value in values.items():
        if isinstance(value, Estimate):
            yield from flat(value._asdict(), f"{prefix}{name}.")
        elif isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def to_wandb(run: FinishedRecord, project: str) -> None:
    """Copy a run to Weights & Biases, which takes the account and the server from its own settings.

    Raises:
        ModuleNotFoundError: its package is not installed.
    """
    require("wandb", "Weights & Biases", "wandb")
    import wandb

    copied = wandb.init(project=project, name=run.name, job_type=run.kind, config=run.parameters)
    for timesteps, numbers in run.log:
        copied.log(numbers, step=timesteps)
    copied.summary.update(run.summary)
    artifact = wandb.Artifact(run.name, type=run.kind)
    for file in run.files:
        artifact.add_file(str(file))
    copied.log_artifact(artifact)
    copied.finish()


def to_mlflow(run: FinishedRecord, project: str) -> None:
    """Copy a run to MLflow, which takes the server from MLFLOW_TRACKING_URI.

    Raises:
        ModuleNotFoundError: its package is not installed.
    """
    require("mlflow", "MLflow", "mlflow")
    import mlflow

    mlflow.set_experiment(project)
    with mlflow.start_run(run_name=run.name, tags={"kind": run.kind}):
        mlflow.log_params(run.parameters)
        for timesteps, numbers in run.log:
            mlflow.log_metrics(numbers, step=timesteps)
        mlflow.log_metrics(run.summary)
        for file in run.files:
            mlflow.log_artifact(str(file))


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
