"""Greedy evaluations of every seed, and of their ensemble, during training."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rlkit.agents import Agent

from ...workflows.evaluate import play
from ...workflows.sweep.experiment import Batch
from ...workflows.train import Training, train
from ..common.outcomes import Outcome, outcomes
from ..common.sweeps import RunRow

EPISODES = 20  # of an evaluation
SKIPPED = 2  # one of so many rows of the training log has an evaluation


@dataclass(frozen=True)
class Evaluation(RunRow):
    """The greedy policy of one seed during training."""

    timesteps: int
    greedy: float  # mean return of EPISODES episodes


@dataclass(frozen=True)
class EnsembleEvaluation(RunRow):
    """The ensemble of the seeds of a batch during training; ``seed`` is the first of them."""

    timesteps: int
    members: float  # mean greedy return of the members, of EPISODES episodes
    ensemble: float  # greedy return of the ensemble in the same episodes


class Evaluated:
    """A ``Watch`` that evaluates every seed of a batch, and their ensemble."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.evaluations: list[Evaluation] = []
        self.ensembles: list[EnsembleEvaluation] = []
        self.cpu_seconds = 0.0  # of evaluations

    def __call__(self, agent: Agent, steps: Iterator[int], total: int) -> Iterator[int]:
        """Pass steps through, and evaluate at one of ``SKIPPED`` of them."""
        for number, done in enumerate(steps):
            if number % SKIPPED == SKIPPED - 1:
                self.evaluate(agent, done)
            yield done

    def evaluate(self, agent: Agent, done: int) -> None:
        """Add the evaluations after ``done`` environment steps."""
        began = time.process_time()
        means = play(agent, agent.evaluation_env(EPISODES)).seed_means
        self.evaluations += [
            Evaluation(run.cell, run.seed, done, round(float(mean), 2))
            for run, mean in zip(self.batch, means, strict=True)
        ]
        together = agent.ensemble()
        mean = float(play(together, together.evaluation_env(EPISODES)).seed_means[0])
        first = self.batch[0]
        members = round(float(means.mean(axis=0)), 2)
        self.ensembles.append(EnsembleEvaluation(first.cell, first.seed, done, members, round(mean, 2)))
        self.cpu_seconds += time.process_time() - began


def train_and_evaluate(batch: Batch, training: Training) -> tuple[list[Outcome], Evaluated]:
    """Train runs as one computation with evaluations, whose time is no part of the training's."""
    watch = Evaluated(batch)
    result = train(training, training.make_agent(), watch)
    return outcomes(batch, training, result.agent, result.cpu_seconds - watch.cpu_seconds), watch


def first_at(evaluations: Sequence[Evaluation], level: float) -> int | None:
    """Return the step of a seed's first evaluation of at least ``level``; None if there is none."""
    return next((each.timesteps for each in evaluations if each.greedy >= level), None)


def share_lost(evaluations: Sequence[Evaluation], level: float) -> float | None:
    """Return the share of a seed's evaluations below ``level`` among those after its first that is not.

    None if it never reaches the level, or only in its last evaluation.
    """
    first = first_at(evaluations, level)
    later = [each.greedy < level for each in evaluations if first is not None and each.timesteps > first]
    return sum(later) / len(later) if later else None
