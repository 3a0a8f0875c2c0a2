"""Victims with a finite memory of what they were shown: frame stacks, filters, finite-state controllers.

Against a victim whose memory is a function of its last memory and of the observation shown, the pair (state, memory)
takes the role of the state of a memoryless victim.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlkit.mdp import TabularMDP
from rlkit.planning import Problem
from rlkit.planning.operators import as_table

from .choices import ProvokableChoices, choices_of_distributions


class MemoryProblem(NamedTuple):
    """A problem whose state ``n M + m`` is state n with memory m, and what can be caused there.

    Its action ``a M + m`` is action a, after which the victim remembers m. ``worst_case(*memory_problem, ...)`` takes
    both fields.
    """

    mdp: TabularMDP
    choices: ProvokableChoices


def memory_problem(
    mdp: Problem, policy: ArrayLike, update: ArrayLike, shows: ArrayLike, truth: ArrayLike, initial: int = 0
) -> MemoryProblem:
    """Pose a victim with a memory as one without, on pairs of states and memories.

    Args:
        mdp: a ``TabularMDP``, ``GridMDP`` or ``LatticeMDP`` of N states and A actions.
        policy: the victim's action for a memory and the observation shown, integers ``[S, M, O]``, or probabilities,
            floats ``[S, M, O, A]``; the axis of S may be left out.
        update: the memory after an observation, integers ``[M, O]``.
        shows: booleans ``[N, O]``, whether an observation may be shown in a state.
        truth: the true observation of every state, integers ``[N]``.
        initial: memory at the start of an episode.

    Raises:
        ValueError: shapes that disagree, numbers out of range, a state in which nothing may be shown.

    Warns:
        RuntimeWarning: the true observation may not be shown somewhere.
    """
    table, near, seen, step = as_table(mdp), np.asarray(shows), np.asarray(truth), np.asarray(update)
    num_states, num_actions, outcomes = table.probability.shape
    if step.ndim != 2 or step.dtype.kind not in "iu" or not 0 <= step.min() <= step.max() < len(step):
        raise ValueError(f"update has shape {step.shape}: expected memories from 0 to M - 1, [M, O]")
    (memories, observations), given = step.shape, np.asarray(policy)
    if given.dtype.kind in "iu":
        if given.size and not 0 <= given.min() <= given.max() < num_actions:
            raise ValueError(f"policy holds actions {given.min()} to {given.max()}: expected 0 to {num_actions - 1}")
        given = np.eye(num_actions)[given]
    rule = given.reshape(-1, *given.shape[-3:])  # [S, M, O, A]
    if rule.ndim != 4 or rule.shape[1:] != (memories, observations, num_actions):
        raise ValueError(f"policy has shape {given.shape}: expected [S, {memories}, {observations}] for the actions")
    if near.dtype != np.bool_ or near.shape != (num_states, observations):
        raise ValueError(f"shows has dtype {near.dtype} and shape {near.shape}: expected booleans [N, O]")
    if seen.shape != (num_states,) or seen.dtype.kind not in "iu" or not 0 <= seen.min() <= seen.max() < observations:
        raise ValueError(f"truth has shape {seen.shape}: expected one observation from 0 to O - 1 per state")
    if not 0 <= initial < memories:
        raise ValueError(f"initial {initial}: expected a memory from 0 to {memories - 1}")
    joint = np.zeros((*rule.shape, memories))  # [S, M, O, A, M], the action and the next memory
    joint[:, np.arange(memories)[:, None], np.arange(observations), :, step] = np.moveaxis(rule, 0, 2)
    joint = joint.reshape(*rule.shape[:3], num_actions * memories)
    pairs = (num_states * memories, num_actions * memories)
    after = table.successor[:, None, :, None] * memories + np.arange(memories)[:, None]  # [N, 1, A, M, J]

    def product(outcome: NDArray[np.generic]) -> NDArray[np.generic]:
        shape = (num_states, memories, num_actions, memories, outcomes)
        return np.broadcast_to(outcome, shape).reshape(*pairs, outcomes)

    start = np.zeros((num_states, memories))
    start[:, initial] = table.start
    posed = TabularMDP(
        product(after),
        product(table.probability[:, None, :, None]),
        product(table.reward[:, None, :, None]),
        product(table.terminated[:, None, :, None]),
        start.ravel(),
        table.max_steps,
        table.name,
        _repeated_flags(table.available, memories),
    )
    natural = np.moveaxis(joint[:, :, seen], 2, 1).reshape(len(rule), *pairs)  # [S, N M, A M]
    provoked = np.broadcast_to(joint[:, None], (len(rule), num_states, *joint.shape[1:]))
    provoked = provoked.reshape(len(rule), pairs[0], observations, pairs[1])
    allowed = np.broadcast_to(np.repeat(near, memories, axis=0), provoked.shape[:3])
    return MemoryProblem(posed, choices_of_distributions(natural, provoked, allowed))


def frame_stack(num_observations: int, depth: int) -> NDArray[np.int64]:
    """Make the memory of a victim that sees the last ``depth`` observations: ``update [M, O]`` of ``memory_problem``.

    Memory m is a number in base O + 1 whose digits are the last depth - 1 observations plus 1, the latest last; 0
    stands for none. So M = (O + 1)^(depth - 1), and an episode begins with memory 0.

    Raises:
        ValueError: numbers below 1.
    """
    if num_observations < 1 or depth < 1:
        raise ValueError(f"num_observations {num_observations}, depth {depth}: give at least 1 of each")
    base = num_observations + 1
    size = base ** (depth - 1)
    return np.asarray((np.arange(size)[:, None] * base + np.arange(1, base)) % size)


def _repeated_flags(available: NDArray[np.bool_], memories: int) -> NDArray[np.bool_]:
    """Repeat the actions that states have, ``[N, A]``, for pairs with memories: ``[N M, A M]``."""
    return np.repeat(np.repeat(available, memories, axis=0), memories, axis=1)
