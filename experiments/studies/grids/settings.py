"""Which agents are trained on which maps: the cells of the experiments in this folder."""

from __future__ import annotations

from typing import NamedTuple

from ...workflows.train import Training
from ..common.sweeps import parts

SHARE = 0.05  # share of the optimum that the median seed may lose
PARTS = parts(__file__, "grids", "frozenlake-8x8", "sutton-barto-5x5")


class GridCase(NamedTuple):
    """One agent on one map."""

    name: str
    agent: str
    map: str
    training: Training


CASES = tuple(
    GridCase(f"{cell.agent}-{cell.environment}", cell.agent, cell.environment, cell.training)
    for part in PARTS
    for cell in part.cells
)
