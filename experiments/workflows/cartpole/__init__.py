"""From which states can a pole be balanced, and how accurate is a learned Q there? See README.md."""

from .analysis import cartpole_of, solve_cartpole

__all__ = ["cartpole_of", "solve_cartpole"]
