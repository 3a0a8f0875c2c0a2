"""Questions asked of the package: the command line, the ledger of runs, reports, and one folder per question."""
