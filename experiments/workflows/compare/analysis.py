"""What the comparison says: returns on the same episodes, their difference, and what a seed costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import rlkit.sb3
from rlkit.evaluation import EVALUATION_SEED
from rlkit.plotting import Curve, learning_curves, png
from rlkit.sb3 import SB3Policy
from rlkit.statistics import difference_interval, mean_interval

from ...report.ledger import Cell, Picture, ReportTable, RunRecord
from ..evaluate import Played, play
from ..policies import Subject, backend_of, of_agent, of_models
from ..train import Training, TrainingResult, Watch, train, write_log
from .sb3_job import HYPERPARAMETER_MAPS, Config, SB3Job, order_for
from .sb3_process import Peer, PeerResult, training_curve


class Comparison(NamedTuple):
    """Both sides, trained and played on the same episodes."""

    training: Training
    job: SB3Job
    trained: TrainingResult
    peers: tuple[PeerResult, ...]
    ours: Subject
    theirs: Subject
    our_play: Played  # [S, E]
    their_play: Played  # [P, E]


def compare(
    training: Training,
    peer_seeds: tuple[int, ...],
    folder: Path,
    episodes: int = 100,
    watch: Watch | None = None,
    announce: Callable[[ReportTable], None] = lambda table: None,
) -> RunRecord:
    """Train both sides at the same time, each in one process on one thread, and judge them on the same episodes.

    Args:
        training: ours; an algorithm that stable-baselines3 has too.
        peer_seeds: of stable-baselines3.
        folder: for the models and logs of both.
        episodes: evaluation episodes per seed.
        watch: draws a progress bar.
        announce: shown the hyper-parameters of both sides before anything is trained.

    Raises:
        ValueError: settings that the two cannot share.
        ModuleNotFoundError: stable-baselines3 is not installed.
        PeerFailed: stable-baselines3's process failed.
    """
    agent = training.make_agent()
    training = replace(training, num_envs=agent.env.num_envs)
    job = order_for(training, agent.config, peer_seeds)
    announce(hyperparameter_table(agent.config, job))
    with Peer(job, folder) as peer:
        trained = train(training, agent, watch)
        agent.save(folder / "agent.safetensors")
        write_log(folder / "training.csv", agent.seeds, agent.history)
        peers = peer.results()
    return comparison_run(judged(training, job, trained, peers, episodes))


def judged(
    training: Training, job: SB3Job, trained: TrainingResult, peers: tuple[PeerResult, ...], episodes: int
) -> Comparison:
    """Play the same episodes with both."""
    ours = of_agent(trained.agent, training.env, training.env_kwargs)
    theirs = peer_subject(training, job.algorithm, peers)
    our_play, their_play = (_play(subject, episodes) for subject in (ours, theirs))
    return Comparison(training, job, trained, peers, ours, theirs, our_play, their_play)


def peer_subject(training: Training, algorithm: str, peers: Sequence[PeerResult]) -> Subject:
    """The models that our own child process has just written, hence trusted, as one policy."""
    read = [rlkit.sb3.load(peer.model, algorithm, trust=True, vec_normalize=peer.normalization) for peer in peers]
    policy = SB3Policy([one.models[0] for one in read], [one.vec_normalize[0] for one in read])
    return of_models(policy, algorithm, training.env, training.env_kwargs, training.backend)


def _play(subject: Subject, episodes: int) -> Played:
    return play(subject.policy, subject.make_env(episodes, EVALUATION_SEED))


def comparison_run(comparison: Comparison) -> RunRecord:
    """The record of a comparison."""
    training, job, trained = comparison.training, comparison.job, comparison.trained
    agent = trained.agent
    ours, theirs = comparison.our_play.mean_return, comparison.their_play.mean_return
    difference = difference_interval(comparison.our_play.seed_means, comparison.their_play.seed_means)
    our_cpu = trained.cpu_seconds / agent.num_seeds
    their_cpu = mean_interval([peer.cpu_seconds for peer in comparison.peers])
    numbers: dict[str, Any] = {
        "return": ours,
        "peer_return": theirs,
        "difference": difference,
        "seeds": list(agent.seeds),
        "seed_returns": comparison.our_play.seed_means,
        "peer_seeds": [peer.seed for peer in comparison.peers],
        "peer_seed_returns": comparison.their_play.seed_means,
        "episodes": comparison.our_play.returns.shape[1],
        "cpu_seconds_per_seed": our_cpu,
        "peer_cpu_seconds": [peer.cpu_seconds for peer in comparison.peers],
        "peer_cpu_seconds_per_seed": their_cpu.value,
        "cpu_ratio": their_cpu.value / our_cpu,
    }
    return RunRecord(
        kind="compare",
        title=f"{comparison.ours.name} beside {comparison.theirs.name} on {training.env}",
        settings={
            "environment": training.env,
            "env_kwargs": training.env_kwargs,
            "backend": backend_of(agent.env),
            "peer_backend": "gymnasium",
            "algorithm": comparison.ours.name,
            "training_seeds": agent.seeds,
            "peer_seeds": job.seeds,
            "copies_per_seed": training.num_envs,
            "steps_per_seed": training.steps,
            "preset": training.preset,
            "hyperparameters": asdict(agent.config),
            "peer_hyperparameters": job.hyperparameters(),
            "peer_normalisation": job.around,
            "threads": "one per process",
        },
        results=numbers,
        tables=(
            _outcome_table(comparison, numbers),
            _seed_table(comparison),
            hyperparameter_table(agent.config, job),
        ),
        pictures=(_picture(comparison),),
        notes=(
            f"Equal hyper-parameters, step budgets and evaluation episodes ({numbers['episodes']} per seed, greedy, "
            "the policy at the end of training). CPU seconds are of training alone, each side in its own process on "
            "one thread, both at the same time.",
            f"Difference in return, {comparison.ours.maker} minus {comparison.theirs.maker}: {difference} "
            f"({difference.method}, over training seeds).",
        ),
    )


def _outcome_table(comparison: Comparison, numbers: dict[str, Any]) -> ReportTable:
    """One line per side, natural return first."""
    steps = comparison.training.steps
    columns = ("agent", "seeds", "return", "CPU seconds per seed", "env steps per CPU second")
    sides = (
        (comparison.ours, numbers["return"], numbers["cpu_seconds_per_seed"]),
        (comparison.theirs, numbers["peer_return"], numbers["peer_cpu_seconds_per_seed"]),
    )
    rows = tuple(
        (subject.name, len(subject.seeds), earned, seconds, round(steps / seconds))
        for subject, earned, seconds in sides
    )
    return ReportTable("comparison", "Natural return and cost", columns, rows)


def _seed_table(comparison: Comparison) -> ReportTable:
    """Every seed of both sides."""
    trained = comparison.trained
    ours = [trained.cpu_seconds / trained.agent.num_seeds] * trained.agent.num_seeds
    theirs = [peer.cpu_seconds for peer in comparison.peers]
    sides = (
        (comparison.ours, comparison.our_play, ours),
        (comparison.theirs, comparison.their_play, theirs),
    )
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (subject.name, seed, float(mean), seconds)
        for subject, played, cpu in sides
        for seed, mean, seconds in zip(subject.seeds, played.seed_means, cpu, strict=True)
    )
    return ReportTable("seeds", "Mean return by training seed", ("agent", "seed", "mean return", "CPU seconds"), rows)


def hyperparameter_table(config: Config, job: SB3Job) -> ReportTable:
    """Both sides' settings under their own names, line by line."""
    matching, theirs = HYPERPARAMETER_MAPS[job.algorithm], job.hyperparameters()
    policy = theirs.pop("policy_kwargs")
    theirs |= policy | {"activation": policy["activation_fn"]} | matching.fixed | matching.unmatched
    for name, schedule in matching.scheduled.items():
        theirs.setdefault(schedule, f"in {name}" if name in job.linear else "constant")
    theirs |= {ours: job.around.get(name, False) for ours, name in matching.around.items()}
    rows = tuple((name, _word(value), _word(theirs[name])) for name, value in asdict(config).items())
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
        comparison.ours.name: Curve(timesteps, history["episode_return"]),
        comparison.theirs.name: training_curve(comparison.peers, timesteps),
    }
    figure = learning_curves(curves, ylabel="return of training episodes")
    caption = "Returns while training, exploration included; thin lines are single seeds."
    return Picture("training", caption, png(figure))
