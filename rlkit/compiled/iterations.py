"""Several iterations of an agent in one call: a row plays and learns, again and again, before the next row begins.

So a row's parameters and moments stay in the cache, and little is done between the loops. How a row learns is chosen by
the type of the learner.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .jit import compiled
from .rollout import RunningArrays, Scaling, SegmentArrays, play_row, scratch


class PlayArrays(NamedTuple):
    """How K iterations of T steps are played; arguments as of ``rollout.play_rows``."""

    numbers: Any  # of the dynamics
    running: RunningArrays
    policy: Any
    scaling: Scaling
    u: NDArray[np.float64]  # uniform numbers of the actions, [K T, S, B, ...]
    noise: NDArray[np.float64]  # of the transitions, [K T, S, B, w]
    segment: SegmentArrays  # to write the steps into, [S, K T, B, ...]


def workspace(learner: Any, play: PlayArrays) -> Any:
    """Return memory that the learning of every row writes over."""
    raise NotImplementedError


def learn(learner: Any, s: int, k: int, play: PlayArrays, begin: int, end: int, work: Any) -> None:
    """Learn from steps ``begin .. end`` of row s, which its iteration k has just played.

    Args:
        learner: by whose type the way of learning is chosen.
        s, k: row and iteration.
        play: with the steps.
        begin, end: which of them.
        work: of ``workspace``.
    """
    raise NotImplementedError


@compiled
def iterate_rows(first: int, last: int, iterations: int, play: PlayArrays, learner: Any) -> None:
    """Make K iterations of rows ``first .. last``: play T steps of every copy, and learn.

    Args:
        first, last: the rows.
        iterations: K.
        play: how steps are played.
        learner: see ``learn``.
    """
    steps = len(play.u) // iterations
    x, h = scratch(play.policy, play.running.state.shape[1])
    fresh, work = np.empty(play.running.width), workspace(learner, play)
    for s in range(first, last):
        for k in range(iterations):
            begin, end = k * steps, (k + 1) * steps
            arrays = play.numbers, play.running, play.policy, play.scaling, play.u, play.noise, play.segment
            play_row(s, begin, end, *arrays, x, h, fresh)
            learn(learner, s, k, play, begin, end, work)
