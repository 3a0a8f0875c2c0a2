"""The ledger: the outcome of one command is written to a folder and read again.

A run's folder holds ``run.json`` (settings, versions and every number), one CSV per table, one SVG per picture, and the
other files of the command (a policy, a training log). Each file is written whole, and ``run.json`` last: a folder with
``run.json`` is complete, one with ``LOCK`` alone belongs to a command that still runs or was stopped.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import platform
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import rlkit
from rlkit.atomic_files import LOCK, only_writer, whole_file
from rlkit.statistics import Estimate

from .. import command_line
from .grid_panel import GridPanel, read_panel
from .provenance import provenance

RECORD = "run.json"
MOST_BYTES = 64 * 2**20  # of a record or a picture that is read
BEGINNINGS = {"svg": b"<?xml", "png": b"\x89PNG\r\n\x1a\n"}  # first bytes of a picture file, by format
PACKAGES = ("torch", "gymnasium", "numpy", "scipy", "stable-baselines3")

Cell = str | int | float | bool | None | Estimate[float]


class ReportTable(NamedTuple):
    """A table of numbers and texts."""

    name: str  # of its CSV file
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    digits: int = 4  # significant digits on a screen; files hold all


class Picture(NamedTuple):
    """A figure with its caption."""

    name: str  # of its file, without ending
    caption: str
    image: bytes  # content of an SVG or PNG file

    @property
    def format(self) -> str:
        """``svg``, or ``png`` of records of 0.1.0."""
        return "png" if self.image.startswith(BEGINNINGS["png"]) else "svg"

    @property
    def file(self) -> str:
        """Name of the file."""
        return f"{self.name}.{self.format}"


@dataclass(frozen=True)
class RunRecord:
    """The outcome of one command: its settings, its results, and how they are shown."""

    kind: str  # the command
    title: str
    settings: Mapping[str, Any]  # environment, backend, seeds, hyper-parameters: all that a repetition needs
    results: Mapping[str, Any]  # every number, for scripts; "return" is the natural return
    tables: tuple[ReportTable, ...] = ()
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=lambda: versions())
    arguments: tuple[str, ...] = field(default_factory=command_line.arguments)  # of the command line; () from Python
    panels: tuple[GridPanel, ...] = ()  # interactive ones of the report
    provenance: Mapping[str, str] = field(default_factory=lambda: provenance())

    def summary(self) -> dict[str, Any]:
        """Return the object of ``--json``: the results and the settings that led to them."""
        return {"kind": self.kind, "settings": self.settings, "results": self.results, "versions": self.versions}


def versions() -> dict[str, str]:
    """Versions of rlkit, of Python and of the packages that affect numbers, and the machine."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    found = {"rlkit": rlkit.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return {**found, "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"}


def new_folder(path: str | Path, overwrite: bool = False) -> Path:
    """Make the folder of a run, and remove the record of an older run in it.

    Raises:
        ValueError: the path is a file, or a folder that holds a run already.
    """
    folder = made_folder(path)
    if (folder / RECORD).exists() and not overwrite:
        raise ValueError(f"{folder} holds a run already: choose another folder, or pass --overwrite to replace it")
    (folder / RECORD).unlink(missing_ok=True)
    return folder


@contextmanager
def open_folder(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Make the folder of a run and be its only writer until the ``with`` block ends.

    Raises:
        ValueError: see ``new_folder``; or another process writes to the folder.
    """
    with locked_folder(path) as folder:
        yield new_folder(folder, overwrite)


@contextmanager
def locked_folder(path: str | Path) -> Iterator[Path]:
    """Make a folder, if there is none, and be its only writer until the ``with`` block ends.

    Raises:
        ValueError: the path is a file; or another process writes to the folder.
    """
    folder = made_folder(path)
    with ExitStack() as held:
        try:
            held.enter_context(only_writer(folder))
        except RuntimeError as error:
            raise ValueError(str(error)) from error
        yield folder


def made_folder(path: str | Path) -> Path:
    """Make a folder and those above it, where there are none.

    Raises:
        ValueError: the path, or one above it, is a file.
    """
    folder = Path(path)
    for each in (folder, *folder.parents):
        if os.path.lexists(each) and not each.is_dir():
            below = "" if each == folder else f", and {folder} would be below it"
            raise ValueError(f"{each} is a file{below}: give a folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write(run: RunRecord, folder: Path) -> None:
    """Write tables, pictures and record of a run into an existing folder."""
    write_tables(run.tables, folder)
    for picture in run.pictures:
        write_bytes(folder / picture.file, picture.image)
    write_text(folder / RECORD, to_json(record(run)))


def record(run: RunRecord) -> dict[str, Any]:
    """A run as a JSON object; pictures are named, not included."""
    return {
        "kind": run.kind,
        "title": run.title,
        "settings": plain(run.settings),
        "results": plain(run.results),
        "tables": [{**table._asdict(), "rows": plain(table.rows)} for table in run.tables],
        "pictures": [
            {"name": picture.name, "caption": picture.caption, "format": picture.format} for picture in run.pictures
        ],
        "panels": [panel.as_json() for panel in run.panels],
        "notes": run.notes,
        "versions": dict(run.versions),
        "provenance": dict(run.provenance),
        "arguments": list(run.arguments),
    }


def read(folder: str | Path) -> RunRecord:
    """Read the run in a folder.

    Raises:
        FileNotFoundError: no complete run there, or a picture is missing.
        ValueError: the record is not one of this package, was cut short, or names a picture outside the folder.
    """
    folder = Path(folder)
    path = folder / RECORD
    if not path.is_file():
        if (folder / LOCK).is_file():
            raise FileNotFoundError(f"{folder} holds no {RECORD}: its command still runs or was stopped")
        raise FileNotFoundError(f"{folder} holds no {RECORD}: give a folder that a command wrote with --out")
    if path.is_symlink():
        raise ValueError(f"{path} is a symbolic link: only files of the folder itself are read")
    try:
        saved = json.loads(_content(path, MOST_BYTES).decode("utf-8"))
        run = RunRecord(
            kind=_text(saved["kind"]),
            title=_text(saved["title"]),
            settings=dict(restored(saved["settings"]).items()),
            results=dict(restored(saved["results"]).items()),
            tables=tuple(_read_table(table) for table in saved["tables"]),
            notes=_texts(saved["notes"]),
            versions=_named_texts(saved["versions"]),
            # records of 0.1.0 have none of the following
            arguments=_texts(saved.get("arguments", [])),
            panels=tuple(map(read_panel, saved.get("panels", []))),
            provenance=_named_texts(saved.get("provenance", {})),
        )
        named = [
            (_text(entry["name"]), _text(entry["caption"]), _text(entry.get("format", "png")))
            for entry in saved["pictures"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path} is not the record of a run ({repr(error)[:300]}): was it cut short or edited?"
        ) from error
    pictures = tuple(Picture(name, caption, _picture(folder, name, format)) for name, caption, format in named)
    return replace(run, pictures=pictures)


def _picture(folder: Path, name: str, format: str) -> bytes:
    """The content of a picture, whose file must lie in the folder itself."""
    file = folder / f"{name}.{format}"
    if format not in BEGINNINGS:
        raise ValueError(f"{folder / RECORD} names a picture of the format {format[:100]!r}: svg and png are read")
    if Path(name).name != name or "\\" in name or "\0" in name or file.is_symlink():
        raise ValueError(
            f"{folder / RECORD} names the picture {name[:100]!r}, which is not a file of the folder itself"
        )
    content = _content(file, MOST_BYTES)
    if not content.startswith(BEGINNINGS[format]):
        raise ValueError(f"{file} is no {format.upper()} picture: was it cut short or replaced?")
    return content


def _content(path: Path, most: int) -> bytes:
    """The bytes of a regular file of at most ``most`` bytes."""
    described = path.stat()
    if not stat.S_ISREG(described.st_mode) or described.st_size > most:
        raise ValueError(f"{path} is no regular file of at most {most:,} bytes")
    return path.read_bytes()


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:100]} stands where a text is expected")
    return value


def _named_texts(values: Any) -> dict[str, str]:
    return dict(zip(values, _texts(list(values.values())), strict=True))


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError(f"{str(values)[:100]} stands where a list of texts is expected")
    return tuple(map(_text, values))


def find(paths: Iterable[str | Path]) -> Iterator[Path]:
    """The run folders, complete or not, among ``paths`` and one level below each of them, in order.

    Symbolic links below a path are not followed.

    Raises:
        FileNotFoundError: a path without any run.
    """
    for path in map(Path, paths):
        inside = path.iterdir() if path.is_dir() else ()
        below = sorted(folder for folder in inside if _is_run(folder) and not folder.is_symlink())
        found = [path] if _is_run(path) else below
        if not found:
            raise FileNotFoundError(f"{path} holds no {RECORD}, nor do its folders: give one that a command wrote")
        yield from found


def _is_run(folder: Path) -> bool:
    return (folder / RECORD).is_file() or (folder / LOCK).is_file()


def read_all(folders: Iterable[Path]) -> tuple[list[RunRecord], ReportTable | None]:
    """Read runs; those that cannot be read are listed in a table with the reason, which is None if there are none."""
    runs: list[RunRecord] = []
    left_out: list[tuple[str, str]] = []
    for folder in folders:
        try:
            runs.append(read(folder))
        except (OSError, ValueError) as error:
            left_out.append((str(folder), str(error)))
    table = ReportTable("left-out", "Runs that are not shown", ("folder", "reason"), tuple(left_out))
    return runs, table if left_out else None


def flattened(table: ReportTable) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of a table for CSV: a column of estimates becomes three, for value, lower and upper."""
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
    """Write a CSV file, whole or not at all; None is an empty field, and no text can be taken for a formula."""
    header, rows = [_no_formula(name) for name in header], [[_no_formula(cell) for cell in row] for row in rows]

    with whole_file(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text)
        writer.writerow(header)
        writer.writerows(rows)
        text.detach()  # flushes, and leaves the file open


def _no_formula(cell: Any) -> Any:
    """A text that a spreadsheet would run as a formula gets an apostrophe in front."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


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
    """Convert to JSON's types: arrays to lists, estimates to objects, numbers that are not finite to null."""
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


def restored(value: Any, deep: int = 0) -> Any:
    """Convert from JSON's types: objects with the fields of an estimate to estimates, lists to tuples.

    Raises:
        TypeError: lists or objects nested more than 100 deep, or an estimate whose parts are no numbers.
    """
    if deep > 100:
        raise TypeError("it is nested more than 100 deep")
    if isinstance(value, list):
        return tuple(restored(part, deep + 1) for part in value)
    if not isinstance(value, dict):
        return value
    if set(value) == set(Estimate._fields):
        unknown: dict[str, Any] = {"value": math.nan, "lower": -math.inf, "upper": math.inf}
        parts: dict[str, Any] = {key: unknown.get(key) if part is None else part for key, part in value.items()}
        if not all(_is_number(parts[name]) for name in Estimate._fields if name != "method"):
            raise TypeError(f"an estimate has the parts {str(parts)[:200]}")
        return Estimate(**parts)
    return {key: restored(part, deep + 1) for key, part in value.items()}


def _is_number(value: Any) -> bool:
    """Whether this is a number, or lists of numbers."""
    if isinstance(value, list):
        return all(map(_is_number, value))
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read_table(saved: dict[str, Any]) -> ReportTable:
    table = ReportTable(**{**saved, "columns": _texts(saved["columns"]), "rows": restored(saved["rows"])})
    _text(table.name), _text(table.title)
    if type(table.digits) is not int or not 1 <= table.digits <= 17:
        raise TypeError(f"the table {table.name!r} shows {str(table.digits)[:100]} digits")
    for row in table.rows:
        if not isinstance(row, tuple) or len(row) != len(table.columns):
            raise TypeError(f"a row of the table {table.name!r} does not have {len(table.columns)} cells")
        for cell in row:
            single = isinstance(cell, Estimate) and isinstance(cell.value, int | float)
            if not single and not isinstance(cell, str | int | float | None):
                raise TypeError(f"the table {table.name!r} has the cell {str(cell)[:100]}")
    return table
