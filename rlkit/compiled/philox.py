"""Numbers of the streams, equal to the bit to those of ``rlkit.streams``: Philox4x64-10 (Salmon et al. 2011)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rlkit.streams import MULTIPLIERS, ROUNDS, WEYL

from .jit import compiled

M0, M1 = np.uint64(MULTIPLIERS[0]), np.uint64(MULTIPLIERS[1])
W0, W1 = np.uint64(WEYL[0]), np.uint64(WEYL[1])
ZERO, ONE, ELEVEN, HALF = np.uint64(0), np.uint64(1), np.uint64(11), np.uint64(32)
MASK = np.uint64(0xFFFFFFFF)


@compiled
def high_word(a: np.uint64, b: np.uint64) -> np.uint64:
    """Return the high 64 bits of the product a b, by 32-bit halves."""
    a1, a0, b1, b0 = a >> HALF, a & MASK, b >> HALF, b & MASK
    middle = a1 * b0 + (a0 * b0 >> HALF)
    cross = a0 * b1 + (middle & MASK)
    return a1 * b1 + (middle >> HALF) + (cross >> HALF)


@compiled
def uniform(key: NDArray[np.uint64], counter: int, out: NDArray[np.float64]) -> None:
    """Write numbers ``4 counter .. 4 counter + len(out)`` of a stream, at most four, on [0, 1) with 53 random bits.

    Args:
        key: two words, ``[2]``; see ``rlkit.streams.key``.
        counter: four numbers each.
        out: up to four numbers.
    """
    c0, c1, c2, c3 = np.uint64(counter) + ONE, ZERO, ZERO, ZERO  # numpy increments before it encrypts
    k0, k1 = key[0], key[1]
    for _ in range(ROUNDS):
        c0, c1, c2, c3 = high_word(c2, M1) ^ c1 ^ k0, c2 * M1, high_word(c0, M0) ^ c3 ^ k1, c0 * M0
        k0, k1 = k0 + W0, k1 + W1
    words = (c0, c1, c2, c3)
    for i in range(len(out)):
        out[i] = np.int64(words[i] >> ELEVEN) * 2.0**-53


@compiled
def episode_numbers(key: NDArray[np.uint64], episode: int, out: NDArray[np.float64]) -> None:
    """Write the numbers of one episode's first state, as ``rlkit.streams.EpisodeStarts`` draws them."""
    counters = -(-len(out) // 4)
    for i in range(counters):
        uniform(key, counters * episode + i, out[4 * i : 4 * i + 4])
