"""Compiled loops of the solution methods."""
