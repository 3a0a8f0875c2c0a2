"""Compilation of loops: those of the engine, in this folder, and those of the exact solvers.

With numba the decorated functions are compiled on first use and kept in a cache folder. Without it they stay Python,
slow and equal to the bit; ``solve`` then chooses methods made of array operations, and agents run on torch.

numba finds out that a function's own file has changed, but not that the file of a function it calls has, and then runs
stale machine code. So the cache folder is named by a hash of all sources in the folders of compiled functions: a change
of any of them compiles everything again. Compiled functions therefore call only compiled functions of these folders.
Where the sources lie does not matter: copies of them share the folder.

A function or a closure that is passed to a compiled function is never found in the cache. What a loop does by the kind
of its arguments is chosen by their type instead, see ``implementation``.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
FOLDERS = (Path(__file__).parent, Path(__file__).parent.parent / "planning" / "kernels")  # of compiled functions
# What sums may be rounded by: order and fused operations. NaN and infinity stay what they are, because a row that
# diverges is detected by them.
REASSOCIATED = {"reassoc", "contract", "arcp", "nsz"}

try:
    import numba  # type: ignore[import-untyped,import-not-found,unused-ignore]
    import numba.core.event  # type: ignore[import-untyped,import-not-found,unused-ignore]
    import numba.extending  # type: ignore[import-untyped,import-not-found,unused-ignore]

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


def sources_hash(version: str, *folders: Path) -> str:
    """A hash of all Python sources of some folders and of numba's version.

    Raises:
        OSError: there are none, as in an installation without sources, or one cannot be read.
    """
    sources = [source for folder in folders for source in sorted(folder.glob("*.py"))]
    if not sources:
        raise FileNotFoundError(f"{folders[0]} has no Python sources")
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
        folder = base / "rlkit" / f"numba-{sources_hash(numba.__version__, *FOLDERS)}"
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

if COMPILED:

    class FirstCompilation(numba.core.event.Listener):  # type: ignore[misc,unused-ignore]
        """Says on the logger "rlkit", once in a process, that loops are compiled which the cache does not hold.

        The logger writes to the standard error unless told otherwise.
        """

        announced = False

        def on_start(self, event: Any) -> None:
            """Hear that a function is being compiled."""
            source = Path(event.data["dispatcher"].py_func.__code__.co_filename)
            if not self.announced and source.parent in FOLDERS:
                self.announced = True
                message = "compiling loops once, for up to a minute: later processes find them"
                logging.getLogger("rlkit").warning(message)

        def on_end(self, event: Any) -> None:
            """Hear that it is compiled."""

    numba.core.event.register("numba:compile", FirstCompilation())  # type: ignore[no-untyped-call,unused-ignore]


class SourcesLocator:
    """Where numba keeps the machine code of a function: in ``CACHE``, in a folder named by that of its source.

    numba's own names it by the path, so that a copy of the sources would be compiled again.
    """

    def __init__(self, line: int, source: Path) -> None:
        self.line, self.source = line, source

    @classmethod
    def from_function(cls, function: Any, file: str) -> SourcesLocator:
        """Return that of a function of a file."""
        locator = cls(function.__code__.co_firstlineno, Path(file))
        locator.ensure_cache_path()
        return locator

    def get_cache_path(self) -> str:
        """Return the folder."""
        assert CACHE is not None
        return str(CACHE / self.source.resolve().parent.name)

    def ensure_cache_path(self) -> None:
        """Make the folder."""
        Path(self.get_cache_path()).mkdir(exist_ok=True)

    def get_source_stamp(self) -> bytes:
        """Return a hash of the file: ``CACHE`` is named by those that are called from other files."""
        return hashlib.sha256(self.source.read_bytes()).digest()

    def get_disambiguator(self) -> str:
        """Return what tells functions of one name in a file apart, the line."""
        return str(self.line)


def compiled(function: Function) -> Function:
    """``function`` as machine code where numba is installed. No fast-math: every operation rounds as written."""
    return _machine_code(function, False)


def reassociated(function: Function) -> Function:
    """``compiled`` with sums in any order and fused multiply-adds, so that they run in vectors; see ``REASSOCIATED``.

    The order is fixed when the function is compiled. It depends on lengths, never on values or on other rows.
    """
    return _machine_code(function, REASSOCIATED)


def _machine_code(function: Function, fastmath: bool | set[str]) -> Function:
    if not COMPILED:
        return function
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath, "no_cfunc_wrapper": True}
    if CACHE is None:
        machine_code: Function = numba.njit(function, **options)
        return machine_code
    # numba reads both once, when it makes the function's cache; releases before 0.62 know the first alone
    own = {"CACHE_DIR": str(CACHE), "CACHE_LOCATOR_CLASSES": f"{__name__}.{SourcesLocator.__name__}"}
    users = {name: getattr(numba_settings, name, "") for name in own}
    vars(numba_settings).update(own)
    try:
        machine_code = numba.njit(function, cache=True, **options)
    finally:
        vars(numba_settings).update(users)
    return machine_code


def inlined(function: Function) -> Function:
    """``function``, written out wherever a compiled function calls it: calls made sweeps up to 3.6 times as long."""
    if not COMPILED:
        return function
    written_out: Function = numba.njit(function, inline="always", nogil=True, error_model="numpy")
    return written_out


def implementation(
    stub: Callable[..., Any], accepts: Callable[[Any], bool], reassociated: bool = True
) -> Callable[[Function], Function]:
    """A decorator: compiled calls of ``stub`` run the function where ``accepts`` the type of their first argument.

    Unlike a function that is passed as an argument, it is found in the cache by another process. Without
    ``reassociated`` every operation rounds as written.
    """

    def register(function: Function) -> Function:
        if COMPILED:
            options: Any = {"error_model": "numpy", "fastmath": REASSOCIATED if reassociated else False}

            @numba.extending.overload(stub, strict=False, jit_options=options)  # type: ignore[untyped-decorator,unused-ignore]
            def choose(first: Any, *others: Any) -> Function | None:
                return function if accepts(first) else None

        return function

    return register


def of(kind: type) -> Callable[[Any], bool]:
    """Whether numba's type is that of a NamedTuple class."""
    return lambda found: getattr(found, "instance_class", None) is kind
