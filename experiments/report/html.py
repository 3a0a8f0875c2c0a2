"""Reports: runs as one self-contained HTML file, and the same numbers as JSON, CSV and LaTeX."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from rlkit.statistics import Estimate

from .comparison import Compared, compared, differences_in_words, with_different_titles
from .grid_panel import GridPanel
from .latex import as_latex
from .ledger import (
    Cell,
    Picture,
    ReportTable,
    RunRecord,
    flattened,
    made_folder,
    record,
    to_json,
    write_csv,
    write_text,
)
from .summary import all_warnings, seeds_of, settings_of, summary_of
from .text import LONGEST_TABLE, as_text, headers, in_words, numeric_columns, setting_text

SCRIPTS = ("tables.js", "panels.js")  # files of this package that are written into the page
MIME = {"svg": "image/svg+xml", "png": "image/png"}
MOST_SUMMARIES = 4  # runs whose summaries open the page; of more, the first table does


def write_report(
    path: Path,
    title: str,
    runs: Sequence[RunRecord],
    headline: ReportTable | None = None,
    left_out: ReportTable | None = None,
) -> list[Path]:
    """Write ``path`` (HTML), and the same numbers as ``.json``, ``.csv`` and ``.tex`` files of the same name.

    Returns the four paths.

    Args:
        path: path of the HTML file; its folder is made if needed.
        title: title of the page.
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
    made_folder(path.parent)
    runs = with_different_titles(runs)
    headline = headline if headline is not None else natural_returns(runs)
    together = compared(runs)
    numbers, lines, latex = (path.with_suffix(ending) for ending in (".json", ".csv", ".tex"))
    entries = [record(run) for run in runs]
    first = None if headline is None else headline._asdict()
    missing = [] if left_out is None else [dict(zip(left_out.columns, row, strict=True)) for row in left_out.rows]
    differences = [table._asdict() for table in together.tables]
    content = {"title": title, "headline": first, "differences": differences, "runs": entries, "left_out": missing}
    write_text(numbers, to_json(content))
    tables = _all_tables(runs, headline, together)
    write_csv(lines, ("section", "table", "row", "column", "value"), _long_format(tables))
    write_text(latex, "\n".join(as_latex(table) for _, table in tables))
    write_text(path, render(title, runs, headline, [numbers.name, lines.name, latex.name], left_out, together))
    return [path, numbers, lines, latex]


def natural_returns(runs: Sequence[RunRecord]) -> ReportTable | None:
    """The return of every run's policy without attack; None if no run has a return."""
    rows = tuple(
        (
            run.title,
            str(run.settings.get("backend", "")),
            seeds_of(run),
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
    left_out: ReportTable | None,
    together: Compared,
) -> str:
    """The page as a string."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters.update(
        text=as_text,
        setting=setting_text,
        words=in_words,
        embedded=embedded,
        heading=heading,
        headers=headers,
        numeric=numeric_columns,
        sort_key=sort_key,
        summary=summary_of,
        differences=differences_in_words,
        groups=settings_of,
        origin=origin,
        script_json=script_json,
    )
    page = environment.from_string(_source("report.html.j2"))
    return page.render(
        title=title,
        runs=runs,
        headline=headline,
        files=files,
        left_out=left_out,
        together=together,
        warnings=[*_missing(left_out), *all_warnings(runs), *together.warnings],
        summarized=runs if len(runs) <= MOST_SUMMARIES else (),
        longest=LONGEST_TABLE,
        style=_source("report.css"),
        scripts=[_source(name) for name in SCRIPTS],
    )


def embedded(picture: Picture) -> str:
    """A picture as a data URL; a script in an SVG file does not run there."""
    return f"data:{MIME[picture.format]};base64," + base64.b64encode(picture.image).decode("ascii")


def heading(caption: str) -> str:
    """The first statement of a caption, for the contents."""
    return re.split(r"[.:;] |\.$", caption, maxsplit=1)[0]


def sort_key(cell: Cell) -> str:
    """Return the key by which a column is sorted: the number of a cell, else its text."""
    if isinstance(cell, Estimate):
        return repr(float(cell.value))
    return "" if cell is None else str(cell)


def origin(run: RunRecord) -> dict[str, str]:
    """Where the numbers of a run come from: command, date, commit, processors and versions."""
    command = shlex.join(["rlkit", *run.arguments]) if run.arguments else "none: called from Python"
    return {"command": command, **run.provenance, **run.versions}


def script_json(panel: GridPanel) -> str:
    """A panel as JSON that can stand in a script element: no text can end the element."""
    text = json.dumps(panel.as_json(), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _source(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _missing(left_out: ReportTable | None) -> list[str]:
    """A warning that names the runs that crashed, were stopped or cannot be read."""
    if left_out is None:
        return []
    names = ", ".join(str(folder) for folder, _ in left_out.rows)
    return [f"Not shown, for the reasons below: {names}."]


def _all_tables(
    runs: Sequence[RunRecord], headline: ReportTable | None, together: Compared
) -> list[tuple[str, ReportTable]]:
    """Every table of the page with the title of its section."""
    tables = [("summary", headline)] if headline is not None else []
    tables += [("comparison", table) for table in together.tables]
    return tables + [(run.title, table) for run in runs for table in run.tables]


def _long_format(tables: Sequence[tuple[str, ReportTable]]) -> Iterator[tuple[Any, ...]]:
    """One line per cell of every table, so that tables with different columns fit into one file."""
    for section, table in tables:
        header, rows = flattened(table)
        for number, row in enumerate(rows):
            for column, value in zip(header, row, strict=True):
                yield section, table.name, number, column, value
