"""DQN on a slippery grid against the exact optimum: what every seed's greedy policy is worth, computed, not sampled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rlkit.agents.agent import Agent
from rlkit.agents.dqn import DQN
from rlkit.envs.gridworld import GridWorld
from rlkit.envs.render import draw_values
from rlkit.planning import (
    FiniteHorizonSolution,
    Solution,
    backward_induction,
    evaluate_finite,
    q_error,
    solve,
    start_value,
)
from rlkit.plotting import Curve, Reference, learning_curves, png
from rlkit.statistics import Estimate, median_interval

from ..exact import all_scores, exact_returns
from ..ledger import Picture, Run, Table
from ..policies import backend_of, of_agent
from ..train import Trained, Training, Watch


class Exact(NamedTuple):
    """What is known about the grid without any learning."""

    grid: GridWorld
    limited: FiniteHorizonSolution  # the optimum under the step limit, undiscounted
    discounted: Solution  # the optimum at the agent's gamma, with bounds
    optimum: float  # of the start, under the step limit
    stationary: float  # what the policy that is optimal at that gamma earns under the step limit


class QErrors(NamedTuple):
    """How far learned action values are from the exact ones, ``max_a |Q - Q*|`` averaged over states."""

    at_start: NDArray[np.float64]  # [S], over the start distribution
    mean: NDArray[np.float64]  # [S], over all states in which there is something to decide

    @classmethod
    def of(cls, q: NDArray[np.float64], exact: Exact) -> QErrors:
        """Of ``q [S, N, A]``."""
        mdp = exact.grid.mdp
        deciding = ~has_ended(exact.grid)  # [N]
        weights = deciding / deciding.sum(axis=0)
        return cls(q_error(q, exact.discounted, mdp.start), q_error(q, exact.discounted, weights))


class GridResult(NamedTuple):
    """The numbers that the demo judges."""

    run: Run
    optimum: float
    median: Estimate[float]  # over seeds, of the exact return of the final greedy policy


def exact_answer(training: Training, gamma: float) -> Exact:
    """Solve the grid of a training."""
    grid = GridWorld(**training.env_kwargs)
    limited, discounted = backward_induction(grid.mdp), solve(grid.mdp, gamma)
    stationary = evaluate_finite(grid.mdp, discounted.policy, limited.horizon)[0]
    return Exact(
        grid,
        limited,
        discounted,
        optimum=float(start_value(grid.mdp, limited.value[0])),
        stationary=float(start_value(grid.mdp, stationary)),
    )


def has_ended(grid: GridWorld) -> NDArray[np.bool_]:
    """The states in which an episode is over, ``[N]``: nothing is ever decided or learned there."""
    return np.asarray(grid.mdp.terminated.all(axis=(1, 2)))


class ExactCurve:
    """The exact return of every seed during training, recorded while training passes by."""

    def __init__(self, exact: Exact, watch: Watch) -> None:
        self.exact, self._watch = exact, watch
        self.timesteps: list[int] = []
        self.returns: list[NDArray[np.float64]] = []  # [S] each

    def __call__(self, agent: Agent, steps: Iterator[int], total: int) -> Iterator[int]:
        """A ``Watch``: draws the bar of the other one and evaluates at every step it sees."""
        assert isinstance(agent, DQN)
        for done in self._watch(agent, steps, total):
            self.timesteps.append(done)
            self.returns.append(exact_returns(agent, self.exact.grid, self.exact.limited.horizon))
            yield done

    @property
    def curve(self) -> Curve:
        """For the plot."""
        return Curve(self.timesteps, np.stack(self.returns))


def grid_result(training: Training, trained: Trained, exact: Exact, curve: Curve) -> GridResult:
    """The record of the grid part."""
    agent = trained.agent
    assert isinstance(agent, DQN)
    q = all_scores(agent, exact.grid)
    returns = exact_returns(agent, exact.grid, exact.limited.horizon)
    errors = QErrors.of(q, exact)
    median = median_interval(returns)
    subject = of_agent(agent, training.env, training.env_kwargs)
    grid_name = exact.grid.name
    numbers: dict[str, Any] = {
        "median_return": median,
        "optimum": exact.optimum,
        "optimum_error_bound": exact.limited.error_bound,
        "discounted_policy_under_limit": exact.stationary,
        "step_limit": exact.limited.horizon,
        "seeds": list(agent.seeds),
        "seed_returns": returns,
        "seed_regrets": exact.optimum - returns,
        "seed_q_errors_at_start": errors.at_start,
        "seed_q_errors_mean": errors.mean,
        "cpu_seconds_per_seed": trained.cpu_seconds / agent.num_seeds,
        "curve": {"timesteps": curve.x, "returns": curve.y},
    }
    run = Run(
        kind="grid",
        title=f"{subject.name} on the slippery grid {grid_name} against the exact optimum",
        settings={
            "environment": training.env,
            "env_kwargs": training.env_kwargs,
            "rules": str(exact.grid),
            "backend": backend_of(agent.env),
            "algorithm": subject.name,
            "training_seeds": agent.seeds,
            "copies_per_seed": training.num_envs,
            "steps_per_seed": training.steps,
            "hyperparameters": asdict(agent.config),
        },
        results=numbers,
        tables=(_reference_table(exact, median), _seed_table(agent.seeds, returns, errors, exact.optimum)),
        pictures=(_learning_picture(subject.name, curve, exact), _value_picture(agent, q, returns, exact)),
        notes=(
            f"Returns here are exact: each seed's greedy policy is evaluated in the very table that the simulator "
            f"samples, for episodes of at most {exact.limited.horizon} steps. The optimum under that limit comes from "
            f"backward induction (rounding error below {exact.limited.error_bound:.1g}); it may depend on the steps "
            "left, which a learned policy does not see.",
        ),
    )
    return GridResult(run, exact.optimum, median)


def _reference_table(exact: Exact, median: Estimate[float]) -> Table:
    """Learned beside exact."""
    steps, gamma = exact.limited.horizon, exact.discounted.gamma
    rows = (
        ("learned, median seed", median, exact.optimum - median.value),
        (f"exact optimum in {steps} steps", exact.optimum, 0.0),
        (f"exactly optimal policy of gamma {gamma:g}", exact.stationary, exact.optimum - exact.stationary),
    )
    title = f"Expected return of an episode of at most {steps} steps"
    return Table("exact", title, ("policy", "return", "regret"), rows)


def _seed_table(seeds: tuple[int, ...], returns: NDArray[np.float64], errors: QErrors, optimum: float) -> Table:
    """Every seed's final policy."""
    columns = ("seed", "exact return", "regret", "regret, share of optimum", "error of Q at start", "mean error of Q")
    rows = tuple(
        (seed, float(earned), optimum - float(earned), 1.0 - float(earned) / optimum, float(at_start), float(mean))
        for seed, earned, at_start, mean in zip(seeds, returns, *errors, strict=True)
    )
    return Table("seeds", "Final greedy policy by training seed", columns, rows)


def _learning_picture(name: str, curve: Curve, exact: Exact) -> Picture:
    """Exact return of the greedy policy by training step, below the optimum."""
    references = (
        Reference(f"exact optimum in {exact.limited.horizon} steps", exact.optimum),
        Reference(f"optimal policy of gamma {exact.discounted.gamma:g}", exact.stationary),
    )
    figure = learning_curves({name: curve}, ylabel="exact return of the greedy policy", references=references)
    return Picture("learning", "Exact value of the greedy policy during training; thin lines are seeds.", png(figure))


def _value_picture(agent: DQN, q: NDArray[np.float64], returns: NDArray[np.float64], exact: Exact) -> Picture:
    """Values and greedy actions of the median seed beside the exact ones, in the same colours."""
    row = int(np.argsort(returns, kind="stable")[(len(returns) - 1) // 2])
    learned, solution = q[row].max(axis=-1), exact.discounted  # [N]
    deciding = ~has_ended(exact.grid)
    shown = np.concatenate([learned[deciding], solution.value[deciding]])
    limits = float(shown.min(axis=0)), float(shown.max(axis=0))
    rows, columns = exact.grid.letters.shape
    figure = Figure(figsize=(2 * (0.62 * columns + 0.8), 0.62 * rows + 0.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    title = f"learned, seed {agent.seeds[row]}"
    draw_values(exact.grid, learned, q[row].argmax(axis=-1), axes=left, limits=limits, title=title, colour_bar=False)
    draw_values(exact.grid, solution.value, solution.optimal_actions, axes=right, limits=limits, title="exact")
    caption = (
        f"Value of every state at gamma {solution.gamma:g} (colours and numbers) and best actions (arrows), learned by "
        "the median seed and exact. Exact bounds are "
        f"{solution.width:.1g} apart."
    )
    return Picture("values", caption, png(figure))
