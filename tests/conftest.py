"""Every test runs torch on one thread: parallelism comes from processes, and equality to the bit needs it."""

import matplotlib as mpl
import torch

mpl.use("Agg")
torch.set_num_threads(1)
