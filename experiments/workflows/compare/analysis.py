"""The comparison: returns on the same episodes, their difference, and the cost of a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import rlkit.sb3
from rlkit.agents import Agent
from rlkit.figure_style import svg
from rlkit.plotting import Curve, learning_curves
from rlkit.sb3 import SB3Policy
from rlkit.statistics import Estimate, mean_interval

from ...report.ledger import Cell, Picture, ReportTable, RunRecord
from ...report.text import cell_text
from ..evaluate import Played, played_by, return_difference
from ..policies import Subject, backend_of, of_agent, of_models
from ..train import KeptTraining, Training, TrainingResult, Watch, train_and_save
from .sb3_job import HYPERPARAMETER_MAPS, Config, SB3Job, sb3_job_for
from .sb3_process import SB3Process, SB3Result, training_curve


class Comparison(NamedTuple):
    """Policies of rlkit and stable-baselines3, trained alike and played on the same episodes."""

    training: Training
    job: SB3Job
    trained: TrainingResult
    results: tuple[SB3Result, ...]
    rlkit: Subject
    sb3: Subject
    rlkit_played: Played  # [S, E]
    sb3_played: Played  # [P, E], of P seeds


def compare(
    training: Training,
    sb3_seeds: tuple[int, ...],
    kept: KeptTraining,
    folder: Path,
    episodes: int = 100,
    watch: Watch | None = None,
    announce: Callable[[ReportTable], None] = lambda table: None,
) -> RunRecord:
    """Train both at the same time, each in one process on one thread, and evaluate both on the same episodes.

    Args:
        training: training of rlkit, with an algorithm that stable-baselines3 has too.
        sb3_seeds: of stable-baselines3; finished ones in the folder are not trained again if the run is continued.
        kept: the training of rlkit, begun or continued.
        folder: for the models and logs of both.
        episodes: evaluation episodes per seed.
        watch: shows the progress.
        announce: gets the hyper-parameters of both before training starts.

    Raises:
        ValueError: settings that stable-baselines3 does not have.
        ModuleNotFoundError: stable-baselines3 is not installed.
        SB3Failed: the process of stable-baselines3 failed.
        Stopped: a signal asked to stop; rlkit's training was saved.
    """
    agent = kept.agent
    training = replace(training, num_envs=agent.env.num_envs)
    job = sb3_job_for(training, agent.config, sb3_seeds)
    announce(settings_table(agent, job))
    with SB3Process(job, folder, kept.asked) as sb3:
        trained = train_and_save(training, kept, folder, watch, " of rlkit")
        results = sb3.results()
    return comparison_run(evaluated(training, job, trained, results, episodes))


def evaluated(
    training: Training, job: SB3Job, trained: TrainingResult, results: tuple[SB3Result, ...], episodes: int
) -> Comparison:
    """Play the same episodes with both."""
    subjects = of_agent(trained.agent, training.env, training.env_kwargs), sb3_subject(training, job.algorithm, results)
    played = (played_by(subject, episodes) for subject in subjects)
    return Comparison(training, job, trained, results, *subjects, *played)


def sb3_subject(training: Training, algorithm: str, results: Sequence[SB3Result]) -> Subject:
    """Load the models that a process of this program has just written, hence trusted, as one policy.

    Args:
        training: the training that both libraries did.
        algorithm: name of stable-baselines3's algorithm.
        results: results of its process, one per seed.
    """
    read = [rlkit.sb3.load(one.model, algorithm, trust=True, vec_normalize=one.normalization) for one in results]
    policy = SB3Policy([one.models[0] for one in read], [one.vec_normalize[0] for one in read])
    return of_models(policy, algorithm, training.env, training.env_kwargs, training.backend)


def comparison_run(comparison: Comparison) -> RunRecord:
    """The record of a comparison."""
    training, job, trained = comparison.training, comparison.job, comparison.trained
    agent, results = trained.agent, comparison.results
    rlkit_played, sb3_played = comparison.rlkit_played, comparison.sb3_played
    difference = return_difference(rlkit_played.seed_means, sb3_played.seed_means, rlkit_played.limits)
    rlkit_cpu = trained.cpu_seconds / agent.num_seeds
    sb3_cpu = mean_interval([result.cpu_seconds for result in results]).value
    numbers: dict[str, Any] = {
        "return": rlkit_played.mean_return,
        "sb3_return": sb3_played.mean_return,
        "difference": difference,
        "seeds": list(agent.seeds),
        "seed_returns": rlkit_played.seed_means,
        "sb3_seeds": [result.seed for result in results],
        "sb3_seed_returns": sb3_played.seed_means,
        "episodes": rlkit_played.returns.shape[1],
        "cpu_seconds_per_seed": rlkit_cpu,
        "sb3_cpu_seconds": [result.cpu_seconds for result in results],
        "sb3_cpu_seconds_per_seed": sb3_cpu,
        "cpu_ratio": sb3_cpu / rlkit_cpu,
    }
    return RunRecord(
        kind="compare",
        title=f"{comparison.rlkit.name} and {comparison.sb3.name} on {training.env}",
        settings={
            "environment": training.env,
            "env_kwargs": training.env_kwargs,
            "backend": backend_of(agent.env),
            "sb3_backend": "gymnasium",
            "algorithm": comparison.rlkit.name,
            "training_seeds": agent.seeds,
            "sb3_seeds": job.seeds,
            "copies_per_seed": training.num_envs,
            "steps_per_seed": training.steps,
            "preset": training.preset,
            "hyperparameters": asdict(agent.config),
            "engine": agent.engine.name,
            "sb3_hyperparameters": job.hyperparameters(),
            "sb3_normalization": job.normalization,
            "threads": "one per process",
        },
        results=numbers,
        tables=(
            _outcome_table(comparison, numbers),
            _seed_table(comparison),
            settings_table(agent, job),
        ),
        pictures=(_picture(comparison),),
        notes=(
            f"Both have equal hyper-parameters, step budgets and evaluation episodes ({numbers['episodes']} per seed, "
            "greedy policy at the end of training). CPU seconds are those of training. Each library has its own "
            "process with one thread, and both run at the same time.",
            *device_note(agent),
            difference_note(comparison, difference),
        ),
    )


def device_note(agent: Agent) -> tuple[str, ...]:
    """The sentence about the devices, where rlkit did not compute on the CPU."""
    if agent.device.type == "cpu":
        return ()
    return (f"rlkit computed on {agent.device} and stable-baselines3 on the CPU; CPU seconds omit the GPU's time.",)


def difference_note(comparison: Comparison, difference: Estimate[float]) -> str:
    """The difference of the mean returns; with one seed of a library there is no interval."""
    method = f" ({difference.method}, over training seeds)" if difference.n > 1 else ""
    names = f"{comparison.rlkit.maker} minus {comparison.sb3.maker}"
    return f"Difference in return, {names}: {cell_text(difference)}{method}."


def _outcome_table(comparison: Comparison, numbers: dict[str, Any]) -> ReportTable:
    """One line per library, natural return first."""
    steps = comparison.training.steps
    columns = ("agent", "seeds", "return", "CPU seconds per seed", "env steps per CPU second")
    sides = (
        (comparison.rlkit, numbers["return"], numbers["cpu_seconds_per_seed"]),
        (comparison.sb3, numbers["sb3_return"], numbers["sb3_cpu_seconds_per_seed"]),
    )
    rows = tuple(
        (subject.name, len(subject.seeds), earned, seconds, round(steps / seconds))
        for subject, earned, seconds in sides
    )
    return ReportTable("comparison", "Natural return and cost", columns, rows)


def _seed_table(comparison: Comparison) -> ReportTable:
    """Every seed of both."""
    trained = comparison.trained
    sides = (
        (
            comparison.rlkit,
            comparison.rlkit_played,
            [trained.cpu_seconds / trained.agent.num_seeds] * trained.agent.num_seeds,
        ),
        (comparison.sb3, comparison.sb3_played, [result.cpu_seconds for result in comparison.results]),
    )
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (subject.name, seed, float(mean), seconds)
        for subject, played, cpu in sides
        for seed, mean, seconds in zip(subject.seeds, played.seed_means, cpu, strict=True)
    )
    return ReportTable("seeds", "Mean return by training seed", ("agent", "seed", "mean return", "CPU seconds"), rows)


def settings_table(agent: Agent, job: SB3Job) -> ReportTable:
    """Return the engine, the device and the settings of both libraries; stable-baselines3 runs torch on the CPU."""
    assert isinstance(agent.config, Config)
    table = hyperparameter_table(agent.config, job)
    computing = (("engine", agent.engine.name, "torch"), ("device", str(agent.device), "cpu"))
    return table._replace(title="Engine, device and hyper-parameters of both", rows=(*computing, *table.rows))


def hyperparameter_table(config: Config, job: SB3Job) -> ReportTable:
    """The settings of both, line by line."""
    matching, sb3 = HYPERPARAMETER_MAPS[job.algorithm], job.hyperparameters()
    policy = sb3.pop("policy_kwargs")
    sb3 |= policy | {"activation": policy["activation_fn"]} | matching.fixed | matching.unmatched
    for name, schedule in matching.scheduled.items():
        sb3.setdefault(schedule, f"in {name}" if name in job.linear else "constant")
    sb3 |= {name: job.normalization.get(sb3_name, False) for name, sb3_name in matching.normalization.items()}
    rows = tuple((name, _word(value), _word(sb3[name])) for name, value in asdict(config).items())
    return ReportTable("hyperparameters", "Hyper-parameters of both", ("name", "rlkit", "stable-baselines3"), rows)


def _word(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _picture(comparison: Comparison) -> Picture:
    """Training returns of both."""
    history = comparison.trained.agent.history
    timesteps = np.asarray(history["timesteps"][:, 0])
    curves = {
        comparison.rlkit.name: Curve(timesteps, history["episode_return"]),
        comparison.sb3.name: training_curve(comparison.results, timesteps),
    }
    figure = learning_curves(curves, ylabel="return of training episodes")
    caption = "Returns during training, with exploration."
    return Picture("training", caption, svg(figure))
