"""``rlkit report``."""

from __future__ import annotations

import sys
from pathlib import Path

from .options import DONE, Json, Paths, print_json


def report(
    runs: Paths,
    out: Path = Path("report.html"),
    title: str = "Results",
    json: Json = False,
) -> int:
    """Combine runs in one self-contained HTML page, and write the same numbers as CSV, JSON and LaTeX files.

    Runs of one environment are compared: learning curves in one figure, and tests of the differences of their returns
    (paired by training seed where the seeds are the same, else Welch's), corrected by Holm. Crashed, stopped and
    damaged runs are listed with the reason.

    Example: rlkit report runs/cartpole runs/attack --out report.html

    Args:
        runs: Run folders, or folders that contain run folders.
        out: HTML file to write.
        title: Title of the page.
    """
    from ..report import ledger
    from ..report.html import write_report

    found, left_out = ledger.read_all(ledger.find(runs))
    if left_out is not None:
        reasons = [f"{reason}" for _, reason in left_out.rows]
        if not found:
            raise ValueError(f"no run can be shown: {'; '.join(reasons)}")
        for reason in reasons:
            print(f"rlkit: not shown: {reason}", file=sys.stderr)
    files = write_report(out, title, found, left_out=left_out)
    if json:
        print_json(dict(zip(("report", "json", "csv", "latex"), files, strict=True)))
    else:
        print(f"{files[0]}  (numbers: {', '.join(map(str, files[1:]))})")
        print(f"Next: open {files[0]} in a browser; it needs no network.")
    return DONE
