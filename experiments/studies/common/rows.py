"""Raw rows of studies: a line per training seed in a CSV file, appended as soon as it is known.

A row is a frozen dataclass of texts and numbers. Rows that are in the file are not computed again, so an interrupted
study continues where it stopped.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rlkit.atomic_files import whole_file

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R", bound="DataclassInstance")

PARSERS: dict[str, Callable[[str], Any]] = {  # by the annotation of the field
    "str": str,
    "int": int,
    "float": float,
    "float | None": lambda text: float(text) if text else None,
    "int | None": lambda text: int(text) if text else None,
}


def read(path: Path, kind: type[R]) -> list[R]:
    """Read the rows of a file; none if there is no file.

    Raises:
        ValueError: the file has other columns than ``kind`` has fields.
    """
    if not path.is_file():
        return []
    columns = {field.name: PARSERS[str(field.type)] for field in fields(kind)}
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.DictReader(file)
        if list(lines.fieldnames or ()) != list(columns):
            raise ValueError(
                f"{path} has columns {lines.fieldnames}, a {kind.__name__} has {list(columns)}: move it away"
            )
        return [kind(**{name: parse(line[name]) for name, parse in columns.items()}) for line in lines]


def append(path: Path, rows: Sequence[DataclassInstance]) -> None:
    """Append rows of one kind to a file, all of them or, if the process is killed, none; a new file gets a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    if not path.exists():
        writer.writerow([field.name for field in fields(rows[0])])
    writer.writerows(astuple(row) for row in rows)
    before = path.read_bytes() if path.exists() else b""
    with whole_file(path) as file:
        file.write(before + text.getvalue().encode("utf-8"))
