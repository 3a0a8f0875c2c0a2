"""Train policies, compare them with the exact one, and evaluate them in changed worlds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rlkit.envs
from rlkit.agents import Agent
from rlkit.envs import GridWorld
from rlkit.evaluation import EVALUATION_SEED
from rlkit.planning import backward_induction, evaluate_finite, solve, start_value
from rlkit.statistics import share_interval

from ...report.ledger import Cell, ReportTable
from ...workflows.evaluate import mean_return, play, possible_returns
from ...workflows.exact import all_scores, finite_problem
from ...workflows.sweep.experiment import Batch
from ...workflows.train import Training
from ..common import rows
from ..common.devices import trained_at_once
from ..common.study import Study, StudyOptions
from ..common.sweeps import Part, RunRow, by_cell, parts, train_missing_runs, with_rows
from .lattice import LatticeShares, lattice_shares
from .states import agreement

MAPS = parts(__file__, "grids", "deterministic")
(CARTPOLE,) = parts(__file__, "cartpole")
LATTICE = parts(__file__, "lattice-ppo", "lattice-a2c")
CASES = (*MAPS, CARTPOLE, *LATTICE)
SLIPS = {  # the maps' own are 4/9, 2/3, 0 and 0
    "four-rooms": (0.0, 0.1, 0.3),
    "frozenlake-4x4": (2 / 3, 0.0, 0.4, 0.8),
    "cliff": (0.0, 0.1, 0.3),
    "four-rooms-corner": (0.0, 0.1, 0.3),
}
EPISODES = 20  # of a changed cart-pole
FACTORS = (0.5, 2.0)
NUMBERS = ("half_length", "pole_mass", "cart_mass", "force")
UNCHANGED = "unchanged"


@dataclass(frozen=True)
class AgreementRow(RunRow):
    """How often one policy's action is optimal; see ``Shares``."""

    visited: float
    perturbed: float
    everywhere: float


@dataclass(frozen=True)
class LatticeRow(RunRow):
    """How often one policy's action is the lattice's; see ``LatticeShares``."""

    visited: float | None
    perturbed: float | None
    everywhere: float | None
    balanced: float


@dataclass(frozen=True)
class WorldRow(RunRow):
    """The return of one policy in one world."""

    world: str
    earned: float  # exact in a grid, else the mean of EPISODES episodes
    kept: float | None  # in a grid: the exact return of the policy that is optimal in the unchanged world
    optimum: float | None  # in a grid: of this world


def run(cases: Sequence[Part], options: StudyOptions) -> Sequence[ReportTable]:
    """Train the runs without rows, measure them, and table agreement and changed worlds."""
    shares, lattice, worlds = (options.data / f"{name}.csv" for name in ("agreement", "lattice", "worlds"))
    for part in cases:
        if part in MAPS:
            measure = partial(measure_grid, worlds=worlds)
            train_missing_runs(part.experiment, shares, AgreementRow, measure, options.device)
        elif part == CARTPOLE:
            train_missing_runs(part.experiment, worlds, WorldRow, measure_cartpole, options.device)
        else:
            train_missing_runs(part.experiment, lattice, LatticeRow, measure_lattice, options.device)
    return (
        agreement_table(rows.read(shares, AgreementRow)),
        lattice_table(rows.read(lattice, LatticeRow)),
        world_table(rows.read(worlds, WorldRow)),
    )


def measure_grid(batch: Batch, training: Training, worlds: Path) -> list[AgreementRow]:
    """Train runs on a map, add their returns in changed worlds to a file, and return their agreement."""
    agent = trained_at_once(training).agent
    problem = finite_problem(training.env, training.env_kwargs)
    assert problem is not None
    solution = solve(problem.mdp, agent.config.gamma)
    policies = all_scores(agent, problem).argmax(axis=-1)  # [S, N]
    found = [
        WorldRow(run.cell, run.seed, f"slip {slip:.2g}", float(earned), kept, optimum)
        for slip in SLIPS[batch[0].environment]
        for kept, optimum, returns in [returns_with_slip(training.env_kwargs, slip, policies, solution.policy)]
        for run, earned in zip(batch, returns, strict=True)
    ]
    known = {(row.cell, row.seed) for row in rows.read(worlds, WorldRow)}  # of a process that was killed here
    rows.append(worlds, [row for row in found if (row.cell, row.seed) not in known])
    return [
        AgreementRow(run.cell, run.seed, *agreement(problem.mdp, policy, solution.optimal_actions))
        for run, policy in zip(batch, policies, strict=True)
    ]


def returns_with_slip(
    env_kwargs: Mapping[str, Any], slip: float, policies: NDArray[np.int64], exact: NDArray[np.int64]
) -> tuple[float, float, NDArray[np.float64]]:
    """Return the exact returns of a policy ``exact [N]``, of the optimum and of ``policies [S, N]`` at another slip."""
    mdp = GridWorld(**{**env_kwargs, "slip": slip}).mdp
    earned = start_value(mdp, evaluate_finite(mdp, np.concatenate([exact[None], policies]), mdp.max_steps)[:, 0])
    best = start_value(mdp, backward_induction(mdp).value[0])
    return float(earned[0]), float(best), earned[1:]


def measure_cartpole(batch: Batch, training: Training) -> list[WorldRow]:
    """Train runs on the cart-pole, and play them in every changed one."""
    agent = trained_at_once(training).agent
    return [
        WorldRow(run.cell, run.seed, world, float(mean), None, None)
        for world, env_kwargs in cartpoles()
        for run, mean in zip(batch, returns_in(agent, training, env_kwargs), strict=True)
    ]


def cartpoles() -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the unchanged cart-pole, and those with one number halved or doubled."""
    yield UNCHANGED, {}
    usual = rlkit.envs.CartPole()
    for name in NUMBERS:
        for factor in FACTORS:
            yield f"{name} x {factor:g}", {name: factor * getattr(usual, name)}


def returns_in(agent: Agent, training: Training, env_kwargs: dict[str, float]) -> NDArray[np.float64]:
    """Return the mean greedy returns of all seeds in another world, ``[S]``."""
    env = rlkit.envs.make(
        training.env,
        seeds=[EVALUATION_SEED] * agent.num_seeds,
        num_envs=EPISODES,
        restart=False,
        noise="gymnasium",
        env_kwargs=env_kwargs,
    )
    return play(agent, env).seed_means


def measure_lattice(batch: Batch, training: Training) -> list[LatticeRow]:
    """Train runs on the cart-pole, and compare their actions with those of the lattice."""
    agent = trained_at_once(training).agent
    return [LatticeRow(run.cell, run.seed, *of) for run, of in zip(batch, lattice_shares(agent), strict=True)]


def agreement_table(known: Sequence[AgreementRow]) -> ReportTable:
    """Return the shares of optimal actions by agent and map."""
    found = [pair for part in MAPS for pair in with_rows(part.experiment, known)]
    lines: list[tuple[Cell, ...]] = []
    for place in dict.fromkeys((run.environment, run.agent) for run, _ in found):
        of = [row for run, row in found if (run.environment, run.agent) == place]
        shares = (share_interval([getattr(row, name) for row in of]) for name in ("visited", "perturbed", "everywhere"))
        lines.append((*place, len(of), *shares))
    columns = ("map", "agent", "seeds", "visited states", "after one random action", "all states")
    return ReportTable("agreement", "Share of states whose greedy action is optimal", columns, tuple(lines))


def lattice_table(known: Sequence[LatticeRow]) -> ReportTable:
    """Return the shares of the lattice's actions, and of its balanced states, by agent."""
    lines: list[tuple[Cell, ...]] = []
    for cell, of in ((cell, of) for part in LATTICE for cell, of in by_cell(part.experiment, known).items()):
        numbers = (
            [getattr(row, name) for row in of if getattr(row, name) is not None] for name in LatticeShares._fields
        )
        lines.append((cell, len(of), *(share_interval(column) if column else None for column in numbers)))
    columns = ("policies", "seeds", "visited states", "after ten random actions", "random states", "balanced")
    title = "Share of states, of those where the action matters, whose greedy action is the lattice's"
    return ReportTable("lattice", title, columns, tuple(lines))


def world_table(known: Sequence[WorldRow]) -> ReportTable:
    """Return the returns in every world, beside those of the unchanged world's exact policy and the optimum."""
    lines: list[tuple[Cell, ...]] = []
    configurations = {run.cell: run.configuration for part in CASES for run in part.experiment.runs}
    for cell, world in dict.fromkeys((row.cell, row.world) for row in known):
        of = [row for row in known if (row.cell, row.world) == (cell, world)]
        earned = np.array([row.earned for row in of])
        least = float(earned.min(axis=0))
        limits = possible_returns(configurations[cell]["environment"], configurations[cell]["env_kwargs"])
        lines.append((cell, world, len(of), mean_return(earned, limits), least, of[0].kept, of[0].optimum))
    columns = ("policies", "world", "seeds", "mean return", "least", "exact policy of the unchanged", "optimum")
    return ReportTable("worlds", "Greedy returns in changed worlds", columns, tuple(lines))


STUDY = Study(CASES, run, takes=("device",))
