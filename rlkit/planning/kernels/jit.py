"""Compilation of the loops that have no array form.

With numba the decorated functions are compiled on first use and kept in a cache folder; without it they stay Python,
slow and equal to the bit, and ``solve`` chooses methods made of array operations instead.

numba finds out that a function's own file has changed, but not that the file of a function it calls has, and then runs
stale machine code. So the cache folder is named by a hash of all sources in this folder: a change of any of them
compiles everything again. Compiled functions therefore call only compiled functions of this folder.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

try:
    import numba  # type: ignore[import-untyped,import-not-found,unused-ignore]

    COMPILED = True
    numba_settings: Any = numba.config
except ImportError:
    COMPILED = False


def user_cache(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """The folder where programs keep what they can compute again: ``XDG_CACHE_HOME``, else ``~/.cache``; on macOS
    ``~/Library/Caches``; on Windows ``LOCALAPPDATA``, else ``~/AppData/Local``.

    Raises:
        RuntimeError: the user has no home folder.
    """
    if platform == "win32":
        local = environment.get("LOCALAPPDATA")
        return Path(local) if local else Path.home() / "AppData" / "Local"
    if platform == "darwin":
        return Path.home() / "Library" / "Caches"
    given = environment.get("XDG_CACHE_HOME", "")
    return Path(given) if os.path.isabs(given) else Path.home() / ".cache"


def sources_hash(folder: Path, version: str) -> str:
    """A hash of all Python sources of a folder and of numba's version.

    Raises:
        OSError: there are none, as in an installation without sources, or one cannot be read.
    """
    sources = sorted(folder.glob("*.py"))
    if not sources:
        raise FileNotFoundError(f"{folder} has no Python sources")
    found = hashlib.sha256(version.encode())
    for source in sources:
        content = source.read_bytes()
        found.update(f"{source.name} {len(content)} ".encode() + content)
    return found.hexdigest()[:16]


def cache_folder() -> Path | None:
    """The folder for machine code, made if missing: ``rlkit/numba-<hash>`` in ``NUMBA_CACHE_DIR`` if that is set, else
    in ``user_cache()``.

    None, after one warning, where no such folder can be written.
    """
    try:
        base = Path(numba_settings.CACHE_DIR) if numba_settings.CACHE_DIR else user_cache()
        folder = base / "rlkit" / f"numba-{sources_hash(Path(__file__).parent, numba.__version__)}"
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError) as reason:
        warn_once(
            f"compiled loops are not kept for the next process, which has to compile them again ({reason}): "
            "set NUMBA_CACHE_DIR to a folder that can be written"
        )
        return None
    return folder


def warn_once(message: str) -> None:
    """Warn without ever failing: where warnings are errors, the message goes to the standard error stream."""
    try:
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    except RuntimeWarning:
        sys.stderr.write(f"RuntimeWarning: {message}\n")


CACHE = cache_folder() if COMPILED else None


def compiled(function: Function) -> Function:
    """``function`` as machine code where numba is installed. No fast-math: every operation rounds as written."""
    if not COMPILED:
        return function
    if CACHE is None:
        machine_code: Function = numba.njit(function, nogil=True, error_model="numpy")
        return machine_code
    users = numba_settings.CACHE_DIR
    numba_settings.CACHE_DIR = str(CACHE)  # numba reads it once, when it makes the function's cache
    try:
        machine_code = numba.njit(function, cache=True, nogil=True, error_model="numpy")
    finally:
        numba_settings.CACHE_DIR = users
    return machine_code


def inlined(function: Function) -> Function:
    """``function``, written out wherever a compiled function calls it: calls made sweeps up to 3.6 times as long."""
    if not COMPILED:
        return function
    written_out: Function = numba.njit(function, inline="always", nogil=True, error_model="numpy")
    return written_out
