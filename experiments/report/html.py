"""Reports: the outcome of runs as a single HTML file that needs nothing else, with its numbers beside it."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from rlkit.statistics import Estimate

from .ledger import ReportTable, RunRecord, flattened, record, to_json, write_csv, write_text
from .text import LONGEST_TABLE, as_text, numeric_columns, setting_text


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
    import jinja2

    source = resources.files(__package__).joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters.update(text=as_text, setting=setting_text, embedded=embedded, numeric=numeric_columns)
    page = environment.from_string(source)
    return page.render(title=title, runs=runs, headline=headline, files=files, longest=LONGEST_TABLE)


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
