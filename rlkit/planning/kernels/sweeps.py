"""The loops over a table's states that have no array form, or none that is fast.

Every function takes a table as ``arrival [N, A, K]`` (``TabularMDP.arrival``), ``probability [N, A, K]`` and
``reward [N, A]`` (``expected_reward``), and values ``[N + 1]`` whose last entry is 0: the value of what ended.
One q-value is ``r + gamma * (p_0 V_0 + p_1 V_1 + ...)``, summed in that order, as in ``q_backup``.

``unrolled`` is ``unrolled_outcomes(K)``: its length is known to the compiler, which then writes few outcomes out one by
one instead of counting them. Gathering values is all that is left, and a sweep takes about half the time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .jit import compiled

Floats = NDArray[np.float64]
Integers = NDArray[Any]
Unrolled = tuple[int, ...]

MOST_UNROLLED = 4  # outcomes; more are gained little by, and each number of them is compiled apart


def unrolled_outcomes(num_successors: int) -> Unrolled:
    """K zeros where K is small, else none: loops then count the outcomes."""
    return (0,) * num_successors if num_successors <= MOST_UNROLLED else ()


@compiled
def back_up_all(
    arrival: Integers,
    probability: Floats,
    reward: Floats,
    value: Floats,
    gamma: float,
    q: Floats,
    unrolled: Unrolled,
) -> None:
    """``q [N, A]`` becomes the backup of ``value``."""
    num_states, num_actions = arrival.shape[:2]
    num_successors = len(unrolled) if len(unrolled) > 0 else arrival.shape[2]
    for state in range(num_states):
        for action in range(num_actions):
            ahead = 0.0
            for k in range(num_successors):
                ahead += probability[state, action, k] * value[arrival[state, action, k]]
            q[state, action] = reward[state, action] + gamma * ahead


@compiled
def choose_best(
    arrival: Integers,
    probability: Floats,
    reward: Floats,
    value: Floats,
    gamma: float,
    behind: float,
    best: Floats,
    policy: Integers,
    near: NDArray[np.bool_],
    unrolled: Unrolled,
) -> None:
    """``best [N]`` becomes the best q of every state, ``policy [N]`` the first action that has it, and ``near [N, A]``
    whether an action is at most ``behind`` it, rounded down."""
    num_states, num_actions = arrival.shape[:2]
    num_successors = len(unrolled) if len(unrolled) > 0 else arrival.shape[2]
    q = np.empty(num_actions)
    for state in range(num_states):
        highest, chosen = -np.inf, 0
        for action in range(num_actions):
            ahead = 0.0
            for k in range(num_successors):
                ahead += probability[state, action, k] * value[arrival[state, action, k]]
            q[action] = reward[state, action] + gamma * ahead
            if q[action] > highest:
                highest, chosen = q[action], action
        best[state], policy[state] = highest, chosen
        enough = np.nextafter(highest - behind, -np.inf)
        for action in range(num_actions):
            near[state, action] = q[action] >= enough


@compiled
def back_up_best(
    arrival: Integers,
    probability: Floats,
    reward: Floats,
    value: Floats,
    gamma: float,
    best: Floats,
    policy: Integers,
    unrolled: Unrolled,
) -> tuple[float, float]:
    """``best [N + 1] = B value``, ``policy [N]`` greedy; returns the least and the largest of ``B value - value``."""
    num_states, num_actions = arrival.shape[:2]
    num_successors = len(unrolled) if len(unrolled) > 0 else arrival.shape[2]
    least, largest = np.inf, -np.inf
    for state in range(num_states):
        highest, chosen = -np.inf, 0
        for action in range(num_actions):
            ahead = 0.0
            for k in range(num_successors):
                ahead += probability[state, action, k] * value[arrival[state, action, k]]
            q = reward[state, action] + gamma * ahead
            if q > highest:
                highest, chosen = q, action
        change = highest - value[state]
        best[state] = highest
        policy[state] = chosen
        largest = change if change > largest else largest
        least = change if change < least else least
    return least, largest


@compiled
def improve_in_place(
    arrival: Integers,
    probability: Floats,
    reward: Floats,
    value: Floats,
    gamma: float,
    policy: Integers,
    backwards: bool,
    unrolled: Unrolled,
) -> float:
    """One Gauss-Seidel sweep: each state's value is replaced by its backup before the next one is looked at.

    ``policy [N]`` becomes the actions that were best when looked at. Returns the largest change.
    """
    num_states, num_actions = arrival.shape[:2]
    num_successors = len(unrolled) if len(unrolled) > 0 else arrival.shape[2]
    largest = 0.0
    for index in range(num_states):
        state = num_states - 1 - index if backwards else index
        highest, chosen = -np.inf, 0
        for action in range(num_actions):
            ahead = 0.0
            for k in range(num_successors):
                ahead += probability[state, action, k] * value[arrival[state, action, k]]
            q = reward[state, action] + gamma * ahead
            if q > highest:
                highest, chosen = q, action
        change = abs(highest - value[state])
        largest = change if change > largest else largest
        value[state] = highest
        policy[state] = chosen
    return largest


@compiled
def choose_rows(
    arrival: Integers,
    probability: Floats,
    reward: Floats,
    policy: Integers,
    own_action: Integers,
    own_arrival: Integers,
    own_probability: Floats,
    own_reward: Floats,
    unrolled: Unrolled,
) -> None:
    """The rows of ``policy`` in one piece, ``[N, K]``, ``[N, K]`` and ``[N]``: sweeps then read nothing else.

    ``own_action [N]`` says whose rows are there already, -1 none: only those of other actions are copied.
    """
    num_states = arrival.shape[0]
    num_successors = len(unrolled) if len(unrolled) > 0 else arrival.shape[2]
    for state in range(num_states):
        action = policy[state]
        if action == own_action[state]:
            continue
        own_action[state] = action
        own_reward[state] = reward[state, action]
        for k in range(num_successors):
            own_arrival[state, k] = arrival[state, action, k]
            own_probability[state, k] = probability[state, action, k]


@compiled
def evaluate_in_place(
    own_arrival: Integers,
    own_probability: Floats,
    own_reward: Floats,
    value: Floats,
    gamma: float,
    sweeps: int,
    backwards: bool,
    enough: float,
    unrolled: Unrolled,
) -> int:
    """Gauss-Seidel sweeps for the policy of ``choose_rows``, to and fro, until no value changes by more than
    ``enough``.

    Returns the number of sweeps done, at most ``sweeps``.
    """
    num_states = own_arrival.shape[0]
    num_successors = len(unrolled) if len(unrolled) > 0 else own_arrival.shape[1]
    for done in range(sweeps):
        largest = 0.0
        for index in range(num_states):
            state = num_states - 1 - index if backwards else index
            ahead = 0.0
            for k in range(num_successors):
                ahead += own_probability[state, k] * value[own_arrival[state, k]]
            q = own_reward[state] + gamma * ahead
            change = abs(q - value[state])
            largest = change if change > largest else largest
            value[state] = q
        backwards = not backwards
        if largest <= enough:
            return done + 1
    return sweeps


@compiled
def iterate_in_place(
    arrival: Integers,
    probability: Floats,
    reward: Floats,
    own_action: Integers,
    own_arrival: Integers,
    own_probability: Floats,
    own_reward: Floats,
    value: Floats,
    gamma: float,
    policy: Integers,
    evaluation: int,
    reduction: float,
    enough: float,
    sweeps: int,
    limit: int,
    unrolled: Unrolled,
) -> tuple[float, int]:
    """``improve_in_place``, ``choose_rows`` and ``evaluate_in_place`` in turn, until an improvement changes no value by
    more than ``enough`` or comes after ``sweeps`` sweeps or more.

    An evaluation does at most ``evaluation`` sweeps, none beyond the ``limit``, and ends where they change values by
    ``reduction`` of what the improvement changed. Improvements go to and fro as well. Returns the last improvement's
    largest change and the number of sweeps.
    """
    done, backwards = 0, False
    while True:
        change = improve_in_place(arrival, probability, reward, value, gamma, policy, backwards, unrolled)
        done += 1
        if change <= enough or done >= sweeps:
            return change, done
        choose_rows(
            arrival, probability, reward, policy, own_action, own_arrival, own_probability, own_reward, unrolled
        )
        settled, allowed = max(reduction * change, enough / 4), min(evaluation, max(limit - done, 0))
        backwards = not backwards
        done += evaluate_in_place(
            own_arrival, own_probability, own_reward, value, gamma, allowed, backwards, settled, unrolled
        )


@compiled
def evaluate_by_backups(
    own_arrival: Integers,
    own_probability: Floats,
    own_reward: Floats,
    value: Floats,
    other: Floats,
    gamma: float,
    sweeps: int,
    enough: float,
    unrolled: Unrolled,
) -> int:
    """Jacobi sweeps for the policy of ``choose_rows`` until the changes of all states differ by at most ``enough``.

    ``value [N + 1]`` holds the result, ``other [N + 1]`` is work space. Returns the number of sweeps, an even one.
    """
    num_states = own_arrival.shape[0]
    num_successors = len(unrolled) if len(unrolled) > 0 else own_arrival.shape[1]
    source, target = value, other
    for done in range(sweeps + sweeps % 2):
        least, largest = np.inf, -np.inf
        for state in range(num_states):
            ahead = 0.0
            for k in range(num_successors):
                ahead += own_probability[state, k] * source[own_arrival[state, k]]
            q = own_reward[state] + gamma * ahead
            change = q - source[state]
            largest = change if change > largest else largest
            least = change if change < least else least
            target[state] = q
        source, target = target, source
        if done % 2 == 1 and largest - least <= enough:
            return done + 1
    return sweeps + sweeps % 2
