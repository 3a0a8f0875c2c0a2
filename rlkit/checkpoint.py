"""Files of tensors that cannot run code, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


def write_whole(path: str | Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then move it there: readers see all of it or none.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save_tensors(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write named tensors and text as one safetensors file."""
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    write_whole(path, lambda temporary: save_file(whole, temporary, metadata))


def load_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors that ``save_tensors`` wrote, on the CPU.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a safetensors file, or one that was cut short.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def load_metadata(path: str | Path) -> dict[str, str]:
    """The text that ``save_tensors`` wrote, without reading the tensors; errors as of ``load_tensors``."""
    with _opened(path) as file:
        return dict(file.metadata() or {})


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}): was it cut short?") from error


def part(state: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, under the rest of their names."""
    return {name.removeprefix(start): tensor for name, tensor in state.items() if name.startswith(start)}
