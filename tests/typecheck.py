"""Type-check the package as it is installed: ``python tests/typecheck.py``.

The source tree maps envs/, agents/ and experiments/ into ``rlkit``. A checker pointed at rlkit/ alone would
miss them and report success, so it is given a tree laid out as the wheel lays it out.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"rlkit": "rlkit", "envs": "rlkit/envs", "agents": "rlkit/agents", "experiments": "rlkit/experiments"}


def source_files() -> list[Path]:
    """Every .py file of the four folders, relative to the root."""
    return sorted(path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def installed_path(source: Path) -> Path:
    """Where a source file lies in the wheel."""
    return Path(FOLDERS[source.parts[0]], *source.parts[1:])


def check() -> tuple[int, str, int]:
    """(exit code, report, number of files checked)."""
    with tempfile.TemporaryDirectory() as folder:
        for source in source_files():
            link = Path(folder) / installed_path(source)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(ROOT / source)
        (Path(folder) / "rlkit" / "py.typed").touch()
        command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
        command += ["--cache-dir", str(ROOT / ".mypy_cache"), "-p", "rlkit"]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    counted = re.search(r"in (\d+) source files|checked (\d+) source files", result.stdout)
    number = int(next(group for group in counted.groups() if group)) if counted else 0
    return result.returncode, result.stdout + result.stderr, number


if __name__ == "__main__":
    code, report, number = check()
    print(report, end="")
    if number != len(source_files()):
        print(f"{number} files were checked of {len(source_files())}")
        code = code or 1
    sys.exit(code)
