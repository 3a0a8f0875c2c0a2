"""A preset in a file: hyper-parameters that were tuned on seeds which the file names, and which are then refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ..report.ledger import to_json, write_text
from .train import Training

SCHEMA = 1  # of the file
SUFFIX = ".json"
MOST_BYTES = 2**20


class PresetFile(NamedTuple):
    """A frozen configuration."""

    algorithm: str
    environment: str
    num_envs: int
    hyperparameters: Mapping[str, Any]  # all of them
    tuning_seeds: tuple[int, ...]  # that the choice was made on
    provenance: Mapping[str, Any]  # how it was chosen

    def write(self, path: Path) -> None:
        """Write the file."""
        write_text(path, to_json({"schema": SCHEMA, **self._asdict()}))


def read_preset(path: Path) -> PresetFile:
    """Read a preset.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no preset, or of a newer version of rlkit.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: give a preset.json that rlkit tune has written")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it is larger than {MOST_BYTES:,} bytes")
        saved = json.loads(path.read_text(encoding="utf-8"))
        schema = saved.pop("schema")
        if type(schema) is not int or schema > SCHEMA:
            raise ValueError(f"its schema is {schema}, this version of rlkit knows {SCHEMA}: update rlkit")
        found = PresetFile(**saved)._replace(tuning_seeds=tuple(saved["tuning_seeds"]))
        fits = isinstance(found.hyperparameters, dict) and type(found.num_envs) is int and found.num_envs > 0
        if not fits or not all(type(seed) is int for seed in found.tuning_seeds):
            raise ValueError("hyperparameters must be a table, num_envs and tuning_seeds whole numbers")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is no preset of rlkit tune: {error}") from error
    return found


def with_preset(training: Training) -> Training:
    """The training itself, or where its preset is a file, one with the hyper-parameters of the file.

    Raises:
        ValueError: the file is of another algorithm or environment, or was tuned on one of the training's seeds; or see
            ``read_preset``.
    """
    if training.preset is None or not training.preset.endswith(SUFFIX):
        return training
    preset = read_preset(Path(training.preset))
    if (preset.algorithm, preset.environment) != (training.algo, training.env):
        raise ValueError(
            f"{training.preset} is a preset of {preset.algorithm} for {preset.environment}, not of {training.algo} for "
            f"{training.env}"
        )
    if seen := sorted(set(preset.tuning_seeds) & set(training.seeds)):
        raise ValueError(
            f"{training.preset} was chosen on the seed {seen[0]}, and results on it would be too good: train on other "
            f"seeds than {preset.tuning_seeds[0]} to {preset.tuning_seeds[-1]}"
        )
    return replace(
        training,
        preset=None,
        hyperparameters={**preset.hyperparameters, **training.hyperparameters},
        num_envs=training.num_envs or preset.num_envs,
    )
