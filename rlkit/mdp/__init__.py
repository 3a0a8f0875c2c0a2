"""Finite Markov decision processes: tables, grid maps, lattices of continuous problems, and random ones."""

from .generators import dense_random, garnet, layered, random_grid
from .grid import GridMDP, map_of
from .lattice import Lattice, LatticeMDP, interpolated
from .tabular import CHUNK, Outcome, Outcomes, TabularMDP, chunks

__all__ = [
    "CHUNK",
    "GridMDP",
    "Lattice",
    "LatticeMDP",
    "Outcome",
    "Outcomes",
    "TabularMDP",
    "chunks",
    "dense_random",
    "garnet",
    "interpolated",
    "layered",
    "map_of",
    "random_grid",
]
