"""Where and when numbers were computed: date, commit of the code, and the processors."""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import rlkit


def provenance() -> dict[str, str]:
    """Return date, commit, CPU and, where torch has seen one, GPU, for the record of a run."""
    return {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "commit": commit(), "CPU": cpu_model(), **_gpu()}


@lru_cache(maxsize=1)
def commit(root: Path | None = None) -> str:
    """Return the commit of the code in ``root``, with ``-dirty`` if files were changed since.

    Args:
        root: a folder; None for that of this package.
    """
    folder = Path(rlkit.__file__).resolve().parent.parent if root is None else root
    if not (folder / ".git").exists():  # installed from a wheel, perhaps within another repository
        return f"none: rlkit {rlkit.__version__} is installed without its repository"
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown: git could not tell"
    return told.stdout.strip()


@lru_cache(maxsize=1)
def cpu_model() -> str:
    """Return the model of the CPU, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine() or "unknown"


def _gpu() -> dict[str, str]:
    """Return the model of the GPU if torch is imported and has started to use one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    return {"GPU": torch.cuda.get_device_name()}
