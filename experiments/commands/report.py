"""``rlkit report``."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from .options import DONE, Json, print_json


def report(
    runs: Positional[tuple[Path, ...]],
    out: Path = Path("report.html"),
    title: str = "Results",
    json: Json = False,
) -> int:
    """Combine runs in one self-contained HTML page, with the same numbers as CSV and JSON files beside it.

    Example: rlkit report runs/cartpole runs/attack --out report.html

    Args:
        runs: Run folders, or folders that contain run folders.
        out: HTML file to write.
        title: Title of the page.
    """
    from ..report import ledger
    from ..report.html import write_report

    files = write_report(out, title, [ledger.read(folder) for folder in ledger.find(runs)])
    if json:
        print_json(dict(zip(("report", "json", "csv"), files, strict=True)))
    else:
        print(f"{files[0]}  (numbers: {files[1]}, {files[2]})")
    return DONE
