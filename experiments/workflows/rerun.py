"""The arguments of a recorded command, to run it again, and the differences between its results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..report import ledger
from ..report.ledger import RunRecord

MOST_NAMED = 10  # differences
EXPERIMENT = "experiment.toml"  # of a sweep, in its folder


def arguments_of(run: RunRecord, folder: Path) -> list[str]:
    """The arguments of the command that wrote a run.

    Args:
        run: its record.
        folder: folder that holds it.

    Raises:
        ValueError: the record has none, or is that of a command which makes no new results.
    """
    if not run.arguments:
        raise ValueError(
            f"{folder / ledger.RECORD} does not say which command wrote it: it is of an older version or was written "
            "from Python"
        )
    if run.arguments[0] in ("rerun", "report", "status"):
        raise ValueError(f"{folder / ledger.RECORD} names the command {run.arguments[0]!r}, which cannot be run again")
    if run.arguments[0] == "sweep":
        return ["sweep", str(folder / EXPERIMENT)]
    return list(run.arguments)


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The names of results that differ, at most ten; times are not compared."""
    found = list(_differing(ledger.plain(one), ledger.plain(other), ""))
    return [*found[:MOST_NAMED], f"and {len(found) - MOST_NAMED} more"] if len(found) > MOST_NAMED else found


def _differing(one: Any, other: Any, name: str) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            if "seconds" not in key:
                yield from _differing(one.get(key), other.get(key), f"{name}.{key}" if name else key)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from _differing(left, right, f"{name}[{number}]")
    elif one != other:
        yield name
