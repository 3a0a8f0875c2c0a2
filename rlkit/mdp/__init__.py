"""Finite Markov decision processes: tables, grid maps, lattices of continuous problems, and random ones."""

from .generators import dense_random, garnet, layered, random_grid
from .grid import MOVES, GridMDP, Move, map_of, slipping_table
from .lattice import Lattice, LatticeMDP, interpolated
from .tabular import CHUNK, Outcome, Outcomes, TabularMDP, chunks

__all__ = [
    "CHUNK",
    "MOVES",
    "GridMDP",
    "Lattice",
    "LatticeMDP",
    "Move",
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
    "slipping_table",
]
