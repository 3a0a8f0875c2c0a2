"""Returns of final policies and learning curves by seed, as rows of studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.adversarial import Victim
from rlkit.evaluation import EVALUATION_SEED
from rlkit.exploration import categorical
from rlkit.plotting import Curve
from rlkit.streams import Stream

from ...report import terminal
from ...workflows.evaluate import play
from ...workflows.policies import RLKIT, Subject, of_agent
from ...workflows.train import Training, TrainingResult
from . import rows
from .unfinished import trained, unfinished

EPISODES = 100  # of the final policy, the same for every training seed and both libraries


@dataclass(frozen=True)
class Score:
    """The return of one seed's policy at the end of training."""

    case: str
    maker: str  # "rlkit" or "stable-baselines3"
    seed: int
    steps: int  # environment steps of training
    greedy: float  # mean return of EPISODES episodes with greedy actions
    sampled: float | None  # the same episodes with sampled actions; None for a policy of action values
    cpu_seconds: float  # of training; seeds trained as one computation share it equally


@dataclass(frozen=True)
class Point:
    """A quantity of one seed during training, such as the mean return of the episodes since the point before."""

    seed: int
    timesteps: int
    value: float | None  # None before the first episode has ended


class Sampled:
    """A victim that draws its actions from softmax(scores), S training seeds x ``copies`` episodes."""

    def __init__(self, policy: Victim, seeds: Sequence[int], copies: int) -> None:
        self._policy, self._stream = policy, Stream(seeds, "eval", width=1, copies=copies)

    def scores(self, obs: Tensor) -> Tensor:
        """Scores of the policy."""
        return self._policy.scores(obs)

    def act(self, obs: Tensor, deterministic: bool = False) -> Tensor:
        """Sample an action for every observation, ``[S, B, *observation] -> [S, B]``; ``deterministic`` is ignored."""
        with torch.no_grad():
            return categorical(self.scores(obs), self._stream.next()[..., 0])


def missing(seeds: Sequence[int], known: Sequence[Score], case: str, maker: str) -> tuple[int, ...]:
    """The seeds of a case that have no row yet."""
    done = {row.seed for row in known if (row.case, row.maker) == (case, maker)}
    return tuple(seed for seed in seeds if seed not in done)


def of_case(known: Sequence[Score], case: str, maker: str = RLKIT) -> list[Score]:
    """The rows of one library in a case, sorted by seed."""
    return sorted((row for row in known if (row.case, row.maker) == (case, maker)), key=lambda row: row.seed)


def train_missing(case: str, training: Training, file: Path, curve_file: Path | None = None) -> None:
    """Train the seeds of a case that have no row in ``file`` as one computation, and add their rows.

    A training that was interrupted continues from its checkpoint.

    Args:
        case: its name in the rows.
        training: all its seeds.
        file: rows of ``Score``.
        curve_file: where the training returns of these seeds are added, as rows of ``Point``; None for nowhere.
    """
    seeds = missing(training.seeds, rows.read(file, Score), case, RLKIT)
    if not seeds:
        return
    training = replace(training, seeds=seeds)
    with unfinished(file.parent, case, training) as folder:
        result = trained(training, folder, case)
        if curve_file is not None:
            known = {point.seed for point in rows.read(curve_file, Point)}  # of a process that was killed here
            rows.append(curve_file, [point for point in points(result) if point.seed not in known])
        rows.append(file, rlkit_scores(case, training, result))
    terminal.say(f"{case}: {len(seeds)} seeds of {RLKIT}, {result.cpu_seconds / len(seeds):.1f} CPU seconds each")


def rlkit_scores(case: str, training: Training, result: TrainingResult) -> list[Score]:
    """Evaluate a trained agent: one row per seed."""
    agent = result.agent
    subject = of_agent(agent, training.env, training.env_kwargs)
    cpu_seconds = [result.cpu_seconds / agent.num_seeds] * agent.num_seeds
    return scores(case, subject, agent.num_timesteps, cpu_seconds, stochastic=not agent.scores_are_values)


def scores(
    case: str, subject: Subject, steps: int, cpu_seconds: Sequence[float], stochastic: bool, episodes: int = EPISODES
) -> list[Score]:
    """Play the final policies of a subject: one row per seed."""
    greedy = play(subject.policy, subject.make_env(episodes, EVALUATION_SEED)).seed_means
    sampled: Sequence[float | None] = [None] * len(subject.seeds)
    if stochastic:
        policy = Sampled(subject.policy, subject.seeds, episodes)
        sampled = play(policy, subject.make_env(episodes, EVALUATION_SEED)).seed_means.tolist()
    return [
        Score(case, subject.maker, seed, steps, float(mean), drawn, round(cost, 2))
        for seed, mean, drawn, cost in zip(subject.seeds, greedy, sampled, cpu_seconds, strict=True)
    ]


def points(result: TrainingResult) -> list[Point]:
    """The returns of training episodes, seed by seed."""
    history = result.agent.history
    return [
        Point(seed, int(history["timesteps"][t, s]), None if np.isnan(earned) else round(float(earned), 2))
        for s, seed in enumerate(result.agent.seeds)
        for t, earned in enumerate(history["episode_return"][:, s])
    ]


def curve(points: Sequence[Point]) -> Curve:
    """Points of seeds that were recorded at the same steps, as ``[T, S]``."""
    timesteps, seeds = sorted({point.timesteps for point in points}), sorted({point.seed for point in points})
    y: NDArray[np.float64] = np.full((len(timesteps), len(seeds)), np.nan)
    for point in points:
        if point.value is not None:
            y[timesteps.index(point.timesteps), seeds.index(point.seed)] = point.value
    return Curve(timesteps, y)
