"""Every test runs torch on one thread: parallelism comes from processes, and equality to the bit needs it."""

import hypothesis
import matplotlib as mpl
import torch

mpl.use("Agg")
torch.set_num_threads(1)

hypothesis.settings.register_profile("rlkit", deadline=None, derandomize=True)  # the same examples on every machine
hypothesis.settings.load_profile("rlkit")
