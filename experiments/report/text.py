"""Numbers and tables as people read them: cells, intervals, and tables that fit a width."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import Any

from rlkit.statistics import ONE_SEED, Estimate

from .ledger import Cell, ReportTable, plain

LONGEST_TABLE = 40  # rows shown in full on a terminal; a page folds longer ones
WIDEST_TEXT = 40  # characters of a text column; longer texts are wrapped at spaces
GAP = 2  # characters between two columns of a terminal


def cell_text(cell: Any, digits: int = 4) -> str:
    """A number, an estimate with its interval, or a text as it is shown."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, Estimate):
        value, lower, upper = (number_text(number, digits) for number in cell[:3])
        if cell.has_interval:
            return f"{value} [{lower}, {upper}]"
        return f"{value} ({ONE_SEED if cell.n == 1 else 'no interval'})"
    return number_text(cell, digits) if isinstance(cell, int | float) else str(cell)


def number_text(number: float, digits: int = 4) -> str:
    """Integers whole, others with so many significant digits."""
    if isinstance(number, int) or (number.is_integer() and abs(number) < 1e6):
        return str(int(number))
    return f"{number:.{digits}g}"


def setting_text(value: Any) -> str:
    """A setting as one line."""
    return value if isinstance(value, str) else json.dumps(plain(value))


def numeric_columns(table: ReportTable) -> list[bool]:
    """Which columns are aligned as numbers: those that hold nothing else."""

    def is_number(cell: Any) -> bool:
        return isinstance(cell, int | float | Estimate) and not isinstance(cell, bool)

    columns = [[row[i] for row in table.rows if row[i] is not None] for i in range(len(table.columns))]
    return [bool(cells) and all(map(is_number, cells)) for cells in columns]


def as_text(table: ReportTable) -> tuple[str, list[list[str]]]:
    """Title and rows of a table as text.

    Where every estimate is of one seed, the title says so once and the cells show the values alone.
    """
    estimates = [cell for row in table.rows for cell in row if isinstance(cell, Estimate)]
    alone = bool(estimates) and all(each.n == 1 and not each.has_interval for each in estimates)

    def shown(cell: Cell) -> str:
        return cell_text(cell.value if alone and isinstance(cell, Estimate) else cell, table.digits)

    return f"{table.title} ({ONE_SEED})" if alone else table.title, [
        [shown(cell) for cell in row] for row in table.rows
    ]


def column_groups(widths: Sequence[int], rows: Sequence[Sequence[str]], width: int) -> list[list[int]]:
    """Split columns, by number, into groups that fit into ``width`` characters.

    Every group starts with the columns that identify a row. A table that fits is one group.
    """
    keys = identifying_columns(rows)
    room = width - sum(widths[i] + GAP for i in range(keys))
    groups: list[list[int]] = []
    taken = 0
    for i in range(keys, len(widths)):
        if not groups or taken + widths[i] + GAP > room:
            groups.append(list(range(keys)))
            taken = 0
        groups[-1].append(i)
        taken += widths[i] + GAP
    return groups or [list(range(len(widths)))]


def column_widths(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Characters of every column.

    In a table wider than ``width``, headers are wrapped at spaces, and so are texts longer than ``WIDEST_TEXT``.
    """
    longest = [max((len(row[i]) for row in rows), default=0) for i in range(len(headers))]
    natural = [max(len(header), cell) for header, cell in zip(headers, longest, strict=True)]
    if sum(natural) + GAP * len(natural) <= width:
        return natural
    words = [max(len(word) for word in header.split(" ")) for header in headers]
    return [max(word, min(cell, WIDEST_TEXT)) for word, cell in zip(words, longest, strict=True)]


def identifying_columns(rows: Sequence[Sequence[str]]) -> int:
    """How many of the first columns differ between all rows; one where even half of them do not."""
    for count in range(1, max((len(row) for row in rows), default=0) // 2 + 1):
        if len({tuple(row[:count]) for row in rows}) == len(rows):
            return count
    return 1


def wrapped_header(header: str, width: int) -> str:
    """A header over several lines, as narrow as its column."""
    return "\n".join(textwrap.wrap(header, max(width, 1), break_long_words=False, break_on_hyphens=False))
