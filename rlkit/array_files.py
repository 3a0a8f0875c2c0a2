"""Arrays in ``.npz`` files: the headers of a file are checked before any array is unpacked.

An ``.npz`` file is a zip archive of ``.npy`` files. Each of them names its dtype and shape, and the directory of the
archive names their sizes, so the memory that a file would take is known from its first few hundred bytes.
"""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

PACKING = 100  # times the file's size that its arrays may take: tables of grids take about 25 times, zeros 1000 times
ALWAYS_UNPACKED = 64 * 2**20  # bytes that any file's arrays may take
MOST_MEMBERS = 64
READ_DTYPES = "biufU"  # kinds of numpy dtypes: numbers and texts
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what numpy writes
LOCAL_HEADER = struct.Struct("<26xHH")  # what precedes a member; the lengths of its name and of further fields follow
READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    ValueError,
    OSError,
)


def load_arrays(
    path: Path, names: Collection[str], required: Collection[str] = (), max_bytes: int | None = None
) -> dict[str, NDArray[Any]]:
    """Read an ``.npz`` file. Nothing in it is executed.

    Args:
        path: path of the file.
        names: names that its arrays may have; the arrays are numbers or texts.
        required: names that must not be missing.
        max_bytes: bytes that the arrays may take in memory; None means 64 MiB, or 100 times the size of the file if
            that is more.

    Raises:
        OSError: no such file.
        ValueError: no ``.npz`` file, one that is damaged, or one whose arrays take more than ``max_bytes``.
    """
    size = path.stat().st_size
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not a .npz file, or was cut short: save it again")
    most = max(ALWAYS_UNPACKED, PACKING * size) if max_bytes is None else max_bytes
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, names, required)
            needed = sum(_verified_bytes(archive, member) for member in members.values())
            if needed <= most:
                return {name: _unpacked(archive, member) for name, member in members.items()}
    except DAMAGED as error:
        raise ValueError(f"{path} is damaged ({str(error)[:200]}): save it again") from error
    raise ValueError(
        f"{path} of {size:,} bytes holds arrays of {needed:,} bytes, where at most {most:,} are unpacked: pass "
        f"max_bytes={needed} if you trust the file"
    )


def _members(archive: zipfile.ZipFile, names: Collection[str], required: Collection[str]) -> dict[str, zipfile.ZipInfo]:
    """The members by the names of their arrays."""
    found = archive.infolist()
    if len(found) > MOST_MEMBERS or len({member.filename for member in found}) < len(found):
        raise ValueError(f"it has {len(found)} members, more than {MOST_MEMBERS} or two of one name")
    by_name = {member.filename.removesuffix(".npy"): member for member in found}
    _verify_without_gaps(archive)
    if missing := [name for name in required if name not in by_name]:
        raise ValueError(f"it has no {', '.join(missing)}")
    unknown = sorted(by_name.keys() - set(names))
    if unknown:
        raise ValueError(f"it holds {', '.join(map(repr, unknown))}, which are not known")
    return by_name


def _verify_without_gaps(archive: zipfile.ZipFile) -> None:
    """Refuse an archive whose directory leaves out a member, or lists one where there is none."""
    reached, file = 0, archive.fp
    assert file is not None, "the archive is open"
    for member in sorted(archive.infolist(), key=lambda member: member.header_offset):
        file.seek(member.header_offset)
        header = file.read(LOCAL_HEADER.size)
        if member.header_offset != reached or len(header) < LOCAL_HEADER.size:
            raise ValueError("its members do not follow each other")
        reached += LOCAL_HEADER.size + sum(LOCAL_HEADER.unpack(header)) + member.compress_size
    if reached != archive.start_dir:
        raise ValueError("its directory does not follow its members")


def _verified_bytes(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """The bytes that an array takes in memory, which its header and the archive's directory agree on."""
    if member.compress_type not in METHODS or member.flag_bits & 1:
        raise ValueError(f"{member.filename} is packed or encrypted in a way that numpy does not write")
    with archive.open(member) as stream:
        shape, dtype = _header(stream)
        start = stream.tell()
    if dtype.hasobject:
        raise ValueError(f"{member.filename} holds Python objects, which are not read: allow_pickle=False")
    if dtype.kind not in READ_DTYPES or dtype.itemsize == 0 or dtype.subdtype is not None:
        raise ValueError(f"{member.filename} has dtype {dtype}, and neither numbers nor texts")
    if any(type(length) is not int or length < 0 for length in shape):
        raise ValueError(f"{member.filename} has shape {shape}")
    taken = math.prod(shape) * dtype.itemsize
    if member.file_size != start + taken:
        raise ValueError(f"{member.filename} of shape {shape} and {dtype} does not take {member.file_size} bytes")
    return taken


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of an ``.npy`` file."""
    try:
        version = np.lib.format.read_magic(stream)
        shape, _, dtype = READERS[version](stream)
    except (KeyError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError) as error:
        raise ValueError(f"its header cannot be read: {str(error)[:200]}") from error
    return shape, dtype


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(member) as stream:
        array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array
