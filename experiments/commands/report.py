"""``rlkit report``."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from .options import DONE, Json


def report(
    runs: Positional[tuple[Path, ...]],
    out: Path = Path("report.html"),
    title: str = "Results",
    json: Json = False,
) -> int:
    """Put runs into one self-contained HTML page, with the same numbers as CSV and JSON beside it.

    Example: rlkit report runs/cartpole runs/attack --out report.html

    Args:
        runs: Folders that commands wrote with --out, or folders of such folders.
        out: The page.
        title: Its title.
    """
    from ..report import ledger
    from ..report.html import write_report
    from ..report.terminal import say

    files = write_report(out, title, [ledger.read(folder) for folder in ledger.find(runs)])
    if json:
        print(ledger.to_json(dict(zip(("report", "json", "csv"), files, strict=True))), end="")
    else:
        say(f"{files[0]}  (numbers: {files[1]}, {files[2]})")
    return DONE
