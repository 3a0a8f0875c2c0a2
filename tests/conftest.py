"""Every test runs torch on one thread: parallelism comes from processes, and equality to the bit needs it.

Random tensors are the same whichever tests ran before.
"""

import gc

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


def pytest_collection_finish():
    """Leave what is imported by now out of garbage collections, which took 7 % of the time."""
    gc.freeze()
