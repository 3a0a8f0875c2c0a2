"""The devices that tests run on: the CPU and a pretend device everywhere, a GPU where there is one.

A test takes a device as its argument ``device``. ``pytest --device cuda`` runs all of these tests on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from rlkit.experiments.benchmarks.pretend_device import NAME, PretendTensor, forbidding_waits, pretending

GPUS = ["cuda"] if torch.cuda.is_available() else []
DEVICES = [NAME, *GPUS]  # of tests that compare with the CPU and say where the host waits
CPU_AND_GPUS = ["cpu", *GPUS]  # of tests that run anywhere


def using(device: str) -> AbstractContextManager[Any]:
    """In the context the device is there."""
    return pretending() if device == NAME else nullcontext()


def without_waits(device: str) -> AbstractContextManager[None]:
    """In the context it is an error to make the host wait for the device."""
    return forbidding_waits() if device == NAME else _without_synchronization()


@contextmanager
def _without_synchronization() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def on_host(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor's numbers on the CPU, also after the context."""
    return tensor.held if isinstance(tensor, PretendTensor) else tensor.detach().cpu()
