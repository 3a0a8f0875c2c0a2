"""The ledger: how the outcome of one command is written to a folder and read again.

A run's folder holds ``run.json`` (what was asked, on which versions, and every number), one CSV per table, one PNG per
picture, and whatever else the command leaves there (a policy, a training log). Each file is written whole, and
``run.json`` last: a folder that has one is complete.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import rlkit
from rlkit.atomic_files import whole_file
from rlkit.statistics import Estimate

RECORD = "run.json"
PACKAGES = ("torch", "gymnasium", "numpy", "scipy", "stable-baselines3")

Cell = str | int | float | bool | None | Estimate[float]


class ReportTable(NamedTuple):
    """Numbers with their names."""

    name: str  # of its CSV file
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    digits: int = 4  # significant ones that people are shown; files hold all


class Picture(NamedTuple):
    """A figure with what there is to see."""

    name: str  # of its PNG file
    caption: str
    png: bytes


@dataclass(frozen=True)
class RunRecord:
    """The outcome of one command: what was asked, what came out, and how it is shown."""

    kind: str  # the command
    title: str
    settings: Mapping[str, Any]  # environment, backend, seeds, hyper-parameters: what is needed to do it again
    results: Mapping[str, Any]  # every number, for scripts; "return" is the natural return where there is one
    tables: tuple[ReportTable, ...] = ()
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=lambda: versions())

    def summary(self) -> dict[str, Any]:
        """What ``--json`` prints: the results and the settings that led to them."""
        return {"kind": self.kind, "settings": self.settings, "results": self.results, "versions": self.versions}


def versions() -> dict[str, str]:
    """What ran: versions of this package, Python and the packages that decide about numbers, and the machine."""
    found = {"rlkit": rlkit.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return {**found, "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"}


def new_folder(path: str | Path, overwrite: bool = False) -> Path:
    """The folder for a run, made if it is not there; an older run's record in it is removed first.

    Raises:
        ValueError: the path is a file, or a folder that holds a run already.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: give a folder")
    if (folder / RECORD).exists() and not overwrite:
        raise ValueError(f"{folder} holds a run already: choose another folder, or pass --overwrite to replace it")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    return folder


def write(run: RunRecord, folder: Path) -> None:
    """Write everything of ``run`` into an existing folder."""
    write_tables(run.tables, folder)
    for picture in run.pictures:
        write_bytes(folder / f"{picture.name}.png", picture.png)
    write_text(folder / RECORD, to_json(record(run)))


def record(run: RunRecord) -> dict[str, Any]:
    """A run as what JSON knows; pictures are named, not included."""
    return {
        "kind": run.kind,
        "title": run.title,
        "settings": plain(run.settings),
        "results": plain(run.results),
        "tables": [{**table._asdict(), "rows": plain(table.rows)} for table in run.tables],
        "pictures": [{"name": picture.name, "caption": picture.caption} for picture in run.pictures],
        "notes": run.notes,
        "versions": dict(run.versions),
    }


def read(folder: str | Path) -> RunRecord:
    """The run in a folder.

    Raises:
        FileNotFoundError: no run there, or a picture is missing.
        ValueError: its record is not one of this package, or was cut short.
    """
    folder = Path(folder)
    path = folder / RECORD
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no {RECORD}: give a folder that a command wrote with --out")
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        return RunRecord(
            kind=saved["kind"],
            title=saved["title"],
            settings=restored(saved["settings"]),
            results=restored(saved["results"]),
            tables=tuple(_read_table(table) for table in saved["tables"]),
            pictures=tuple(
                Picture(entry["name"], entry["caption"], (folder / f"{entry['name']}.png").read_bytes())
                for entry in saved["pictures"]
            ),
            notes=tuple(saved["notes"]),
            versions=saved["versions"],
        )
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not the record of a run ({error!r}): was it cut short or edited?") from error


def find(paths: Iterable[str | Path]) -> Iterator[Path]:
    """The run folders among ``paths`` and one level below each of them, in order.

    Raises:
        FileNotFoundError: a path without any run.
    """
    for path in map(Path, paths):
        below = sorted(entry.parent for entry in path.glob(f"*/{RECORD}")) if path.is_dir() else []
        found = [path] if (path / RECORD).is_file() else below
        if not found:
            raise FileNotFoundError(f"{path} holds no {RECORD}, nor do its folders: give one that a command wrote")
        yield from found


def flattened(table: ReportTable) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of a table for CSV: a column with estimates becomes value, lower and upper."""
    wide = [any(isinstance(row[i], Estimate) for row in table.rows) for i in range(len(table.columns))]
    header: list[str] = []
    for column, is_wide in zip(table.columns, wide, strict=True):
        header += [column, f"{column} lower", f"{column} upper"] if is_wide else [column]
    rows: list[list[Any]] = []
    for row in table.rows:
        cells: list[Any] = []
        for cell, is_wide in zip(row, wide, strict=True):
            if isinstance(cell, Estimate):
                cells += [cell.value, cell.lower, cell.upper]
            else:
                cells += [cell, None, None] if is_wide else [cell]
        rows.append(cells)
    return header, rows


def write_tables(tables: Iterable[ReportTable], folder: Path) -> None:
    """One CSV file per table, under its name."""
    for table in tables:
        write_csv(folder / f"{table.name}.csv", *flattened(table))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A CSV file, whole or not at all; None is an empty field."""

    with whole_file(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text)
        writer.writerow(header)
        writer.writerows(rows)
        text.detach()  # flushes, and leaves the file open


def write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """A file, whole or not at all."""

    with whole_file(path) as file:
        file.write(content)


def to_json(value: Any) -> str:
    """Strict JSON; numbers that are not finite become null."""
    return json.dumps(plain(value), indent=1, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """``value`` with what JSON does not know replaced: arrays by lists, estimates by objects, infinity by null."""
    if isinstance(value, Estimate):
        return {key: plain(part) for key, part in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple | range):
        return [plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def restored(value: Any) -> Any:
    """The inverse of ``plain`` as far as estimates go: an interval without bounds is infinite again."""
    if isinstance(value, list):
        return tuple(restored(part) for part in value)
    if not isinstance(value, dict):
        return value
    if set(value) == set(Estimate._fields):
        unknown: dict[str, Any] = {"value": math.nan, "lower": -math.inf, "upper": math.inf}
        parts: dict[str, Any] = {key: unknown[key] if part is None else part for key, part in value.items()}
        return Estimate(**parts)
    return {key: restored(part) for key, part in value.items()}


def _read_table(saved: dict[str, Any]) -> ReportTable:
    return ReportTable(**{**saved, "columns": tuple(saved["columns"]), "rows": restored(saved["rows"])})
