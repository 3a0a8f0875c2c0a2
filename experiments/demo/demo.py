"""The demo's course: three questions, one report, one table, and an exit that says whether the targets are met."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from rlkit.agents import DQN

from ..report import ledger, terminal
from ..report.html import write_report
from ..report.ledger import Cell, ReportTable, RunRecord
from ..report.terminal import Bars
from ..workflows.attack import attack_run, curve, threat
from ..workflows.compare import Comparison, SB3Process, comparison_run, hyperparameter_table, require_sb3, sb3_job_for
from ..workflows.compare.analysis import evaluated
from ..workflows.policies import of_agent
from ..workflows.train import ExactCurve, TrainingResult, train, write_log
from .grid import GridExact, GridResult, grid_result, solved_grid
from .settings import FULL, QUICK, Demo

NAMES = ("grid", "compare", "attack")  # the runs' folders


class Outcome(NamedTuple):
    """All that the demo found."""

    grid: GridResult
    comparison: Comparison
    compare: RunRecord
    attack: RunRecord

    @property
    def runs(self) -> tuple[RunRecord, RunRecord, RunRecord]:
        """In the order of the report."""
        return self.grid.run, self.compare, self.attack


def run_demo(out: Path, quick: bool = False, as_json: bool = False) -> bool:
    """Do it all and write it to ``out``; whether every target was met.

    Raises:
        ModuleNotFoundError: stable-baselines3 is not installed.
    """
    require_sb3()
    torch.set_num_threads(1)
    began = time.perf_counter()
    settings = QUICK if quick else FULL
    folders = [ledger.new_folder(out / name, overwrite=True) for name in NAMES]
    outcome = _carry_out(settings, folders[0], folders[1], quiet=as_json)
    for run, folder in zip(outcome.runs, folders, strict=True):
        ledger.write(run, folder)
    table, met = verdict(settings, outcome)
    page, *_ = write_report(out / "report.html", "rlkit demo", outcome.runs, table)
    seconds = time.perf_counter() - began
    if as_json:
        results = {run.kind: run.results for run in outcome.runs}
        print(ledger.to_json({"met": met, "report": page, "seconds": seconds, **results}), end="")
    else:
        terminal.show_table(table)
        terminal.say(f"{seconds / 60:.1f} minutes. Report: {page}")
    return met


def _carry_out(settings: Demo, grid_folder: Path, cartpole_folder: Path, quiet: bool) -> Outcome:
    """Train everything, stable-baselines3 beside us, then judge."""
    grid_agent, cartpole_agent = settings.grid.make_agent(), settings.cartpole.make_agent()
    assert isinstance(grid_agent, DQN)
    assert isinstance(cartpole_agent, DQN)
    order = sb3_job_for(settings.cartpole, cartpole_agent.config, settings.sb3_seeds)
    gamma = grid_agent.config.gamma
    assert isinstance(gamma, float)
    exact = solved_grid(settings.grid, gamma)
    if not quiet:
        _introduce(settings, exact, hyperparameter_table(cartpole_agent.config, order))
    with SB3Process(order, cartpole_folder) as peer, Bars(quiet) as bars:
        bars.follow(f"stable-baselines3 DQN, {order.env}", lambda: peer.timesteps, order.steps * len(order.seeds))
        recorded = ExactCurve(exact.exact, bars.watching(f"rlkit DQN, {exact.grid.name}"))
        grid_trained = train(settings.grid, grid_agent, recorded)
        grid_trained = grid_trained._replace(cpu_seconds=grid_trained.cpu_seconds - recorded.cpu_seconds)
        _keep(grid_trained, grid_folder)
        cartpole_trained = train(settings.cartpole, cartpole_agent, bars.watching(f"rlkit DQN, {order.env}"))
        _keep(cartpole_trained, cartpole_folder)
        ours = of_agent(cartpole_agent, settings.cartpole.env, settings.cartpole.env_kwargs)
        threatened = threat(ours, settings.attacks, settings.epsilons)
        our_curve = curve(ours, threatened, settings.episodes)
        while not peer.wait(0.5):
            bars.refresh()
        bars.refresh()
        peers = peer.results()
    comparison = evaluated(settings.cartpole, order, cartpole_trained, peers, settings.episodes)
    their_curve = curve(comparison.sb3, threatened, settings.episodes)
    return Outcome(
        grid_result(settings.grid, grid_trained, exact, recorded.curve),
        comparison,
        comparison_run(comparison),
        attack_run([comparison.rlkit, comparison.sb3], [our_curve, their_curve], threatened),
    )


def _introduce(settings: Demo, exact: GridExact, hyperparameters: ReportTable) -> None:
    """What is going to happen, before it takes minutes."""
    grid, cartpole = settings.grid, settings.cartpole
    terminal.say(
        f"1  {exact.grid.name}, slip {exact.grid.rules.slip:.2f}: {len(grid.seeds)} seeds, {grid.steps:,} steps each. "
        f"Exact optimum in {exact.horizon} steps: {exact.exact.optimum:.4f}"
    )
    terminal.say(
        f"2  {cartpole.env}: {len(cartpole.seeds)} seeds, {cartpole.steps:,} steps each, beside "
        f"{len(settings.sb3_seeds)} of stable-baselines3 in a process of their own"
    )
    terminal.say(f"3  both under attack: {', '.join(settings.attacks)} at {', '.join(map(str, settings.epsilons))}\n")
    terminal.show_table(hyperparameters)


def _keep(trained: TrainingResult, folder: Path) -> None:
    """Policy and log, as soon as there are any."""
    trained.agent.save(folder / "agent.safetensors")
    write_log(folder / "training.csv", trained.agent.seeds, trained.agent.history)


def verdict(settings: Demo, outcome: Outcome) -> tuple[ReportTable, bool]:
    """The one table at the end, and whether every target in it is met."""
    grid, comparison, numbers = outcome.grid, outcome.comparison, outcome.compare.results
    solved = int((comparison.rlkit_played.seed_means >= settings.cartpole_return).sum(axis=0))
    num_seeds = len(comparison.rlkit.seeds)
    ours, theirs = comparison.rlkit.name, comparison.sb3.name
    cartpole = settings.cartpole.env
    wanted_return = None if settings.grid_regret is None else (1.0 - settings.grid_regret) * grid.optimum
    wanted_solved = settings.cartpole_solved
    targets = [
        wanted_return is None or grid.median.value >= wanted_return,
        wanted_solved is None or solved >= wanted_solved,
    ]
    rows: list[tuple[Cell, ...]] = [
        ("grid: exact optimum under the step limit", grid.optimum, None, None),
        (
            f"grid: exact return, median of {len(settings.grid.seeds)} seeds",
            grid.median,
            _at_least(wanted_return),
            _met(wanted_return, targets[0]),
        ),
        (f"{cartpole}: return, {ours}, {num_seeds} seeds", numbers["return"], None, None),
        (
            f"{cartpole}: seeds with {settings.cartpole_return:g} or more, of {num_seeds}",
            solved,
            _at_least(wanted_solved),
            _met(wanted_solved, targets[1]),
        ),
        (f"{cartpole}: return, {theirs}, {len(comparison.sb3.seeds)} seeds", numbers["sb3_return"], None, None),
        (f"{cartpole}: return of each of these seeds", _listed(numbers["sb3_seed_returns"]), None, None),
        (f"{cartpole}: difference of the mean returns", numbers["difference"], None, None),
        (f"CPU seconds per seed, {ours}", numbers["cpu_seconds_per_seed"], None, None),
        (f"CPU seconds per seed, {theirs}", numbers["sb3_cpu_seconds_per_seed"], None, None),
        *_attacked_rows(settings, outcome),
    ]
    return ReportTable("summary", "Summary", ("what", "value", "wanted", "met"), tuple(rows)), all(targets)


def _attacked_rows(settings: Demo, outcome: Outcome) -> list[tuple[Cell, ...]]:
    """Both policies at one epsilon."""
    rows: list[tuple[Cell, ...]] = []
    for row in outcome.attack.tables[0].rows:
        policy, attack_name, epsilon, earned = row[:4]
        if epsilon == settings.shown_epsilon:
            rows.append((f"return under {attack_name}, epsilon {epsilon:g} std, {policy}", earned, None, None))
    return rows


def _listed(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:.4g}" for number in numbers)


def _at_least(wanted: float | None) -> str | None:
    return None if wanted is None else f"at least {wanted:.4g}"


def _met(wanted: float | None, met: bool) -> bool | None:
    return None if wanted is None else met
