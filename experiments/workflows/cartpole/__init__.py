"""From which states can a pole be balanced, and what does a learned Q make of them? See README.md."""

from .analysis import cartpole_of, solve_cartpole

__all__ = ["cartpole_of", "solve_cartpole"]
