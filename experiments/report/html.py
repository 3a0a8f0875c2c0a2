"""Reports: runs as one self-contained HTML file, and the same numbers as JSON and CSV."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence, Sized
from importlib import resources
from pathlib import Path
from typing import Any

from rlkit.statistics import Estimate

from .ledger import ReportTable, RunRecord, flattened, record, to_json, write_csv, write_text
from .text import LONGEST_TABLE, as_text, numeric_columns, setting_text


def write_report(
    path: Path,
    title: str,
    runs: Sequence[RunRecord],
    headline: ReportTable | None = None,
    left_out: ReportTable | None = None,
) -> list[Path]:
    """Write ``path`` (HTML), and the same numbers as ``.json`` and ``.csv`` files of the same name; the three paths.

    Args:
        path: of the HTML file; its folder is made if needed.
        title: of the page.
        runs: one section each.
        headline: the first table; None for the natural returns of the runs.
        left_out: runs that could not be read, with the reasons.

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
    missing = [] if left_out is None else [dict(zip(left_out.columns, row, strict=True)) for row in left_out.rows]
    write_text(numbers, to_json({"title": title, "headline": first, "runs": entries, "left_out": missing}))
    write_csv(lines, ("section", "table", "row", "column", "value"), _long_format(runs, headline))
    write_text(path, render(title, runs, headline, [numbers.name, lines.name], left_out))
    return [path, numbers, lines]


def natural_returns(runs: Sequence[RunRecord]) -> ReportTable | None:
    """The return of every run's policy without attack; None if no run has a return."""
    rows = tuple(
        (
            run.title,
            str(run.settings.get("backend", "")),
            len(seeds) if isinstance(seeds := run.settings.get("training_seeds", ()), Sized) else None,
            run.results["return"],
        )
        for run in runs
        if isinstance(mean := run.results.get("return"), Estimate) and isinstance(mean.value, int | float)
    )
    return ReportTable("summary", "Natural return", ("run", "backend", "seeds", "return"), rows) if rows else None


def render(
    title: str,
    runs: Sequence[RunRecord],
    headline: ReportTable | None,
    files: Sequence[str],
    left_out: ReportTable | None = None,
) -> str:
    """The page as a string."""
    import jinja2

    source = resources.files(__package__).joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters.update(text=as_text, setting=setting_text, embedded=embedded, numeric=numeric_columns)
    page = environment.from_string(source)
    return page.render(title=title, runs=runs, headline=headline, files=files, left_out=left_out, longest=LONGEST_TABLE)


def embedded(png: bytes) -> str:
    """A picture as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _long_format(runs: Sequence[RunRecord], headline: ReportTable | None) -> Iterator[tuple[Any, ...]]:
    """One line per cell of every table, so that tables with different columns fit into one file."""
    tables = [("summary", headline)] if headline is not None else []
    tables += [(run.title, table) for run in runs for table in run.tables]
    for section, table in tables:
        header, rows = flattened(table)
        for number, row in enumerate(rows):
            for column, value in zip(header, row, strict=True):
                yield section, table.name, number, column, value
