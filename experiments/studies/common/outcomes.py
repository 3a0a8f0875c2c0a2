"""The outcome of a run: the return of its final policy, and how fast its training returns rose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlkit.agents import Agent
from rlkit.planning import backward_induction, start_value

from ...workflows.evaluate import play
from ...workflows.exact import Finite, exact_returns, finite_problem
from ...workflows.sweep.experiment import Batch, PlannedRun, batch_training
from ...workflows.train import Training
from .devices import trained_at_once
from .scores import EPISODES
from .sweeps import RunRow


@dataclass(frozen=True)
class OutcomeRow(RunRow):
    """The final policy of one run and the speed of its training."""

    steps: int  # environment steps of training
    greedy: float  # return with greedy actions: exact in a finite problem, else the mean of EPISODES episodes
    sampled: float | None  # the same episodes with sampled actions; None for action values, and in finite problems
    steps_to_400: int | None  # until the mean return of the training episodes of a log row is at least 400
    steps_to_475: int | None
    diverged: int  # 1 if something was not finite and the run was frozen
    cpu_seconds: float  # of training; runs trained as one computation share it equally


def train_and_score(batch: Batch, training: Training) -> list[OutcomeRow]:
    """Train runs as one computation, and return the outcome of each."""
    result = trained_at_once(training)
    return outcomes(batch, training, result.agent, result.cpu_seconds)


def outcomes(batch: Batch, training: Training, agent: Agent, cpu_seconds: float) -> list[OutcomeRow]:
    """Return the outcome of every run of a trained batch."""
    greedy = final_returns(agent, training)
    sampled: Sequence[float | None] = [None] * agent.num_seeds
    if not agent.scores_are_values and finite_of(training) is None:
        env = agent.evaluation_env(EPISODES)
        sampled = [round(float(mean), 4) for mean in play(agent, env, deterministic=False).seed_means]
    fast, solved = (steps_to(agent.history, level) for level in (400.0, 475.0))
    diverged = {one.seed for one in agent.divergences}
    cost = round(cpu_seconds / agent.num_seeds, 3)
    return [
        OutcomeRow(
            run.cell,
            run.seed,
            agent.num_timesteps,
            float(greedy[row]),
            sampled[row],
            fast[row],
            solved[row],
            int(run.seed in diverged),
            cost,
        )
        for row, run in enumerate(batch)
    ]


def final_returns(agent: Agent, training: Training) -> NDArray[np.float64]:
    """Return the greedy policies' returns ``[S]``: exact in a finite problem, else the mean of EPISODES episodes."""
    problem = finite_of(training)
    if problem is not None:
        assert problem.mdp.max_steps is not None
        return exact_returns(agent, problem, problem.mdp.max_steps)
    return play(agent, agent.evaluation_env(EPISODES)).seed_means


def finite_of(training: Training) -> Finite | None:
    """Return the finite problem of a training with a step limit; None for other environments."""
    problem = finite_problem(training.env, training.env_kwargs)
    return None if problem is None or problem.mdp.max_steps is None else problem


def optimum_of(run: PlannedRun) -> float:
    """Return the optimal return from the start of a run's finite problem, under its step limit."""
    problem = finite_of(batch_training([run.configuration]))
    assert problem is not None
    return float(start_value(problem.mdp, backward_induction(problem.mdp).value[0]))


def steps_to(history: dict[str, NDArray], level: float) -> list[int | None]:
    """Return the environment steps after which the training returns of a log row reach a level, by seed.

    None where they never do. ``history`` has "timesteps" and "episode_return", ``[T, S]`` each.
    """
    reached = history["episode_return"] >= level  # NaN, where no episode ended, is not
    return [int(history["timesteps"][rows.argmax(), row]) if rows.any() else None for row, rows in enumerate(reached.T)]
