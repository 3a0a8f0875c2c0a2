"""Verification: which actions observations within a budget can cause, with bounds that hold in floating point."""
