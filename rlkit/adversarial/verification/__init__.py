"""Verification: which actions observations within a budget can provoke, with bounds that hold in floating point."""
