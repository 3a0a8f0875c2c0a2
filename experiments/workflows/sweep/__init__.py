"""Sweeps: the grid of an experiment, the ledger that its runs are committed to, and the processes that train them."""
