"""The trainings of both libraries: cells of the experiments in this folder, and seeds of stable-baselines3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ...workflows.sweep.experiment import GridCell
from ...workflows.train import Training
from ..common.sweeps import parts

PARTS = parts(__file__, "cartpole", "acrobot")
SB3_COUNT = 10  # seeds of stable-baselines3, which train one after another
ALL_SB3 = ("cartpole-ppo", "cartpole-ppo-short", "cartpole-a2c-short")  # cases in which it has as many as rlkit
MARGINS: Mapping[str, float] = {"cartpole": 25.0, "acrobot": 20.0}  # largest difference of no interest, by environment


class MatchedCase(NamedTuple):
    """One comparison: the same hyper-parameters in both libraries."""

    name: str
    training: Training  # of rlkit, all seeds as one computation
    sb3_seeds: tuple[int, ...]
    margin: float  # largest difference of mean returns that is of no interest


def matched(cell: GridCell) -> MatchedCase:
    """Return the case of a cell; stable-baselines3 has all of its seeds, or the first ``SB3_COUNT``."""
    name, seeds = f"{cell.environment}-{cell.agent}", cell.training.seeds
    return MatchedCase(name, cell.training, seeds if name in ALL_SB3 else seeds[:SB3_COUNT], MARGINS[cell.environment])


CASES = tuple(matched(cell) for part in PARTS for cell in part.cells)
