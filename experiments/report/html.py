"""Reports: the outcome of runs as a single HTML file that needs nothing else, with its numbers beside it."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from rlkit.statistics import Estimate

from .ledger import ReportTable, RunRecord, flattened, plain, record, to_json, write_csv, write_text

LONGEST_TABLE = 40  # rows shown in full; longer ones are folded


def write_report(path: Path, title: str, runs: Sequence[RunRecord], headline: ReportTable | None = None) -> list[Path]:
    """Write ``path`` (HTML), and beside it the same numbers as ``.json`` and ``.csv``; the three paths.

    Args:
        path: of the HTML file; its folder is made if needed.
        title: of the page.
        runs: one section each.
        headline: a table to stand first; None for the natural returns of the runs.

    Raises:
        ValueError: no run, or a path that does not end in ``.html``.
    """
    if not runs:
        raise ValueError("runs must hold at least one run, got none")
    if path.suffix != ".html":
        raise ValueError(f"a report is HTML: give a name that ends in .html, not {path.name!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    headline = headline if headline is not None else natural_returns(runs)
    numbers, lines = path.with_suffix(".json"), path.with_suffix(".csv")
    entries = [record(run) for run in runs]
    first = None if headline is None else headline._asdict()
    write_text(numbers, to_json({"title": title, "headline": first, "runs": entries}))
    write_csv(lines, ("section", "table", "row", "column", "value"), _long_format(runs, headline))
    write_text(path, render(title, runs, headline, [numbers.name, lines.name]))
    return [path, numbers, lines]


def natural_returns(runs: Sequence[RunRecord]) -> ReportTable | None:
    """What every run's policy earns when nobody interferes; None if no run has a return."""
    rows = tuple(
        (
            run.title,
            str(run.settings.get("backend", "")),
            len(run.settings.get("training_seeds", ())),
            run.results["return"],
        )
        for run in runs
        if isinstance(run.results.get("return"), Estimate)
    )
    return ReportTable("summary", "Natural return", ("run", "backend", "seeds", "return"), rows) if rows else None


def render(title: str, runs: Sequence[RunRecord], headline: ReportTable | None, files: Sequence[str]) -> str:
    """The page as a string."""
    source = resources.files(__package__).joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters.update(cell=cell_text, setting=setting_text, embedded=embedded, numeric=numeric_columns)
    page = environment.from_string(source)
    return page.render(title=title, runs=runs, headline=headline, files=files, longest=LONGEST_TABLE)


def cell_text(cell: Any, digits: int = 4) -> str:
    """A number, an estimate with its interval, or a text as it is shown."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, Estimate):
        value, lower, upper = (number_text(number, digits) for number in cell[:3])
        return f"{value} [{lower}, {upper}]" if math.isfinite(cell.upper - cell.lower) else f"{value} [unknown]"
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


def embedded(png: bytes) -> str:
    """A picture as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _long_format(runs: Sequence[RunRecord], headline: ReportTable | None) -> Iterator[tuple[Any, ...]]:
    """Every cell of every table on a line of its own: tables of any columns share one file."""
    tables = [("summary", headline)] if headline is not None else []
    tables += [(run.title, table) for run in runs for table in run.tables]
    for section, table in tables:
        header, rows = flattened(table)
        for number, row in enumerate(rows):
            for column, value in zip(header, row, strict=True):
                yield section, table.name, number, column, value


def summary(run: RunRecord) -> Mapping[str, Any]:
    """What ``--json`` prints of a run: its results beside what was asked."""
    return {"kind": run.kind, "settings": run.settings, "results": run.results, "versions": run.versions}
