"""A study: named cases, and a function that measures the cases without rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...report.ledger import ReportTable
from ...workflows.policies import RLKIT, SB3

MAKERS = (RLKIT, SB3)


class StudyOptions(NamedTuple):
    """Where a study reads and writes, and whose policies it measures."""

    data: Path  # rows, tables and figures; existing rows are not measured again
    models: Path = Path("runs/robustness")  # trained policies; missing ones are added
    makers: tuple[str, ...] = MAKERS
    device: str = "cpu"  # where rlkit trains; policies are measured on the CPU


class Study(NamedTuple):
    """A question with its cases."""

    cases: tuple[Any, ...]  # each has a name
    run: Callable[[Sequence[Any], StudyOptions], Sequence[ReportTable]]  # measure these cases; tables of all rows
    takes: tuple[str, ...] = ()  # which of "models", "makers" and "device" it uses
