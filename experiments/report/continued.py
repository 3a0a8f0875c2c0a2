"""The folder of a run that can be continued: its settings, and what is kept of it while it runs.

A command writes ``settings.json`` first, keeps finished parts in the folder ``checkpoints``, and writes ``run.json``
last. With ``--resume`` the same command continues with what is kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlkit.agents.checkpoints import FOLDER, LATEST
from rlkit.atomic_files import remove_leftovers

from ..stopping import FinishedRun, Stopped
from . import ledger
from .ledger import write_text

SETTINGS = "settings.json"
KEPT = FOLDER  # of finished parts, of whatever command


@contextmanager
def continued_folder(
    path: str | Path, settings: Mapping[str, Any], overwrite: bool = False, resume: bool = False
) -> Iterator[Path]:
    """Make the folder of a run, or open it again, and be its only writer until the ``with`` block ends.

    Args:
        path: path of the folder.
        settings: settings on which the outcome depends.
        overwrite: replace the run that the folder holds, finished or not.
        resume: continue the run that was stopped there; a folder without one begins it.

    Raises:
        ValueError: the path is a file; another process writes to the folder; a finished run without ``resume``, a
            stopped one without it, or one of other settings; or both overwrite and resume.
        FinishedRun: with ``resume``, the run is finished. A process that is killed after its last file leaves one.
    """
    if overwrite and resume:
        raise ValueError("--resume continues a run and --overwrite replaces it: give one of them")
    with ledger.locked_folder(path) as folder:
        remove_leftovers(folder)
        if (folder / KEPT).is_dir():
            remove_leftovers(folder / KEPT)
        if resume:
            _compare(folder, plain := json.loads(ledger.to_json(settings)))
        else:
            if is_stopped(folder) and not overwrite:
                raise ValueError(
                    f"{folder} holds a run that was stopped: pass --resume to continue it, or --overwrite to replace it"
                )
            ledger.new_folder(folder, overwrite)
            _clear(folder)
            plain = settings
        write_text(folder / SETTINGS, ledger.to_json(plain))
        try:
            yield folder
        except Stopped as stopped:
            stopped.kept = is_stopped(folder)
            raise


def is_stopped(folder: Path) -> bool:
    """Whether a folder holds parts of a run, and not its record."""
    return not (folder / ledger.RECORD).exists() and any(_parts(folder))


def _parts(folder: Path) -> Iterator[Path]:
    """The files that commands keep while they run."""
    kept = folder / KEPT
    if kept.is_dir() and not kept.is_symlink():
        yield from (path for path in kept.iterdir() if path.suffix == ".safetensors" or path.name == LATEST)
    yield from folder.glob("sb3-seed*.json")  # the last file of a finished seed of a comparison


def _clear(folder: Path) -> None:
    """Remove the parts of an older run."""
    for path in list(_parts(folder)):
        path.unlink()


def _compare(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuse to continue a run that was started with other settings, or that is finished."""
    finished = (folder / ledger.RECORD).exists()
    if not finished and not any(_parts(folder)):
        return  # stopped before anything was kept, or never begun
    path = folder / SETTINGS
    if not path.exists():
        raise ValueError(f"{folder} has no {SETTINGS}, so its run cannot be continued: pass --overwrite instead")
    try:
        started = json.loads(path.read_text(encoding="utf-8"))
        names = [name for name in {**settings, **started} if settings.get(name) != started.get(name)]
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read ({error!r}): pass --overwrite to start again") from error
    if names:
        changed = "; ".join(f"{name} {_short(started.get(name))}, not {_short(settings.get(name))}" for name in names)
        raise ValueError(f"the run in {folder} was started with {changed}: give its settings, or another folder")
    if finished:
        raise FinishedRun(folder)


def _short(value: Any) -> str:
    return text if len(text := json.dumps(value)) <= 100 else f"{text[:100]}..."
