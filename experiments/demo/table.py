"""The demo's table: one line per task and agent, each with its target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.statistics import Estimate

from ..report.ledger import Cell, ReportTable
from ..workflows.attack import ATTACKS
from .settings import Demo


class Line(NamedTuple):
    """The results of one agent in one task."""

    task: str
    agent: str
    returns: NDArray[np.float64]  # [S], of every seed's greedy policy
    estimate: Estimate[float]  # over seeds: the median of exact returns, or the mean of played ones
    beside: str | None = None  # what the reference is; None: there is none
    reference: float | Estimate[float] | None = None
    attacked: tuple[Estimate[float], ...] = ()  # return under each attack of the table
    target: str | None = None
    reached: str | None = None
    met: bool | None = None  # None: there is no target


def with_grid_target(line: Line, settings: Demo) -> Line:
    """Compare the median seed's loss with the target."""
    optimum = line.reference
    assert isinstance(optimum, float)
    line = line._replace(reached=f"loses {1.0 - line.estimate.value / optimum:.1%}")
    if settings.grid_regret is None:
        return line
    target = f"median seed loses at most {settings.grid_regret:.0%}"
    return line._replace(target=target, met=line.estimate.value >= (1.0 - settings.grid_regret) * optimum)


def with_cartpole_target(line: Line, settings: Demo) -> Line:
    """Compare the number of solved seeds with the target."""
    solved = int((line.returns >= settings.cartpole_return).sum(axis=0))
    line = line._replace(reached=f"{solved} of {len(line.returns)}")
    if settings.cartpole_solved is None:
        return line
    target = f"{settings.cartpole_solved} of {len(line.returns)} seeds at {settings.cartpole_return:g}"
    return line._replace(target=target, met=solved >= settings.cartpole_solved)


def summary(lines: Sequence[Line], settings: Demo) -> ReportTable:
    """The table at the end."""
    names = [ATTACKS[name].name for name in settings.cartpole_attacks.names]
    columns = ("task", "agent", "seeds", "return", "beside", "its return", *names, "target", "reached", "met")
    rows: list[tuple[Cell, ...]] = [
        (
            line.task,
            line.agent,
            len(line.returns),
            line.estimate,
            line.beside,
            line.reference,
            *line.attacked,
            line.target,
            line.reached,
            line.met,
        )
        for line in lines
    ]
    return ReportTable("summary", _title(settings), columns, tuple(rows))


def _title(settings: Demo) -> str:
    """Return the title of the table, which explains its columns of attacks."""
    grid, cartpole = settings.grid_attacks, settings.cartpole_attacks
    return (
        f"Return of greedy policies, and under attack: epsilon {grid.shown:g} of one-hot observations on the grid, "
        f"{cartpole.shown:g} in the committed scale on the cart-pole"
    )
