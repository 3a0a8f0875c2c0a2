"""Several iterations of an agent in one call of machine code, see ``rlkit.compiled.iterations``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.compiled.iterations import PlayArrays, iterate_rows
from rlkit.compiled.learn import blocks
from rlkit.compiled.rollout import Scaling, SegmentArrays
from rlkit.schedules import Schedule, factor

AHEAD = 2**32  # multiply-adds of the iterations that are made at once, unless one has more: a fraction of a second
STEP = 2**13  # multiply-adds that take as long as a step of one copy


def iterations_until_row(agent: Any, steps: int, work: int) -> int:
    """Return how many iterations can be made at once.

    No row of the log and no end of the training falls before the end of the last one.

    Args:
        agent: the agent.
        steps: of every copy in an iteration.
        work: multiply-adds of the updates in an iteration of one row.
    """
    state, each = agent.training_state, steps * agent.env.num_envs
    until: int = -(-(min(state.due, state.end) - state.timesteps) // each)
    fitting: int = AHEAD // (agent.num_seeds * (work + STEP * each))
    return max(min(until, fitting), 1)


def ends_of(agent: Any, steps: int, count: int) -> list[int]:
    """Return the timesteps after each of the next ``count`` iterations of ``steps`` steps of every copy."""
    now, each = agent.num_timesteps, steps * agent.env.num_envs
    return [now + (k + 1) * each for k in range(count)]


def iterate(
    agent: Any, numbers: Any, policy: Any, count: int, steps: int, work: int, learner: Callable[[SegmentArrays], Any]
) -> None:
    """Make ``count`` iterations: play ``steps`` steps of every copy and learn from them; count and log the steps.

    A row makes all of them before the next row begins.

    Args:
        agent: the agent.
        numbers: of its environment's dynamics.
        policy: that plays, see ``rlkit.compiled.rollout.act``.
        count: K.
        steps: of every copy in an iteration.
        work: multiply-adds of an iteration of one row.
        learner: function of the arrays that the steps are written into; see ``rlkit.compiled.iterations.learn``.
    """

    def loop(numbers: Any, running: Any, policy: Any, scaling: Scaling, u: Any, noise: Any) -> SegmentArrays:
        segment = SegmentArrays.empty(running.state, len(u))
        play, learns = PlayArrays(numbers, running, policy, scaling, u, noise, segment), learner(segment)
        for first, last in blocks(agent.num_seeds, work * count):
            iterate_rows(first, last, count, play, learns)
        return segment

    u = agent.explore.take(count * steps)
    u = u if agent.scores_are_values else u[..., 0]
    agent.record(agent.env.play(numbers, policy, scaling_of(agent), u, loop))


def note_divergences(agent: Any, learned: Tensor, finite: Any, ends: list[int]) -> None:
    """Note when rows stopped that have learned until now: at the end of the first iteration with a number not finite.

    Args:
        agent: the agent.
        learned: which rows learned before the iterations, ``[S]``.
        finite: whether all numbers of an iteration were finite, ``[K, S]`` bool.
        ends: the timesteps after each iteration.
    """
    for row in torch.nonzero(learned & ~agent.active)[:, 0].tolist():
        agent.training_state.diverged_at[row] = ends[int(finite[:, row].argmin())]


def scheduled(initial: Tensor, schedule: Schedule, remaining: Sequence[float]) -> NDArray[Any]:
    """Return a learning rate or clip range ``[S]`` when so much of training remains, for K iterations: ``[K, S]``."""
    factors = torch.tensor([factor(schedule, 1.0 - left) for left in remaining], dtype=initial.dtype)
    rates: NDArray[Any] = (initial * factors[:, None]).numpy()
    return rates


def scaling_of(agent: Any) -> Scaling:
    """Return what normalizes the features of an agent."""
    normalizer = agent.normalizer
    if normalizer is None or not normalizer.of_observations:
        nothing = np.empty((agent.num_seeds, 0))
        return Scaling(nothing, nothing, 0.0)
    mean, inverse, clip = normalizer.scaling()
    return Scaling(mean.contiguous().numpy(), inverse.contiguous().numpy(), clip)
