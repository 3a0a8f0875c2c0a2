"""Experience replay in compiled loops, one row at a time, on the very memory of ``rlkit.replay``.

The tensors of ``ReplayBuffer`` and ``Priorities`` are passed as arrays. What is written is what their own methods
write, and the same transitions are sampled at the same uniform numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arrays import copy
from .jit import compiled
from .layout import PriorityArrays, ReplayArrays, TransitionArrays

# as in rlkit.replay, whose tests hold them equal; a compiled function reads constants of its own folder alone
TERMINATED, TRUNCATED, OWN = 1, 2, 4  # bits of a transition's flags; OWN: its successor is in the table
SMALLEST_PRIORITY = 1e-6
ALMOST_ALL = 1.0 - 1e-12  # of a block's chances: rounding must not carry a choice past its last slot


class MinibatchArrays(NamedTuple):
    """Transitions of up to n steps of one row."""

    features: NDArray  # [M, D]
    next_features: NDArray  # [M, D]
    action: NDArray  # [M] int64
    reward: NDArray  # [M], summed and discounted
    discount: NDArray  # [M], of the bootstrap
    terminated: NDArray  # [M] bool
    next_action_mask: NDArray  # [M, A] bool, [0, A] where none is stored


# Writing


@compiled
def store(ring: ReplayArrays, s: int, added: int, steps: TransitionArrays, begin: int, end: int) -> None:
    """Store steps ``begin .. end`` of row s over the oldest, as ``ReplayBuffer.add`` does.

    The table must have room for ``(T + 1) B`` successors more. Masks of actions are not stored.

    Args:
        ring: of all rows.
        s: the row.
        added: transitions that were added to it before.
        steps: of all rows.
        begin, end: which of them, at least one.
    """
    length, copies = end - begin, steps.reward.shape[2]
    capacity = ring.reward.shape[1]
    for b in range(copies):
        if not ring.latest_kept[s, b] and differ(steps.obs[s, begin, b], ring.latest[s, b]):
            number = added - copies + b
            insert(ring, s, number, ring.latest[s, b])
            ring.flags[s, number % capacity] |= OWN
    skipped = max(length * copies - capacity, 0)  # the ring is too small for them
    for t in range(begin, end):
        for b in range(copies):
            terminated, truncated = steps.terminated[s, t, b], steps.truncated[s, t, b]
            own = terminated or truncated
            if t + 1 < end and differ(steps.obs[s, t + 1, b], steps.next_obs[s, t, b]):
                own = True
            if t + 1 == end:
                copy(steps.next_obs[s, t, b], ring.latest[s, b])
                ring.latest_kept[s, b] = own
            if (t - begin) * copies + b >= skipped:
                number = added + (t - begin) * copies + b
                at = number % capacity
                copy(steps.obs[s, t, b], ring.obs[s, at])
                ring.action[s, at] = steps.action[s, t, b]
                ring.reward[s, at] = steps.reward[s, t, b]
                ring.flags[s, at] = TERMINATED * terminated + TRUNCATED * truncated + OWN * own
                if own:
                    insert(ring, s, number, steps.next_obs[s, t, b])


@compiled
def insert(ring: ReplayArrays, s: int, number: int, obs: NDArray) -> None:
    """Put the successor ``obs [D]`` of a transition into the table, whose numbers stay in ascending order."""
    place = ring.kept[s]
    while place > 0 and ring.numbers[s, place - 1] > number:
        ring.numbers[s, place] = ring.numbers[s, place - 1]
        copy(ring.successors[s, place - 1], ring.successors[s, place])
        place -= 1
    ring.numbers[s, place] = number
    copy(obs, ring.successors[s, place])
    ring.kept[s] += 1


@compiled
def differ(one: NDArray, other: NDArray) -> bool:
    """Whether observations ``[D]`` differ anywhere, NaN included."""
    for d in range(len(one)):  # noqa: SIM110 - not for numba
        if one[d] != other[d]:
            return True
    return False


@compiled
def store_with_priority(
    ring: ReplayArrays, priority: PriorityArrays, s: int, added: int, steps: TransitionArrays, begin: int, end: int
) -> None:
    """``store``, and give what is stored the largest priority, if there are any, as ``Memory.add`` does."""
    store(ring, s, added, steps, begin, end)
    if len(priority.mass) > 0:
        add_priorities(priority, s, added, (end - begin) * steps.reward.shape[2], ring.reward.shape[1])


@compiled
def store_rows(ring: ReplayArrays, priority: PriorityArrays, added: int, steps: TransitionArrays) -> None:
    """Store the steps of all rows; see ``store_with_priority``."""
    rows, length, _ = steps.reward.shape
    for s in range(rows):
        store_with_priority(ring, priority, s, added, steps, 0, length)


# Reading


@compiled
def uniform_number(u: float, added: int, capacity: int) -> int:
    """Choose a stored transition uniformly; its number counts from the first one ever added."""
    size = min(added, capacity)
    return added - size + int(u * size)


@compiled
def read(
    ring: ReplayArrays, s: int, added: int, number: NDArray, powers: NDArray, one_hot: bool, batch: MinibatchArrays
) -> None:
    """Read transitions of up to n steps of row s, as ``ReplayBuffer.sample_n_step`` does.

    Args:
        ring: of all rows, ``as_bytes``.
        s: the row.
        added: transitions that were added to it so far.
        number: of the transitions, ``[M]``.
        powers: gamma^0, ..., gamma^n of the row.
        one_hot: whether an observation is an index, whose features are its one-hot code.
        batch: to write into.
    """
    capacity, copies, most = ring.reward.shape[1], ring.latest.shape[1], len(powers) - 1
    for m in range(len(number)):
        at = number[m] % capacity
        write_features(batch.features, m, ring.obs[s, at], one_hot)
        batch.action[m] = ring.action[s, at]
        last, length, earned = number[m], 0, powers[0] * 0
        while True:
            at = last % capacity
            earned += powers[length] * ring.reward[s, at]
            length += 1
            ended = ring.flags[s, at] & (TERMINATED | TRUNCATED) != 0
            if ended or length == most or last + copies >= added:
                break
            last += copies
        batch.reward[m] = earned
        batch.discount[m] = powers[length]
        flags = ring.flags[s, at]
        batch.terminated[m] = flags & TERMINATED != 0
        if flags & OWN:
            place = np.searchsorted(ring.numbers[s, : ring.kept[s]], last)
            write_features(batch.next_features, m, ring.successors[s, place], one_hot)
        elif last + copies >= added:
            write_features(batch.next_features, m, ring.latest[s, last % copies], one_hot)
        else:
            write_features(batch.next_features, m, ring.obs[s, (last + copies) % capacity], one_hot)
        if len(batch.next_action_mask):
            copy(ring.next_action_mask[s, at], batch.next_action_mask[m])


@compiled
def write_features(features: NDArray, m: int, obs: NDArray[np.uint8], one_hot: bool) -> None:
    """Write the features of an observation into row m of ``[M, D']``.

    ``obs`` has the bytes of an index, the lowest first, if ``one_hot``, else those of float32 numbers ``[D']``.
    """
    if one_hot:
        index = 0
        for i in range(len(obs) - 1, -1, -1):
            index = 256 * index + obs[i]
        features[m, :] = 0.0
        features[m, index] = 1.0
    else:
        copy(obs.view(np.float32), features[m])


# Priorities


@compiled
def prioritize(priority: PriorityArrays, s: int, slot: NDArray, value: NDArray) -> None:
    """Give slots ``[M]`` of row s new priorities ``[M]``, as ``Priorities.update`` does."""
    mass, blocks = priority.mass[s], priority.blocks[s]
    width = mass.shape[1]
    for m in range(len(slot)):
        if value[m] > priority.largest[s, 0] or value[m] != value[m]:  # NaN stays, as in torch's maximum
            priority.largest[s, 0] = value[m]
        mass[slot[m] // width, slot[m] % width] = value[m] ** priority.alpha[s, 0]
    for m in range(len(slot)):
        block = slot[m] // width
        total = 0.0
        for chance in mass[block]:
            total += chance
        blocks[block] = total


@compiled
def add_priorities(priority: PriorityArrays, s: int, added: int, count: int, capacity: int) -> None:
    """Give ``count`` transitions, added after ``added`` others, the largest priority of row s so far."""
    kept = min(count, capacity)
    slot = (added + np.arange(count - kept, count)) % capacity
    prioritize(priority, s, slot, np.full(kept, priority.largest[s, 0]))


@compiled
def choose(priority: PriorityArrays, s: int, stored: int, u: NDArray, slot: NDArray, probability: NDArray) -> None:
    """Choose slots at uniform numbers ``u [M]`` with their probabilities, ``[M]`` both, as ``Priorities.choose``.

    A slot is below ``stored``, the number of transitions, even where chances are not numbers.
    """
    mass, blocks = priority.mass[s], priority.blocks[s]
    width = mass.shape[1]
    upto = np.cumsum(blocks)
    total = upto[-1]
    for m in range(len(u)):
        goal = u[m] * total
        block = min(np.searchsorted(upto, goal, side="right"), len(blocks) - 1)
        chances = mass[block]
        whole = 0.0
        for chance in chances:
            whole += chance
        inside = min(goal - (upto[block] - blocks[block]), whole * ALMOST_ALL)
        within, cumulative = 0, 0.0
        for chance in chances:
            cumulative += chance
            within += cumulative <= inside
        within = min(within, width - 1)
        slot[m] = min(block * width + within, stored - 1)
        probability[m] = chances[within] / total


@compiled
def age_of(slot: int, added: int, capacity: int) -> int:
    """Return the number of the transition in a slot."""
    oldest = added - min(added, capacity)
    return oldest + (slot - oldest) % capacity


@compiled
def importance(probability: NDArray, stored: int, beta: float, weight: NDArray) -> None:
    """Compute w = (n P)^-beta / max w of a minibatch, ``[M]`` (Schaul et al. 2016, section 3.4)."""
    most = 0.0
    for m in range(len(probability)):
        weight[m] = (stored * probability[m]) ** -beta
        most = max(most, weight[m])
    for m in range(len(probability)):
        weight[m] /= most
