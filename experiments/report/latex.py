"""Tables as LaTeX."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .ledger import ReportTable, write_text
from .text import as_text, headers, numeric_columns

ESCAPED = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def escaped(text: str) -> str:
    """Return a text in which every character stands for itself."""
    return "".join(ESCAPED.get(letter, letter) for letter in text)


def as_latex(table: ReportTable) -> str:
    """Return a table for the package booktabs, numbers to the right, its title as caption."""
    title, rows = as_text(table)
    columns = "".join("r" if numeric else "l" for numeric in numeric_columns(table))
    lines = [
        r"\begin{table}",
        rf"\caption{{{escaped(title)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(escaped, headers(table))) + r" \\",
        r"\midrule",
        *(" & ".join(map(escaped, row)) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def write_latex(tables: Iterable[ReportTable], folder: Path) -> None:
    """Write one file per table, under its name."""
    for table in tables:
        write_text(folder / f"{table.name}.tex", as_latex(table))
