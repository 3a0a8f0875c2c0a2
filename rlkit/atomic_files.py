"""Atomic files, which are written whole or not at all, and the lock of a folder with one writer.

A file is written under a temporary name in its own folder, flushed to the disk and renamed, and the folder is flushed
to the disk. A reader therefore sees the old file or the new one. A killed process leaves at most its temporary file,
whose name contains the number of the process; the next write of the same file removes it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedWriter
from pathlib import Path

LOCK, OWNER = "LOCK", "LOCK.json"  # the locked file, and the process that holds it
STALE_SECONDS = 24 * 3600.0  # age from which a temporary file of another machine counts as abandoned
_LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?P<host>[\w-]+)-(?P<pid>\d+)-[0-9a-f]{8}\.rlkit-part")


@contextmanager
def whole_file(path: str | Path, durable: bool = True) -> Iterator[BufferedWriter]:
    """Open a file for writing that replaces ``path`` when the context ends without an error, and not before.

    Args:
        path: path of the file.
        durable: flush the file and its folder to the disk, so that the file outlives a loss of power.

    Raises:
        FileNotFoundError: the folder does not exist.
        FileExistsError: ``path`` is a symbolic link, a folder, a device or another special file.
        OSError: the file could not be written, for example on a full disk; what was at ``path`` is unchanged.
    """
    path = Path(path)
    _refuse_what_is_no_regular_file(path)
    remove_leftovers(path.parent, path.name)
    temporary = path.with_name(f".{path.name}.{_host()}-{os.getpid()}-{secrets.token_hex(4)}.rlkit-part")
    try:
        with _opened_new(temporary) as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.filename not in (None, str(temporary), temporary):
            raise
        raise type(error)(
            error.errno, f"{error.strerror}; {path} was not written, and what was there is unchanged"
        ) from error
    finally:
        with suppress(OSError):  # a disk that turned read-only says so above
            temporary.unlink(missing_ok=True)
    if durable:
        flush_folder(path.parent)


def _refuse_what_is_no_regular_file(path: Path) -> None:
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} in: make it first")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        raise FileExistsError(f"{path} is a symbolic link: write to {path.resolve()} itself, or remove the link")
    if not stat.S_ISREG(mode):
        raise FileExistsError(f"{path} is not a regular file: choose another path")


def _opened_new(path: Path) -> BufferedWriter:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o666), "wb")


def flush_folder(folder: Path) -> None:
    """Make the entries of a folder durable, such as a rename; Windows cannot open folders and needs no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: str | Path, name: str | None = None) -> list[str]:
    """Remove temporary files that killed processes left in a folder, and return their names.

    A temporary file of this machine counts as abandoned if its process no longer runs, one of another machine after a
    day.

    Args:
        folder: folder to search, without the folders below it.
        name: name of the file whose temporary files are removed; None for those of every file.
    """
    removed = []
    for entry in os.scandir(folder):
        parts = _LEFTOVER.fullmatch(entry.name)
        if parts is None or (name is not None and parts["name"] != name) or not entry.is_file(follow_symlinks=False):
            continue
        if parts["host"] == _host():
            abandoned = not process_runs(int(parts["pid"]))
        else:
            abandoned = time.time() - entry.stat(follow_symlinks=False).st_mtime > STALE_SECONDS
        if abandoned:
            Path(entry.path).unlink(missing_ok=True)
            removed.append(entry.name)
    return removed


def process_runs(pid: int) -> bool:
    """Find out whether a process of this machine runs, of any user."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _host() -> str:
    return re.sub(r"[^\w-]", "_", socket.gethostname())


@contextmanager
def only_writer(folder: str | Path) -> Iterator[None]:
    """Hold the lock of a folder; the operating system releases it when the process ends, even if it is killed.

    The folder keeps the empty file ``LOCK`` and, while the lock is held, ``LOCK.json`` with process, host and time.

    Raises:
        RuntimeError: another process holds the lock; the message names that process and its host.
    """
    from filelock import FileLock, Timeout

    folder = Path(folder)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise RuntimeError(
            f"{folder} is being written by {_owner(folder)}: wait for it, or choose another folder"
        ) from None
    try:
        with whole_file(folder / OWNER) as file:
            owner = {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            file.write(json.dumps(owner).encode())
        yield
    finally:
        (folder / OWNER).unlink(missing_ok=True)
        lock.release()


def _owner(folder: Path) -> str:
    try:
        owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        return f"process {owner['process']} on {owner['host']} since {owner['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
