"""Every test runs torch on one thread: parallelism comes from processes, and equality to the bit needs it.

Random tensors are the same whichever tests ran before.
"""

import gc
from pathlib import Path

import hypothesis
import matplotlib as mpl
import pytest
import torch

mpl.use("Agg")
torch.set_num_threads(1)

hypothesis.settings.register_profile("rlkit", deadline=None, derandomize=True)  # the same examples on every machine
hypothesis.settings.load_profile("rlkit")


@pytest.fixture(autouse=True)
def _same_random_tensors():
    torch.manual_seed(0)


COMPILING = {"agents", "compiled"}  # the folders of tests whose loops in float64 take minutes to compile


def pytest_addoption(parser):
    """Add ``--device``: the tests that take a device, on this one alone."""
    parser.addoption(
        "--device", help="run only the tests that take a device, on this one: cpu, cuda, or lazy, a pretend one"
    )


def pytest_collection_modifyitems(config, items):
    """Begin with the tests that compile most; leave out those that do not take the device of ``--device``.

    Of two processes one begins with the first half and the other with the second. When the second has finished its half
    and takes over tests of the first, it finds these loops compiled.
    """
    items.sort(key=lambda item: item.path.relative_to(Path(__file__).parent).parts[0] not in COMPILING)
    if (device := config.getoption("--device")) is not None:
        takes = [
            getattr(item, "callspec", None) is not None and item.callspec.params.get("device") == device
            for item in items
        ]
        config.hook.pytest_deselected(items=[item for item, taken in zip(items, takes, strict=True) if not taken])
        items[:] = [item for item, taken in zip(items, takes, strict=True) if taken]


def pytest_collection_finish():
    """Leave what is imported by now out of garbage collections, and collect rarely: a compiler makes many objects.

    Collections of what is imported took 7 % of the time of the tests. Rare collections save 6 % of a compilation.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
