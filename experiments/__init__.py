"""Questions asked of the package: the command line, the ledger of runs, reports, and one folder per question."""

if __name__ != "rlkit.experiments":
    raise ImportError(f"import rlkit.experiments, not {__name__}: this folder is a part of the package rlkit")
