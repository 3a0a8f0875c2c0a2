"""Returns of a policy on paired episodes, with intervals over training seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.adversarial import Victim
from rlkit.envs import CartPole, GridWorld, find_dynamics
from rlkit.evaluation import EVALUATION_SEED, rollout
from rlkit.statistics import ONE_SEED, Estimate, difference_interval, mean_interval
from rlkit.types import Env

from ..report.ledger import ReportTable, RunRecord
from ..report.text import cell_text
from .exact import FINAL_WORK, exact_of, exact_part
from .policies import Subject, backend_of

ACROBOT_STEPS = 500  # the time limit that gymnasium registers


class Played(NamedTuple):
    """E episodes of each of S seeds; episode e starts from the same state for all of them."""

    returns: NDArray[np.float64]  # [S, E], undiscounted
    lengths: NDArray[np.int64]  # [S, E]
    capped: NDArray[np.bool_]  # [S, E], cut off by the step cap of an environment without a time limit
    limits: tuple[float, float] | None = None  # least and greatest return that is possible; None if not known

    @property
    def seed_means(self) -> NDArray[np.float64]:
        """Mean return of each seed, ``[S]``; intervals are over these."""
        return np.asarray(self.returns.mean(axis=1))

    @property
    def mean_return(self) -> Estimate[float]:
        """The mean over seeds with Student's interval, cut to the returns that are possible."""
        return mean_return(self.seed_means, self.limits)


def within_limits(estimate: Estimate[float], limits: tuple[float, float] | None) -> Estimate[float]:
    """Cut an interval to the values that are possible: it covers the truth as often as before.

    An estimate of one seed has no interval, and none is made of the limits.
    """
    if limits is None or not estimate.has_interval:
        return estimate
    low, high = limits
    return estimate._replace(lower=min(max(estimate.lower, low), high), upper=max(min(estimate.upper, high), low))


def mean_return(returns: NDArray[np.float64], limits: tuple[float, float] | None) -> Estimate[float]:
    """The mean over seeds of returns ``[S]``; its interval is cut to ``limits``, the returns that are possible."""
    return within_limits(mean_interval(returns), limits)


def differences(limits: tuple[float, float] | None) -> tuple[float, float] | None:
    """The least and the largest difference of two returns within ``limits``."""
    return None if limits is None else (limits[0] - limits[1], limits[1] - limits[0])


def return_difference(
    x: NDArray[np.float64], y: NDArray[np.float64], limits: tuple[float, float] | None, paired: bool = False
) -> Estimate[float]:
    """The mean of returns ``x [S]`` minus that of ``y``; its interval is cut to what ``limits`` of returns allow."""
    return within_limits(difference_interval(x, y, paired=paired), differences(limits))


def return_range(subject: Subject, horizon: int | None = None) -> tuple[float, float] | None:
    """``possible_returns`` of a policy's environment."""
    return possible_returns(subject.env, subject.env_kwargs, horizon)


def possible_returns(env: str, env_kwargs: Mapping[str, Any], horizon: int | None = None) -> tuple[float, float] | None:
    """The least and the largest return of an episode of at most ``horizon`` steps; None where it is not known.

    On a map the last step alone may enter an end.
    """
    if env == "Acrobot-v1" and not env_kwargs:
        return -float(horizon or ACROBOT_STEPS), 0.0
    dynamics = find_dynamics(env, env_kwargs=dict(env_kwargs))
    steps = horizon or getattr(dynamics, "max_steps", None)
    if steps is None:
        return None
    if isinstance(dynamics, CartPole) and not dynamics.sutton_barto_reward:
        return 0.0, float(steps)
    if isinstance(dynamics, GridWorld):
        happens = dynamics.mdp.probability > 0
        ends = happens & dynamics.mdp.terminated
        every, going_on = dynamics.mdp.reward[happens], dynamics.mdp.reward[happens & ~ends]
        least, most = min(float(every.min()), 0.0), max(float(every.max()), 0.0)
        on_least, on_most = min(float(going_on.min(initial=0.0)), 0.0), max(float(going_on.max(initial=0.0)), 0.0)
        return (steps - 1) * on_least + least, (steps - 1) * on_most + most
    return None


def played_by(subject: Subject, episodes: int) -> Played:
    """Play the episodes of the evaluation greedily; intervals stay within the returns that are possible."""
    env = subject.make_env(episodes, EVALUATION_SEED)
    return play(subject.policy, env)._replace(limits=return_range(subject))


def play(policy: Victim, env: Env, deterministic: bool = True) -> Played:
    """Play one episode in every copy of a new evaluation environment."""
    episodes = rollout(policy, env, deterministic=deterministic)
    return Played(episodes.returns.cpu().numpy(), episodes.lengths.cpu().numpy(), episodes.capped.cpu().numpy())


def seed_table(seeds: Sequence[int], played: Played) -> ReportTable:
    """Returns by training seed."""
    columns = ("seed", "mean return", "standard deviation", "least", "greatest", "mean length")
    rows = tuple(
        (seed, *(float(number) for number in (row.mean(), row.std(), row.min(), row.max(), length.mean())))
        for seed, row, length in zip(seeds, played.returns, played.lengths, strict=True)
    )
    return ReportTable("returns", f"Return of {played.returns.shape[1]} episodes by training seed", columns, rows)


def returns_of(seeds: Sequence[int], played: Played) -> dict[str, Any]:
    """The numbers of an evaluation for scripts."""
    return {
        "return": played.mean_return,
        "episodes": played.returns.shape[1],
        "seeds": list(seeds),
        "seed_returns": played.seed_means,
        "capped_episodes": int(played.capped.sum(axis=None)),
    }


def evaluate(
    subject: Subject, episodes: int = 100, sampled: bool = False, first_seed: int = EVALUATION_SEED
) -> RunRecord:
    """Play ``episodes`` episodes of every training seed; episode e starts from ``reset(seed=first_seed + e)``.

    Raises:
        ValueError: fewer than one episode, or ``sampled`` of a model that cannot be sampled reproducibly.
    """
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}")
    env = subject.make_env(episodes, first_seed)
    played = play(subject.policy, env, deterministic=not sampled)._replace(limits=return_range(subject))
    exact = exact_of(subject.policy, subject.env, subject.env_kwargs, FINAL_WORK)
    part = exact_part(subject.name, subject.seeds, subject.policy, exact, None, sampled)
    return RunRecord(
        kind="evaluate",
        title=f"{subject.name} on {subject.env}, {'sampled' if sampled else 'greedy'} actions",
        settings={
            "environment": subject.env,
            "env_kwargs": subject.env_kwargs,
            "backend": backend_of(env),
            "algorithm": subject.name,
            "training_seeds": subject.seeds,
            "episodes": episodes,
            "evaluation_seeds": [first_seed, first_seed + episodes - 1],
            "actions": "sampled" if sampled else "greedy",
        },
        results={**returns_of(subject.seeds, played), **part.results},
        tables=(seed_table(subject.seeds, played), *part.tables),
        pictures=part.pictures,
        notes=(mean_note(played), *capped_note(played)),
    )


def mean_note(played: Played) -> str:
    """The mean over training seeds with its interval; one seed has none."""
    mean = played.mean_return
    if mean.n == 1:
        return f"Mean return: {mean.value:.4g} ({ONE_SEED})."
    return f"Mean return over {mean.n} training seeds: {cell_text(mean)} ({mean.confidence:.0%}, {mean.method})."


def capped_note(played: Played) -> tuple[str, ...]:
    """A note if episodes were cut off by the step cap."""
    capped = int(played.capped.sum(axis=None))
    return (f"{capped} of {played.capped.size} episodes were cut off by the step cap.",) if capped else ()
