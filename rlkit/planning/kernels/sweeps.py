"""Sweeps over the states of a table: loops without a fast array form.

Values are ``[N + 1]``; the last entry is 0, the value after an end. Letters: N states, A actions, K successors.

A loop takes the rows of all states, or of consecutive ones, and the values of all. The functions below the loops, which
the methods call, cut the work into calls of at most ``WORK`` outcomes. Each tries the whole table first: a loop over
one piece made Gauss-Seidel on an 8 x 8 map 1.3 times as slow.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.compiled.jit import compiled, inlined

from .work import fits, pieces, repeats

Floats = NDArray[np.float64]
Integers = NDArray[Any]

MOST_UNROLLED = 4  # outcomes; unrolling more gains little, and every number of outcomes is compiled anew
BLOCK_SWEEPS = 2  # of a block at a time: the first over all actions, the second over the actions that the first chose


class TableArrays(NamedTuple):
    """The rows of consecutive states of a table, as the loops read them; ``arrival`` and values count all states.

    The length of ``unrolled`` is part of its type, so the compiler knows K where it is small: it writes the outcomes
    out one by one instead of counting them, and a sweep takes about half the time.
    """

    arrival: Integers  # [N, A, K], ``TabularMDP.arrival``
    probability: Floats  # [N, A, K]
    reward: Floats  # [N, A], ``TabularMDP.expected_reward``
    unrolled: tuple[int, ...]  # K zeros, or none where K exceeds ``MOST_UNROLLED``
    first: int  # the number of the first state

    @classmethod
    def of(cls, arrival: Integers, probability: Floats, reward: Floats) -> TableArrays:
        """Bundle the arrays."""
        num_successors = arrival.shape[2]
        unrolled = (0,) * num_successors if num_successors <= MOST_UNROLLED else ()
        return cls(arrival, probability, reward, unrolled, 0)

    @property
    def num_states(self) -> int:
        """N, of these rows."""
        return int(self.arrival.shape[0])

    @property
    def outcomes(self) -> int:
        """Outcomes of a state, A K."""
        return int(self.arrival.shape[1] * self.arrival.shape[2])

    def part(self, states: slice) -> TableArrays:
        """The rows of some of a whole table's states."""
        arrays = (self.arrival[states], self.probability[states], self.reward[states])
        return TableArrays(*arrays, self.unrolled, states.start)


@inlined
def backup(table: TableArrays, value: Floats, gamma: float, state: int, action: int) -> float:
    """``q(s, a) = r + gamma (p_0 V_0 + p_1 V_1 + ...)``, summed in this order, as in ``q_backup``.

    The only place of these loops where it is written.
    """
    num_successors = len(table.unrolled) if len(table.unrolled) > 0 else table.arrival.shape[2]
    ahead = 0.0
    for k in range(num_successors):
        ahead += table.probability[state, action, k] * value[table.arrival[state, action, k]]
    q: float = table.reward[state, action] + gamma * ahead
    return q


@inlined
def best_backup(table: TableArrays, value: Floats, gamma: float, state: int) -> tuple[float, int]:
    """The highest q of a state and the first action that has it."""
    highest, chosen = -np.inf, 0
    for action in range(table.arrival.shape[1]):
        q = backup(table, value, gamma, state, action)
        if q > highest:
            highest, chosen = q, action
    return highest, chosen


@compiled
def _back_up_all(table: TableArrays, value: Floats, gamma: float, q: Floats) -> None:
    num_states, num_actions = table.arrival.shape[:2]
    for state in range(num_states):
        for action in range(num_actions):
            q[state, action] = backup(table, value, gamma, state, action)


@compiled
def _choose_best(
    table: TableArrays,
    value: Floats,
    gamma: float,
    behind: float,
    best: Floats,
    policy: Integers,
    near: NDArray[np.bool_],
) -> None:
    num_states, num_actions = table.arrival.shape[:2]
    q = np.empty(num_actions)
    for state in range(num_states):
        highest, chosen = -np.inf, 0
        for action in range(num_actions):
            q[action] = backup(table, value, gamma, state, action)
            if q[action] > highest:
                highest, chosen = q[action], action
        best[state], policy[state] = highest, chosen
        enough = np.nextafter(highest - behind, -np.inf)
        for action in range(num_actions):
            near[state, action] = q[action] >= enough


@compiled
def _back_up_best(
    table: TableArrays, value: Floats, gamma: float, best: Floats, policy: Integers
) -> tuple[float, float]:
    own = value[table.first : table.first + table.arrival.shape[0]]
    least, largest = np.inf, -np.inf
    for state in range(table.arrival.shape[0]):
        highest, chosen = best_backup(table, value, gamma, state)
        change = highest - own[state]
        best[state] = highest
        policy[state] = chosen
        largest = change if change > largest else largest
        least = change if change < least else least
    return least, largest


@inlined
def improve_state(table: TableArrays, value: Floats, own: Floats, gamma: float, policy: Integers, state: int) -> float:
    """Replace one state's value by its backup and its action by the best; returns the change.

    ``own`` are the values of the table's own states, a part of ``value`` itself.
    """
    highest, chosen = best_backup(table, value, gamma, state)
    change: float = abs(highest - own[state])
    own[state] = highest
    policy[state] = chosen
    return change


@compiled
def _improve_in_place(table: TableArrays, value: Floats, gamma: float, policy: Integers, backwards: bool) -> float:
    num_states = table.arrival.shape[0]
    own = value[table.first : table.first + num_states]
    largest = 0.0
    if backwards:  # one loop for both directions takes up to 1.6 times as long: the compiler then checks every index
        for state in range(num_states - 1, -1, -1):
            change = improve_state(table, value, own, gamma, policy, state)
            largest = change if change > largest else largest
    else:
        for state in range(num_states):
            change = improve_state(table, value, own, gamma, policy, state)
            largest = change if change > largest else largest
    return largest


class PolicyRows(NamedTuple):
    """The rows of one policy in one piece: evaluation sweeps then read nothing else."""

    action: Integers  # [N], whose rows they are; -1 where none has been copied
    table: TableArrays  # of one action, A = 1

    @classmethod
    def of(cls, table: TableArrays) -> PolicyRows:
        """Space for the rows of a policy of ``table``."""
        num_states, _, num_successors = table.arrival.shape
        shape = (num_states, 1, num_successors)
        own = TableArrays.of(np.empty(shape, np.int32), np.empty(shape), np.empty((num_states, 1)))
        return cls(np.full(num_states, -1, np.int32), own)

    def part(self, states: slice) -> PolicyRows:
        """The rows of some states."""
        return PolicyRows(self.action[states], self.table.part(states))


@compiled
def _choose_rows(table: TableArrays, policy: Integers, rows: PolicyRows) -> None:
    for state in range(table.arrival.shape[0]):
        action = policy[state]
        if action == rows.action[state]:
            continue
        rows.action[state] = action
        rows.table.reward[state, 0] = table.reward[state, action]
        for k in range(table.arrival.shape[2]):
            rows.table.arrival[state, 0, k] = table.arrival[state, action, k]
            rows.table.probability[state, 0, k] = table.probability[state, action, k]


@inlined
def evaluate_state(rows: PolicyRows, value: Floats, own: Floats, gamma: float, state: int) -> float:
    """Replace one state's value by the policy's backup; returns the change."""
    q = backup(rows.table, value, gamma, state, 0)
    change: float = abs(q - own[state])
    own[state] = q
    return change


@compiled
def _evaluate_in_place(
    rows: PolicyRows, value: Floats, gamma: float, sweeps: int, backwards: bool, enough: float
) -> tuple[int, float]:
    num_states = rows.table.arrival.shape[0]
    own = value[rows.table.first : rows.table.first + num_states]
    largest = np.inf
    for done in range(sweeps):
        largest = 0.0
        if backwards:
            for state in range(num_states - 1, -1, -1):
                change = evaluate_state(rows, value, own, gamma, state)
                largest = change if change > largest else largest
        else:
            for state in range(num_states):
                change = evaluate_state(rows, value, own, gamma, state)
                largest = change if change > largest else largest
        backwards = not backwards
        if largest <= enough:
            return done + 1, largest
    return sweeps, largest


class Stops(NamedTuple):
    """When ``iterate_in_place`` ends an evaluation, and itself."""

    evaluation: int  # sweeps of an evaluation, at most
    reduction: float  # an evaluation ends where it changes values by this share of what the improvement changed
    enough: float  # the last improvement changes no value by more than this
    sweeps: int  # or it comes after this many sweeps
    limit: int  # no evaluation goes beyond this many sweeps


@compiled
def _iterate_in_place(
    table: TableArrays,
    rows: PolicyRows,
    value: Floats,
    gamma: float,
    policy: Integers,
    stops: Stops,
    done: int,
    backwards: bool,
    rounds: int,
) -> tuple[float, int, bool, bool]:
    change = np.inf
    for _ in range(rounds):
        change = _improve_in_place(table, value, gamma, policy, backwards)
        done += 1
        if change <= stops.enough or done >= stops.sweeps:
            return change, done, backwards, True
        _choose_rows(table, policy, rows)
        settled = max(stops.reduction * change, stops.enough / 4)
        allowed = min(stops.evaluation, max(stops.limit - done, 0))
        backwards = not backwards
        done += _evaluate_in_place(rows, value, gamma, allowed, backwards, settled)[0]
    return change, done, backwards, False


@compiled
def _evaluate_by_backups(
    rows: PolicyRows, value: Floats, other: Floats, gamma: float, sweeps: int, enough: float
) -> tuple[int, float, float]:
    num_states = rows.table.arrival.shape[0]
    own = slice(rows.table.first, rows.table.first + num_states)
    source, target = value, other
    least, largest = -np.inf, np.inf
    for done in range(sweeps):
        before, after = source[own], target[own]
        least, largest = np.inf, -np.inf
        for state in range(num_states):
            q = backup(rows.table, source, gamma, state, 0)
            change = q - before[state]
            largest = change if change > largest else largest
            least = change if change < least else least
            after[state] = q
        source, target = target, source
        if done % 2 == 1 and largest - least <= enough:
            return done + 1, least, largest
    return sweeps, least, largest


class Blocks(NamedTuple):
    """States in blocks of consecutive numbers, and how much each block may still change."""

    size: int  # states of a block; the last one may have fewer
    pointers: NDArray[np.int64]  # [blocks + 1], where the leaders of a block begin
    leaders: NDArray[np.int64]  # blocks with a state from which some action leads into the block
    priority: Floats  # [blocks], a bound on the change by a sweep of the block
    backups: NDArray[np.int64]  # [blocks], states backed up so far


class Place(NamedTuple):
    """The place at which the sweeps of blocks continue after a pause."""

    block: int = 0  # of the round
    turn: int = 0  # among the sweeps of the block
    offset: int = 0  # states of that sweep which are done
    moved: float = 0.0  # change of the block so far
    backwards: bool = False
    active: bool = False  # whether the round has swept a block


@compiled
def _sweep_blocks(
    table: TableArrays,
    value: Floats,
    gamma: float,
    blocks: Blocks,
    threshold: float,
    limit: int,
    chosen: Integers,
    place: Place,
    states: int,
) -> tuple[int, bool, Place]:
    num_states, num_actions = table.arrival.shape[:2]
    num_blocks = len(blocks.priority)
    total = int(blocks.backups.sum())
    index, turn, offset, moved, backwards, active = place
    left = states
    while True:
        while index < num_blocks:
            number = num_blocks - 1 - index if backwards else index
            index += 1
            if blocks.priority[number] <= threshold:
                continue
            active = True
            first, last = number * blocks.size, min((number + 1) * blocks.size, num_states)
            while turn < BLOCK_SWEEPS:  # to and fro: the block is still in the cache in the second sweep
                stop = min(last - first, offset + left)
                left -= stop - offset
                for step in range(offset, stop):
                    state = last - 1 - step if (turn % 2 == 1) != backwards else first + step
                    highest, own = -np.inf, chosen[state - first]
                    for action in range(num_actions) if turn == 0 else range(own, own + 1):
                        q = backup(table, value, gamma, state, action)
                        if q > highest:
                            highest = q
                            chosen[state - first] = action
                    moved = max(moved, abs(highest - value[state]))
                    value[state] = highest
                if stop < last - first:
                    return total, False, Place(index - 1, turn, stop, moved, backwards, active)
                turn, offset = turn + 1, 0
            blocks.backups[number] += BLOCK_SWEEPS * (last - first)
            total += BLOCK_SWEEPS * (last - first)
            blocks.priority[number] = 0.0
            for leader in blocks.leaders[blocks.pointers[number] : blocks.pointers[number + 1]]:
                blocks.priority[leader] = max(blocks.priority[leader], gamma * moved)
            turn, moved = 0, 0.0
            if total >= limit:
                return total, True, place
        if not active:
            return total, True, place
        index, backwards, active = 0, not backwards, False


def back_up_all(table: TableArrays, value: Floats, gamma: float, q: Floats) -> None:
    """``q [N, A]`` becomes the backup of ``value``."""
    if fits(table.arrival.size):
        _back_up_all(table, value, gamma, q)
        return
    for states in pieces(table.num_states, table.outcomes):
        _back_up_all(table.part(states), value, gamma, q[states])


def choose_best(
    table: TableArrays,
    value: Floats,
    gamma: float,
    behind: float,
    best: Floats,
    policy: Integers,
    near: NDArray[np.bool_],
) -> None:
    """``best [N]`` becomes the highest q of every state, ``policy [N]`` the first action that has it, and
    ``near [N, A]`` whether an action is at most ``behind`` the best one, rounded down."""
    if fits(table.arrival.size):
        _choose_best(table, value, gamma, behind, best, policy, near)
        return
    for states in pieces(table.num_states, table.outcomes):
        _choose_best(table.part(states), value, gamma, behind, best[states], policy[states], near[states])


def back_up_best(
    table: TableArrays, value: Floats, gamma: float, best: Floats, policy: Integers
) -> tuple[float, float]:
    """``best [N + 1] = B value``, ``policy [N]`` greedy; returns the least and the largest of ``B value - value``."""
    if fits(table.arrival.size):
        return _back_up_best(table, value, gamma, best, policy)
    ends = [
        _back_up_best(table.part(states), value, gamma, best[states], policy[states])
        for states in pieces(table.num_states, table.outcomes)
    ]
    return min(least for least, _ in ends), max(largest for _, largest in ends)


def improve_in_place(table: TableArrays, value: Floats, gamma: float, policy: Integers, backwards: bool) -> float:
    """One Gauss-Seidel sweep: each state's value is replaced by its backup before the next state is backed up.

    ``policy [N]`` becomes the actions that were best when looked at. Returns the largest change.
    """
    if fits(table.arrival.size):
        return _improve_in_place(table, value, gamma, policy, backwards)
    return max(
        _improve_in_place(table.part(states), value, gamma, policy[states], backwards)
        for states in pieces(table.num_states, table.outcomes, backwards)
    )


def choose_rows(table: TableArrays, policy: Integers, rows: PolicyRows) -> None:
    """Copy the rows of ``policy [N]``, those that are not there yet."""
    if fits(rows.table.arrival.size):
        _choose_rows(table, policy, rows)
        return
    for states in pieces(table.num_states, rows.table.outcomes):
        _choose_rows(table.part(states), policy[states], rows.part(states))


def evaluate_in_place(
    rows: PolicyRows, value: Floats, gamma: float, sweeps: int, backwards: bool, enough: float
) -> int:
    """Gauss-Seidel sweeps for a policy, to and fro, until no value changes by more than ``enough``.

    Returns the number of sweeps done, at most ``sweeps``.
    """
    if fits(sweeps * rows.table.arrival.size):
        return _evaluate_in_place(rows, value, gamma, sweeps, backwards, enough)[0]
    size, each = rows.table.num_states, rows.table.outcomes
    together, done = repeats(size * each), 0
    while done < sweeps:
        now = min(together, sweeps - done)
        ends = [
            _evaluate_in_place(rows.part(states), value, gamma, now, backwards, enough)
            for states in pieces(size, each, backwards)
        ]
        done += max(swept for swept, _ in ends)
        if max(largest for _, largest in ends) <= enough:
            return done
        backwards = backwards != (now % 2 == 1)
    return sweeps


def iterate_in_place(
    table: TableArrays, rows: PolicyRows, value: Floats, gamma: float, policy: Integers, stops: Stops
) -> tuple[float, int]:
    """``improve_in_place``, ``choose_rows`` and ``evaluate_in_place`` in turn, until ``stops``.

    Improvements go to and fro as well. Returns the last improvement's largest change and the number of sweeps. A
    compiled call does as many rounds as fit; where not even one does, it does a sweep or a part of one.
    """
    done, backwards = 0, False
    of_round = table.arrival.size + (stops.evaluation + 1) * rows.table.arrival.size
    while fits(of_round):
        change, done, backwards, over = _iterate_in_place(
            table, rows, value, gamma, policy, stops, done, backwards, repeats(of_round)
        )
        if over:
            return change, done
    while True:
        change = improve_in_place(table, value, gamma, policy, backwards)
        done += 1
        if change <= stops.enough or done >= stops.sweeps:
            return change, done
        choose_rows(table, policy, rows)
        settled = max(stops.reduction * change, stops.enough / 4)
        allowed = min(stops.evaluation, max(stops.limit - done, 0))
        backwards = not backwards
        done += evaluate_in_place(rows, value, gamma, allowed, backwards, settled)


def evaluate_by_backups(
    rows: PolicyRows, value: Floats, other: Floats, gamma: float, sweeps: int, enough: float
) -> int:
    """Jacobi sweeps for a policy until the changes of all states differ by at most ``enough``.

    ``value [N + 1]`` holds the result, ``other [N + 1]`` is work space. Returns the number of sweeps, an even one.
    """
    sweeps += sweeps % 2
    if fits(sweeps * rows.table.arrival.size):
        return _evaluate_by_backups(rows, value, other, gamma, sweeps, enough)[0]
    size, each = rows.table.num_states, rows.table.outcomes
    together = max(repeats(size * each) // 2 * 2, 1)  # an even number, or a single sweep
    done = 0
    while done < sweeps:
        now = min(together, sweeps - done)
        ends = [
            _evaluate_by_backups(rows.part(states), value, other, gamma, now, enough) for states in pieces(size, each)
        ]
        done += ends[0][0]
        if now == 1:
            value, other = other, value
        least, largest = min(least for _, least, _ in ends), max(largest for _, _, largest in ends)
        if done % 2 == 0 and largest - least <= enough:
            return done
    return sweeps


def sweep_blocks(table: TableArrays, value: Floats, gamma: float, blocks: Blocks, threshold: float, limit: int) -> int:
    """Sweep blocks of ``priority`` above ``threshold`` until there are none; returns the states backed up so far.

    It also ends after the block in which that number reaches ``limit``.
    """
    chosen = np.zeros(blocks.size, np.int64)  # the actions of a block's first sweep
    place, over, states = Place(), False, repeats(table.outcomes)
    while not over:
        total, over, place = _sweep_blocks(table, value, gamma, blocks, threshold, limit, chosen, place, states)
    return total
