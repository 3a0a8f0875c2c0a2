"""Files of tensors: they cannot run code, are written whole or not at all, and reveal later changes.

A file is a safetensors file whose metadata holds a manifest in JSON and the SHA-256 of that JSON. The manifest holds
the schema number, the kind of the file, the contents given by the writer, and the dtype, shape and SHA-256 of every
tensor. ``docs/reference/files.md`` describes the format for other programs.

Reading compares the sizes in the header with the size of the file before it allocates memory.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

import rlkit

from .atomic_files import whole_file

SCHEMA = 1
MANIFEST, DIGEST = "rlkit.manifest", "rlkit.manifest.sha256"  # the two entries of the metadata
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
MOST_HEADER_BYTES = 4 * 2**20
MOST_TENSORS = 10_000


class TensorFile(NamedTuple):
    """The contents of a file."""

    kind: str  # kind of the file, named by its writer
    schema: int  # version of the format; 0 for files without a manifest (version 0.1.0)
    contents: dict[str, Any]  # JSON object that the writer added to the tensors
    tensors: dict[str, Tensor]  # by name, on the CPU, in the order of writing; empty if only the header was read


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], kind: str, contents: Mapping[str, Any]) -> None:
    """Write named tensors and a JSON object as one file, whole or not at all.

    Args:
        path: path of the file; its folder must exist.
        tensors: by name, of a dtype in ``DTYPES``.
        kind: kind of the file, which readers check.
        contents: a mapping that JSON can represent.

    Raises:
        OSError: see ``rlkit.atomic_files.whole_file``.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    described = {
        name: {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "sha256": digest(tensor)}
        for name, tensor in whole.items()
    }
    manifest = json.dumps(
        {"schema": SCHEMA, "rlkit": rlkit.__version__, "kind": kind, "contents": dict(contents), "tensors": described}
    )
    metadata = {MANIFEST: manifest, DIGEST: hashlib.sha256(manifest.encode()).hexdigest()}
    content = save(whole, metadata)
    with whole_file(path) as file:
        file.write(content)


def digest(tensor: Tensor) -> str:
    """Return the SHA-256 of a contiguous tensor's bytes, in hexadecimal digits."""
    flat = tensor.as_strided((tensor.numel(),), (1,))  # a single number may have a stride of 0
    return hashlib.sha256(flat.view(torch.uint8).numpy().data).hexdigest()


def load_tensors(path: str | Path, kinds: Iterable[str], legacy: Mapping[str, str] | None = None) -> TensorFile:
    """Read a file of ``save_tensors`` and check every byte.

    Args:
        path: path of the file.
        kinds: kinds that the caller can read.
        legacy: for files without a manifest: name of their only entry of metadata -> their kind.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not whole, was changed after it was written, is of another kind, or has a newer schema.
    """
    path = Path(path)
    found, described = _described(path, kinds, legacy)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error
    if found.schema > 0:
        tensors = {name: tensors[name] for name in described}
        for name, tensor in tensors.items():
            if digest(tensor) != described[name]["sha256"]:
                raise _damaged(path, f"the numbers of {name!r} are not those that were written")
    return found._replace(tensors=tensors)


def load_header(path: str | Path, kinds: Iterable[str], legacy: Mapping[str, str] | None = None) -> TensorFile:
    """Read the kind and contents of a file, without its tensors; arguments and errors as in ``load_tensors``."""
    return _described(Path(path), kinds, legacy)[0]


def _described(
    path: Path, kinds: Iterable[str], legacy: Mapping[str, str] | None
) -> tuple[TensorFile, Mapping[str, Any]]:
    """Read a file without its tensors, and the manifest's entries for them: dtype, shape and digest by name.

    There are no entries in a file without a manifest.
    """
    header = _header_of(path)
    metadata = header.get("__metadata__", {})
    old = [name for name in legacy or {} if name in metadata]
    described: Mapping[str, Any] = {}
    if MANIFEST not in metadata and old:
        contents = _parsed(path, metadata[old[0]])
        found = TensorFile((legacy or {})[old[0]], 0, contents, {})
    elif MANIFEST in metadata:
        manifest = _manifest(path, header)
        found = TensorFile(manifest["kind"], manifest["schema"], manifest["contents"], {})
        described = manifest["tensors"]
    else:
        raise ValueError(f"{path} is a safetensors file, but rlkit did not write it")
    if found.kind not in (kinds := tuple(kinds)):
        raise ValueError(f"{path} holds {found.kind}, and not {' or '.join(kinds)}")
    if not isinstance(found.contents, dict):
        raise _damaged(path, "its contents are no JSON object")
    return found, described


def _header_of(path: Path) -> dict[str, Any]:
    """Read the header of a safetensors file; refuse it if its sizes disagree with the size of the file."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        near = path.with_name(path.name + ".zip")
        hint = f", but {near}: read a model of stable-baselines3 with rlkit.sb3.load" if near.is_file() else ""
        raise FileNotFoundError(f"no file {path}{hint}") from None
    except NotADirectoryError:
        raise FileNotFoundError(f"no file {path}: a file stands in its way where a folder is needed") from None
    if stat.S_ISDIR(mode):
        raise ValueError(f"{path} is a folder: give the file in it")
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} is not a regular file")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        first = file.read(8)
        if first.startswith(b"PK\x03\x04"):
            raise ValueError(
                f"{path} is a zip archive, such as stable-baselines3 writes, and no file of rlkit: read a model of "
                f"stable-baselines3 with rlkit.sb3.load({str(path)!r}, algo, trust=True), algo being 'DQN', 'A2C' or "
                "'PPO', or pass --algo, --env and --trust on the command line"
            )
        length = int.from_bytes(first, "little")
        if size < 8 or length > size - 8:
            if size == 8 or file.read(1) == b"{":
                raise _damaged(path, "it was cut short, for it ends before its header does")
            raise _damaged(path, "it does not begin like one, so rlkit may never have written it")
        if length > MOST_HEADER_BYTES:
            raise ValueError(f"{path} has a header of {length:,} bytes: rlkit reads at most {MOST_HEADER_BYTES:,}")
        header = _parsed(path, file.read(length).decode("utf-8", errors="replace"))
    if not isinstance(header, dict):
        raise _damaged(path, "its header is no JSON object")
    _check_sizes(path, header, size - 8 - length)
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise _damaged(path, "its metadata is no object of texts")
    return header


def _check_sizes(path: Path, header: dict[str, Any], num_bytes: int) -> None:
    """Refuse tensors that do not fill the file without gaps, or that are of an unknown dtype."""
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    if len(entries) > MOST_TENSORS:
        raise ValueError(f"{path} holds {len(entries):,} tensors: rlkit reads at most {MOST_TENSORS:,}")
    spans = []
    for name, entry in entries.items():
        try:
            dtype, shape, (start, end) = DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
            numbers = [*shape, start, end]
        except (KeyError, TypeError, ValueError):
            raise _damaged(path, f"its header does not describe tensor {name!r}") from None
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise _damaged(path, f"the sizes of tensor {name!r} are no integers of at least 0")
        if end - start != math.prod(shape) * dtype.itemsize:
            raise _damaged(path, f"tensor {name!r} of shape {shape} does not take {end - start} bytes")
        spans.append((start, end))
    reached = 0
    for start, end in sorted(spans):
        if start != reached:
            raise _damaged(path, "its tensors do not follow each other")
        reached = end
    if reached != num_bytes:
        raise _damaged(path, f"it holds {num_bytes} bytes of tensors where its header describes {reached}")


def _manifest(path: Path, header: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest of a header; refuse it if it is damaged or does not describe the header's tensors."""
    metadata = header["__metadata__"]
    text = metadata[MANIFEST]
    if hashlib.sha256(text.encode("utf-8", errors="replace")).hexdigest() != metadata.get(DIGEST):
        raise _damaged(path, "its manifest was changed")
    if set(metadata) != {MANIFEST, DIGEST}:
        raise _damaged(path, "its metadata has other entries than the manifest")
    manifest = _parsed(path, text)
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if type(schema) is int and schema > SCHEMA:
        raise ValueError(
            f"{path} was written by rlkit {manifest.get('rlkit')} in schema {schema}; this rlkit {rlkit.__version__} "
            f"reads schemas up to {SCHEMA}: update rlkit"
        )
    if type(schema) is not int or schema < 1:
        raise _damaged(path, f"its schema is {schema!r}")
    if set(manifest) != {"schema", "rlkit", "kind", "contents", "tensors"}:
        raise _damaged(path, f"its manifest has the entries {', '.join(map(str, manifest))}")
    described = manifest["tensors"]
    found = {name: (entry["dtype"], entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    try:
        expected = {name: (entry["dtype"], entry["shape"]) for name, entry in described.items()}
    except (AttributeError, KeyError, TypeError):
        raise _damaged(path, "its manifest does not describe its tensors") from None
    if found != expected:
        raise _damaged(path, "its tensors are not those that its manifest describes")
    return dict(manifest)


def _parsed(path: Path, text: str) -> Any:
    """Parse JSON; refuse duplicate keys, NaN and too deep nesting."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            raise ValueError(f"{max(names, key=names.count)!r} occurs twice")
        return dict(pairs)

    def refuse(constant: str) -> Any:
        if constant == "NaN":
            raise ValueError("it holds NaN")
        return float(constant)

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"its JSON cannot be read: {str(error)[:200]}") from None


def _damaged(path: Path, why: str) -> ValueError:
    return ValueError(f"{path} is not a whole rlkit file, or was changed after it was written: {why}")


def part(state: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with ``start``, under the rest of their names."""
    return {name.removeprefix(start): tensor for name, tensor in state.items() if name.startswith(start)}
