"""The demo's course: two tasks, three agents each, one report, one table, and an exit that says whether the targets
are met."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch

from rlkit.agents import Agent
from rlkit.agents.configs import A2CConfig, DQNConfig, PPOConfig
from rlkit.devices import usable_device
from rlkit.plotting import Curve
from rlkit.statistics import Estimate

from ..report import ledger, terminal
from ..report.continued import continued_folder
from ..report.html import write_report
from ..report.ledger import Cell, RunRecord
from ..report.terminal import Bars
from ..stopping import Stopped
from ..workflows.attack import attack_plan, attack_run, curve
from ..workflows.compare import SB3Job, SB3Result, comparison_run, require_sb3, sb3_job_for
from ..workflows.compare.analysis import evaluated
from ..workflows.compare.sb3_job import HYPERPARAMETER_MAPS
from ..workflows.evaluate import played_by
from ..workflows.policies import SB3, Subject, of_agent
from ..workflows.threat import threat_of
from ..workflows.train import ExactCurve, KeptTraining, Training, TrainingResult, train_and_save, training_run
from .grid import GridExact, grid_result, solved_grid
from .sandwich import cartpole_row, grid_rows, sandwich_run
from .sb3_queue import SB3Queue
from .settings import CARTPOLE, FULL, GRID, QUICK, Attacks, Demo
from .table import Line, summary, with_cartpole_target, with_grid_target


class Trained(NamedTuple):
    """One agent of one task, trained."""

    training: Training
    result: TrainingResult
    exact: GridExact | None = None  # on the grid
    curve: Curve | None = None  # on the grid: the exact return during training
    sb3: tuple[SB3Result, ...] = ()  # stable-baselines3's seeds, on the cart-pole

    @property
    def subject(self) -> Subject:
        """The agent in its environment."""
        return of_agent(self.result.agent, self.training.env, self.training.env_kwargs)


class Evaluated(NamedTuple):
    """One agent of one task, evaluated."""

    name: str  # of the run's folder
    run: RunRecord
    subjects: tuple[Subject, ...]  # rlkit's, then stable-baselines3's where it has the algorithm
    line: Line


class Findings(NamedTuple):
    """What the demo found: runs by the name of their folder, and the lines of the two tables."""

    runs: dict[str, RunRecord]
    lines: tuple[Line, ...]
    sandwich: tuple[tuple[Cell, ...], ...] = ()


def run_demo(out: Path, quick: bool = False, resume: bool = False, as_json: bool = False, device: str = "cpu") -> bool:
    """Run the demo, write it to ``out`` and return whether every target was met.

    Args:
        out: folder of the runs and of the report.
        quick: whether to run tiny sizes.
        resume: whether to continue the trainings in ``out``; otherwise they are replaced.
        as_json: whether to print JSON instead of tables.
        device: where the agents of rlkit compute: a torch device, or "auto".

    Raises:
        ModuleNotFoundError: stable-baselines3 is not installed.
        ValueError: with ``resume``, a training in ``out`` was started with other settings; another process writes
            there; or a device that this machine does not have.
        Stopped: a SIGINT or SIGTERM asked to stop; what is trained is kept.
    """
    require_sb3()
    usable_device(device)
    torch.set_num_threads(1)
    began = time.perf_counter()
    settings = (QUICK if quick else FULL).on(device)
    _introduce(settings, quiet=as_json)
    try:
        outcome = _found(settings, out, quiet=as_json, resume=resume)
    except Stopped as stopped:
        stopped.kept = True
        raise
    for name, run in outcome.runs.items():
        ledger.write(run, ledger.new_folder(out / name, overwrite=True))
    table, met = summary(outcome.lines, settings), all(line.met is not False for line in outcome.lines)
    page, *_ = write_report(out / "report.html", "rlkit demo", list(outcome.runs.values()), table)
    seconds = time.perf_counter() - began
    if as_json:
        results = {name: run.results for name, run in outcome.runs.items()}
        lines = [line._asdict() for line in outcome.lines]
        print(ledger.to_json({"met": met, "report": page, "seconds": seconds, "summary": lines, **results}), end="")
    else:
        terminal.show_table(table)
        terminal.show_table(outcome.runs["sandwich"].tables[0])
        terminal.say(f"{seconds / 60:.1f} minutes. Report: {page}")
    return met


def _introduce(settings: Demo, quiet: bool) -> None:
    """Say what is going to happen, before it takes minutes."""
    if quiet:
        return
    for name, trainings in (("slippery grid", settings.grid), ("cart-pole", settings.cartpole)):
        agents = ", ".join(f"{each.algo.upper()} {each.steps:,} steps" for each in trainings)
        terminal.say(f"{name}: {agents}; {len(trainings[0].seeds)} seeds of each")
    terminal.say(f"stable-baselines3 trains {len(settings.sb3_seeds)} seeds of each agent that it has, beside rlkit\n")


def _found(settings: Demo, out: Path, quiet: bool, resume: bool) -> Findings:
    """Train, evaluate and attack the agents of both tasks.

    Stable-baselines3 trains beside rlkit, and goes on while rlkit measures what needs none of its models.
    """
    with Bars(quiet) as bars, SB3Queue(bars, resume) as sb3:
        trained = _train_all(settings, out, bars, sb3, resume)
        grid = _of_grid(settings, trained, sb3)
        rows = grid.sandwich + _cartpole_sandwich(settings, trained, sb3)
        models = sb3.results()
    cartpole = _of_cartpole(settings, {name: one._replace(sb3=models.get(name, ())) for name, one in trained.items()})
    runs = grid.runs | cartpole.runs | {"sandwich": sandwich_run(rows, settings.sandwiches)}
    return Findings(runs, grid.lines + cartpole.lines, rows)


def _train_all(settings: Demo, out: Path, bars: Bars, sb3: SB3Queue, resume: bool) -> dict[str, Trained]:
    """Train every agent, and hand stable-baselines3 the cart-pole's that it has.

    With ``resume`` rlkit continues from checkpoints and stable-baselines3 keeps finished seeds.
    """
    trained: dict[str, Trained] = {}
    with ExitStack() as locks:
        for training in (*settings.cartpole, *settings.grid):
            name, agent = run_name(training), training.make_agent()
            asked = {"command": "demo", **asdict(training), "sb3_seeds": settings.sb3_seeds}
            ledger.new_folder(out / name, overwrite=True)  # the record is written again at the end
            folder = locks.enter_context(continued_folder(out / name, asked, overwrite=not resume, resume=resume))
            kept = KeptTraining(agent, folder, resume=resume)
            if training.env == CARTPOLE and type(agent).__name__ in HYPERPARAMETER_MAPS:
                sb3.add(name, _sb3_job(training, agent, settings.sb3_seeds), folder)
            trained[name] = _train_one(training, kept, folder, bars)
            sb3.advance()
    return trained


def run_name(training: Training) -> str:
    """The folder of an agent's run, for example ``grid-dqn``."""
    return f"{'grid' if training.env == GRID else 'cartpole'}-{training.algo}"


def _train_one(training: Training, kept: KeptTraining, folder: Path, bars: Bars) -> Trained:
    """Train one agent and save it; on the grid its exact return is recorded during training."""
    agent, of = kept.agent, f" of {folder.name}"
    bar = bars.watching(f"rlkit {type(agent).__name__}, {training.env_kwargs.get('map', training.env)}")
    if training.env != GRID:
        return Trained(training, train_and_save(training, kept, folder, bar, of))
    exact = solved_grid(training, agent)
    recorded = kept.with_curve(ExactCurve(exact.exact, bar))
    result = train_and_save(training, kept, folder, recorded, of)
    result = result._replace(cpu_seconds=result.cpu_seconds - recorded.cpu_seconds)
    return Trained(training, result, exact, recorded.curve)


def _sb3_job(training: Training, agent: Agent, seeds: tuple[int, ...]) -> SB3Job:
    """The same settings for stable-baselines3."""
    assert isinstance(agent.config, DQNConfig | A2CConfig | PPOConfig)
    return sb3_job_for(training, agent.config, seeds)


def _of_grid(settings: Demo, trained: Mapping[str, Trained], sb3: SB3Queue) -> Findings:
    """Evaluate the grid's agents, attack them and bracket their worst case."""
    agents = [_evaluate_grid(trained[run_name(training)], settings) for training in settings.grid]
    sb3.advance()
    outcome = _attacked("grid-attack", agents, settings.grid_attacks, settings)
    rows: list[tuple[Cell, ...]] = []
    for one in agents:
        sb3.advance()
        rows += grid_rows(one.subjects[0], settings.sandwiches)
    return outcome._replace(sandwich=tuple(rows))


def _cartpole_sandwich(settings: Demo, trained: Mapping[str, Trained], sb3: SB3Queue) -> tuple[tuple[Cell, ...], ...]:
    """Attack the cart-pole's agents of rlkit as strongly as the demo can."""
    rows: list[tuple[Cell, ...]] = []
    for training in settings.cartpole:
        sb3.advance()
        subject = trained[run_name(training)].subject
        rows.append(cartpole_row(subject, settings.sandwiches, done=lambda _: sb3.advance()))
    return tuple(rows)


def _of_cartpole(settings: Demo, trained: Mapping[str, Trained]) -> Findings:
    """Evaluate the cart-pole's agents of both libraries, and attack them."""
    agents = [_evaluate_cartpole(trained[run_name(training)], settings) for training in settings.cartpole]
    return _attacked("cartpole-attack", agents, settings.cartpole_attacks, settings)


def _attacked(name: str, agents: Sequence[Evaluated], attacks: Attacks, settings: Demo) -> Findings:
    """What was found of one task, with the attacks of its agents as a run of that name."""
    attacked = _attack(agents, attacks, settings.episodes)
    lines = [one.line._replace(attacked=_shown(attacked, one.subjects[0], attacks)) for one in agents]
    return Findings({one.name: one.run for one in agents} | {name: attacked}, tuple(lines))


def _evaluate_grid(trained: Trained, settings: Demo) -> Evaluated:
    """Evaluate every seed's greedy policy exactly."""
    assert trained.exact is not None
    assert trained.curve is not None
    found = grid_result(trained.training, trained.result, trained.exact, trained.curve)
    subject = trained.subject
    line = Line(
        task=f"{trained.exact.grid.name}, exact",
        agent=subject.algorithm,
        returns=found.returns,
        estimate=found.median,
        beside="optimum",
        reference=found.optimum,
    )
    return Evaluated(run_name(trained.training), found.run, (subject,), with_grid_target(line, settings))


def _evaluate_cartpole(trained: Trained, settings: Demo) -> Evaluated:
    """Play the evaluation episodes, with stable-baselines3's models too where it has the algorithm."""
    training, result, subject = trained.training, trained.result, trained.subject
    subjects: tuple[Subject, ...] = (subject,)
    if not trained.sb3:
        played = played_by(subject, settings.episodes)
        line = Line(training.env, subject.algorithm, played.seed_means, played.mean_return)
        run = training_run(training, result, played)
    else:
        job = _sb3_job(training, result.agent, settings.sb3_seeds)
        both = evaluated(training, job, result, trained.sb3, settings.episodes)
        own, other = both.rlkit_played, both.sb3_played
        line = Line(training.env, subject.algorithm, own.seed_means, own.mean_return, SB3, other.mean_return)
        run, subjects = comparison_run(both), (both.rlkit, both.sb3)
    return Evaluated(run_name(training), run, subjects, with_cartpole_target(line, settings))


def _attack(agents: Sequence[Evaluated], attacks: Attacks, episodes: int) -> RunRecord:
    """Attack all policies of one task with the same threat."""
    subjects = [subject for one in agents for subject in one.subjects]
    plan = attack_plan(subjects[0], attacks.names, threat_of(subjects[0], unit=attacks.unit, epsilons=attacks.epsilons))
    curves = [curve(subject, plan, episodes, plan.threat.first_seed) for subject in subjects]
    return attack_run(subjects, curves, plan)


def _shown(attacked: RunRecord, subject: Subject, attacks: Attacks) -> tuple[Estimate[float], ...]:
    """A policy's return under each attack, at the epsilon of the final table."""
    points = attacked.results["curves"][subject.name]
    return tuple(point["mean_return"] for point in points if point["epsilon"] == attacks.shown)
