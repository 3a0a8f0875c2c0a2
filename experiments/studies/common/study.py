"""What a study is: named cases, and a function that measures those that have no row yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...report.ledger import ReportTable
from ...workflows.policies import RLKIT, SB3

MAKERS = (RLKIT, SB3)


class StudyOptions(NamedTuple):
    """Where a study reads and writes, and whose policies it is about."""

    data: Path  # rows, tables and figures; rows that are there are not measured again
    models: Path = Path("runs/robustness")  # trained policies, read and added to
    makers: tuple[str, ...] = MAKERS


class Study(NamedTuple):
    """A question with its cases."""

    cases: tuple[Any, ...]  # each has a name
    run: Callable[[Sequence[Any], StudyOptions], Sequence[ReportTable]]  # measure these cases; tables of all rows
    takes: tuple[str, ...] = ()  # those of "models" and "makers" that have a meaning in it
